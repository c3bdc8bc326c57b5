"""Log-probabilities and KL from hidden states in chunks are those of whole logits, which then never exist."""

from functools import lru_cache

import pytest
import torch
from test_numbers import as_rows, first_log, pairs  # noqa: F401 - a fixture
from tiny import SHARING, TEMPLATES
from tiny import load as load_model
from torch.testing import assert_close
from trainers import load, step

from firempo_plugin.forward import families, score
from firempo_plugin.objectives import losses

ROWS = 3
SETTINGS = {"fire_kl_scope": "response", "fire_alpha": 0.2, "fire_lambda": 0.3, "pref_ftx": 0.1}
WIDE = {"fire_mpo": SETTINGS, "mdpo": {"fire_objective": "mdpo"}, "tdpo1": {"fire_objective": "tdpo1"}}


def in_chunks_of(rows, monkeypatch):
    for module in (losses, score):
        monkeypatch.setattr(module, "HEAD_ROWS", rows)


@pytest.fixture
def most_rows(monkeypatch):
    """The most rows of logits that were scored at once, in a list of one."""
    most = [0]

    def watched(function):
        def call(logits, *args):
            most[0] = max(most[0], len(logits))
            return function(logits, *args)

        return call

    for name in ("token_logps", "token_kls"):
        monkeypatch.setattr(losses, name, watched(getattr(losses, name)))
        monkeypatch.setattr(score, name, watched(getattr(score, name)))
    return most


@pytest.fixture(scope="module")
def loaded(pairs, write_dataset_to, checkpoint, adapter, tmp_path_factory):  # noqa: F811
    """Returns a function from a family to its model with the rows, loaded once."""
    folder = write_dataset_to(tmp_path_factory.mktemp("rows"), as_rows(pairs))

    @lru_cache(maxsize=1)
    def get(family):
        return load(checkpoint(family), TEMPLATES[family], "pairs", folder, folder, adapter=adapter(family))

    return get


def start(loaded, **keys):
    """A trainer and a batch of all rows."""
    trainer = loaded.trainer(**keys)
    return trainer, trainer.data_collator(list(loaded.rows))["batch"]


@pytest.mark.parametrize("objective", WIDE)
@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl", "llava", "gemma3"])
def test_a_step_is_the_same(family, objective, loaded, monkeypatch, most_rows):
    loss, gradients = step(*start(loaded(family), **WIDE[objective]))
    assert most_rows[0] > ROWS
    most_rows[0] = 0
    in_chunks_of(ROWS, monkeypatch)
    trainer, batch = start(loaded(family), **WIDE[objective])
    same, others = step(trainer, batch)
    assert most_rows[0] == ROWS
    assert_close(same, loss, rtol=1e-6, atol=0)
    assert len(gradients) == 14 * trainer.model.config.get_text_config().num_hidden_layers
    for name, gradient in gradients.items():
        assert_close(others[name], gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max().item())


def test_chunks_run_in_the_precision_of_the_forward():
    head, hidden, places = torch.nn.Linear(4, 6), torch.randn(1, 3, 4), torch.tensor([0, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16), score.head_at(head, torch.zeros_like(places), places) as seen:
        head(hidden)
    with seen.precision:
        assert head(seen.scored).dtype == torch.bfloat16


@pytest.mark.parametrize("family", ["llava_gemma3", *(each for each in SHARING if not each.startswith("gemma4"))])
def test_logits_of_the_listed_families_are_what_the_head_gives(family, checkpoint):
    """Nothing is scaled or capped behind it, which chunks would miss."""
    model, given = load_model(checkpoint(family)), []
    model.get_output_embeddings().register_forward_hook(lambda _, args, output: given.append(output))
    with torch.no_grad():
        returned = model(input_ids=torch.tensor([[5, 6, 7]])).logits
    assert len(given) == 1
    assert given[0] is returned


def test_logits_that_are_capped_behind_the_head_are_whole(loaded, monkeypatch, most_rows):
    in_chunks_of(ROWS, monkeypatch)
    trainer, batch = start(loaded("gemma4"), **SETTINGS)
    trainer.row_losses(trainer.model, batch)
    assert most_rows[0] > ROWS


def test_a_head_in_training_and_other_models_see_whole_logits(
    trainer_and_batch,
    write_dataset,
    pairs,  # noqa: F811
    adapter,
    monkeypatch,
    most_rows,
):
    in_chunks_of(ROWS, monkeypatch)
    folder = write_dataset(as_rows(pairs))
    keys = {"additional_target": "lm_head", **SETTINGS}
    trainer, batch = trainer_and_batch("qwen3_vl", "pairs", dataset_dir=folder, **keys)
    trainer.row_losses(trainer.model, batch)
    assert most_rows[0] > ROWS
    monkeypatch.delitem(families.FAMILIES, "qwen3_vl")
    most_rows[0] = 0
    trainer, batch = trainer_and_batch("qwen3_vl", "pairs", dataset_dir=folder, adapter=adapter("qwen3_vl"), **SETTINGS)
    trainer.row_losses(trainer.model, batch)
    assert most_rows[0] > ROWS


def test_runs_with_bf16_a_cache_and_a_separate_reference(
    train,
    write_dataset,
    pairs,  # noqa: F811
    adapter,
    checkpoint,
    tmp_path,
    monkeypatch,
    most_rows,
):
    def log(**keys):
        return first_log(train, write_dataset, pairs, "qwen3_vl", adapter, **SETTINGS, **keys)

    ways = {"bf16": {"bf16": True}, "cached": {"fire_reference_cache": str(tmp_path / "cache")}}
    ways["known"] = ways["cached"]
    ways["separate"] = {"ref_model": str(checkpoint("qwen3_vl"))}
    whole = {name: log(**ways[name]) for name in ("bf16", "cached", "separate")}
    most_rows[0] = 0
    in_chunks_of(ROWS, monkeypatch)
    for name in ways:
        found, expected = log(**ways[name]), whole["cached" if name == "known" else name]
        rtol = 1e-3 if name == "bf16" else 1e-5
        for key in ("loss", "terms/kl_forward", "terms/kl_reverse", "terms/rank", "grad_norm"):
            assert_close(found[key], expected[key], rtol=rtol, atol=1e-6, msg=lambda m, n=name, k=key: f"{n} {k}: {m}")
    assert most_rows[0] == ROWS
