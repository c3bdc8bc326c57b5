"""An objective that needs no reference neither loads nor runs one."""

import pytest
from llamafactory.hparams import FinetuningArguments
from peft import PeftModel
from test_numbers import as_rows, pairs  # noqa: F401 - a fixture
from transformers import PreTrainedModel

from firempo_plugin.objectives.table import OBJECTIVES

WITHOUT = ["orpo", "simpo"]


def test_these_are_all():
    assert [
        name for name in OBJECTIVES if not FinetuningArguments(stage="fire_mpo", fire_objective=name).use_ref_model
    ] == (WITHOUT)


@pytest.mark.parametrize(("objective", "runs"), [*((name, 1) for name in WITHOUT), ("dpo", 2)])
@pytest.mark.parametrize("rows_of_logits", [256, 3], ids=["at once", "in chunks"])
def test_a_pass_is_one_forward(
    objective,
    runs,
    rows_of_logits,
    trainer_and_batch,
    write_dataset,
    pairs,  # noqa: F811
    monkeypatch,
):
    from firempo_plugin.forward import score
    from firempo_plugin.objectives import losses

    for module in (losses, score):
        monkeypatch.setattr(module, "HEAD_ROWS", rows_of_logits)
    folder = write_dataset(as_rows(pairs))
    trainer, batch = trainer_and_batch("qwen3_vl", "pairs", dataset_dir=folder, fire_objective=objective, pass_tokens=1)
    seen, switched = [], []
    trainer.model.register_forward_hook(lambda *_: seen.append(1))
    disable = PeftModel.disable_adapter
    monkeypatch.setattr(PeftModel, "disable_adapter", lambda model: switched.append(1) or disable(model))
    trainer.row_losses(trainer.model, batch)
    assert len(batch.passes) > 1
    assert len(seen) == runs * len(batch.passes)
    assert len(switched) == (runs - 1) * len(batch.passes)


@pytest.mark.parametrize(("objective", "models"), [*((name, 1) for name in WITHOUT), ("dpo", 2)])
def test_full_tuning_loads_one_model(objective, models, train, monkeypatch):
    loaded = []
    load = PreTrainedModel.from_pretrained.__func__
    monkeypatch.setattr(
        PreTrainedModel, "from_pretrained", classmethod(lambda cls, *a, **k: loaded.append(cls) or load(cls, *a, **k))
    )
    log = train(finetuning_type="full", fire_objective=objective, do_eval=True, eval_dataset="fire_mpo_mixed")
    assert len(loaded) == models
    assert log[0]["loss"] > 0


@pytest.mark.parametrize("objective", WITHOUT)
def test_what_has_no_effect_without_a_reference_is_refused(objective, train, checkpoint, tmp_path):
    for keys in ({"ref_model": str(checkpoint("qwen3_vl"))}, {"fire_reference_cache": str(tmp_path / "cache")}):
        with pytest.raises(
            ValueError, match=f"{next(iter(keys))} .*fire_objective: {objective}, which has no reference"
        ):
            train(fire_objective=objective, **keys)
    train(fire_objective=objective, finetuning_type="freeze", fire_vision_cache=str(tmp_path / "images"))
    train(fire_objective=objective, do_train=False, do_eval=True, dataset=None, eval_dataset="fire_mpo_mixed")
