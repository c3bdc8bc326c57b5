"""The examples and templates reach the user, from a clone here and from the wheel in tests/host/test_loading.py."""

import tomllib

from places import EXAMPLES_DIR, ROOT, TEMPLATES_DIR

from firempo_plugin import cli, starter


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_everything_is_written_as_it_is_in_the_clone(tmp_path, capsys):
    assert cli.main(["init", str(tmp_path / "work")]) == 0
    assert files(tmp_path / "work" / "data_templates") == files(TEMPLATES_DIR)
    expected = {name for name in files(EXAMPLES_DIR) if name.split("/")[0] not in starter.LEFT_OUT}
    assert files(tmp_path / "work" / "examples") == expected
    recipe = "examples/qwen3_vl_4b/fire_mpo.yaml"
    assert (tmp_path / "work" / recipe).read_bytes() == (ROOT / recipe).read_bytes()
    assert f"{len(expected) + len(files(TEMPLATES_DIR))} files written" in capsys.readouterr().out


def test_a_file_of_the_users_is_kept_and_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli.main(["init"])
    changed = tmp_path / "examples" / "qwen3_vl_4b" / "fire_mpo.yaml"
    changed.write_text("mine\n")
    capsys.readouterr()
    assert cli.main(["init"]) == 0
    assert changed.read_text() == "mine\n"
    out = capsys.readouterr().out
    assert "kept, since it is not as this version has it: examples/qwen3_vl_4b/fire_mpo.yaml" in out
    assert "0 files written" in out


def test_the_wheel_carries_what_is_written():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    packed = {source for source, target in wheel["force-include"].items() if target.endswith(f"starter_files/{source}")}
    folders = {f"examples/{path.name}" for path in EXAMPLES_DIR.iterdir() if path.name not in starter.LEFT_OUT}
    assert packed == folders | {"data_templates"}
