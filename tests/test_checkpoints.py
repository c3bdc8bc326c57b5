"""What tells a model from a later one in the same folder."""

from firempo_plugin.checkpoints import fingerprint


def test_a_fingerprint_sees_weights_and_settings_and_not_logs(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    weights = bytearray(1_000_000)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    first = fingerprint(folder)
    (folder / "trainer_log.jsonl").write_text("{}")
    assert fingerprint(folder) == first
    weights[500_001] = 1
    (folder / "adapter_model.safetensors").write_bytes(weights)
    second = fingerprint(folder)
    assert second != first
    (folder / "adapter_config.json").write_text('{"r": 8}')
    assert fingerprint(folder) != second
