import pickle
import re
from dataclasses import fields

import pytest
from llamafactory.hparams import FinetuningArguments, ModelArguments
from places import ROOT

from firempo_plugin.host.arguments import HOST_OPTIONS, OPTIONS, OTHER_KEYS, settings_of
from firempo_plugin.objectives.table import OBJECTIVES


def fire(**keys):
    return FinetuningArguments(stage="fire_mpo", **keys)


def test_defaults_are_those_of_the_paper():
    args = fire()
    assert (args.pref_beta, args.fire_alpha, args.fire_gamma, args.fire_lambda) == (0.1, 0.01, 0.1, 0.5)
    assert (args.fire_objective, args.fire_kl_scope, args.fire_skip_invalid) == ("fire_mpo", "phrase", False)
    assert args.use_ref_model
    settings = settings_of(args)
    assert (settings.beta, settings.alpha, settings.gamma, settings.kl_lambda) == (0.1, 0.01, 0.1, 0.5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_parses_with_its_own_defaults(objective):
    settings = settings_of(fire(fire_objective=objective))
    assert settings.objective is OBJECTIVES[objective]
    assert (settings.kl is not None) == (OBJECTIVES[objective].kl is not None)
    if objective == "rrpo":
        assert settings.kl_share == 1.0


def test_an_objective_has_its_papers_numbers_where_none_are_written():
    assert [fire(fire_objective=name).pref_beta for name in ("dpo", "s_dpo", "simpo")] == [0.1, 1.0, 2.0]
    assert settings_of(fire(fire_objective="s_dpo", pref_beta=0.1)).beta == 0.1
    assert settings_of(fire(fire_objective="robust_dpo")).label_smoothing == 0.1
    assert settings_of(fire(fire_objective="simpo")).target_margin == 0.5
    assert settings_of(fire(fire_objective="r_dpo_length")).length_weight == 0.05
    assert settings_of(fire(fire_objective="orpo")).nll_weight == 1.0
    for stage in ("dpo", "kto", "sft"):
        args = FinetuningArguments(stage=stage)
        assert (args.pref_beta, args.pref_ftx) == (0.1, 0.0)
        assert FinetuningArguments(stage=stage, pref_beta=0.4).pref_beta == 0.4


def test_zero_is_a_value():
    settings = settings_of(fire(fire_gamma=0.0, fire_lambda=0.0, fire_alpha=0))
    assert (settings.gamma, settings.kl_lambda, settings.alpha) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("fire_alpha", -0.1, ">= 0"),
        ("fire_gamma", float("nan"), ">= 0"),
        ("fire_gamma", "0,1", ">= 0"),
        ("fire_lambda", 1.5, "in [0, 1]"),
        ("fire_lambda", True, "in [0, 1]"),
        ("fire_phrase_weight", 0, "above 0"),
        ("fire_margin", -1, ">= 0"),
        ("fire_length_weight", float("inf"), ">= 0"),
        ("fire_label_smoothing", 0.5, "in [0, 0.5)"),
        ("fire_sequence_kl_weight", -0.5, ">= 0"),
        ("fire_floor_weight", -1.0, ">= 0"),
        ("fire_consistency_weight", float("nan"), ">= 0"),
        ("pref_beta", 0.0, "above 0"),
        ("pref_beta", float("inf"), "above 0"),
        ("pref_ftx", -1.0, ">= 0"),
    ],
)
def test_values_out_of_range_are_refused_with_what_to_write(key, value, words):
    setting = {option.key: option.setting for option in OPTIONS}.get(key)
    user = next(name for name, objective in OBJECTIVES.items() if setting is None or setting in objective.reads)
    with pytest.raises(ValueError, match="Write for example") as caught:
        fire(fire_objective=user, **{key: value})
    assert str(caught.value).startswith(f"{key} must be a number {words}, found {value!r}. Write for example `{key}: ")


@pytest.mark.parametrize(
    ("objective", "key", "value"),
    [
        ("rrpo", "fire_gamma", 0.1),
        ("rrpo", "fire_lambda", 0.5),
        ("mask_dpo", "fire_alpha", 0.01),
        ("dpo", "fire_kl_scope", "phrase"),
        ("mdpo", "fire_gamma", 0.1),
        ("ipo", "fire_label_smoothing", 0.1),
        ("mask_dpo", "fire_phrase_weight", 4.0),
        ("dpo", "fire_margin", 0.5),
        ("simpo", "fire_length_weight", 0.05),
        ("dpo", "fire_sequence_kl_weight", 0.5),
        ("tdpo1", "fire_floor_weight", 50.0),
        ("symmpo_4", "fire_consistency_weight", 1e-4),
    ],
)
def test_keys_that_the_objective_ignores_are_refused(objective, key, value):
    with pytest.raises(ValueError, match=f"{key} has no effect under fire_objective: {objective}. Remove {key}"):
        fire(fire_objective=objective, **{key: value})


def test_all_keys_that_the_objective_ignores_are_named_at_once():
    keys = {"fire_alpha": 0.01, "fire_gamma": 0.1, "fire_lambda": 0.5}
    with pytest.raises(
        ValueError, match="fire_alpha, fire_gamma, fire_lambda have no effect under fire_objective: dpo"
    ):
        fire(fire_objective="dpo", **keys)


@pytest.mark.parametrize(
    "key",
    [
        *("pref_loss", "dpo_label_smoothing", "pref_bco_weight", "simpo_gamma", "ld_alpha"),
        *("use_dft_loss", "use_asft_loss", "use_eaft_loss"),
    ],
)
def test_host_keys_that_the_stage_ignores_are_refused(key):
    value = "hinge" if key == "pref_loss" else 0.3
    with pytest.raises(ValueError, match=f"stage: fire_mpo ignores {key}"):
        fire(**{key: value})


@pytest.mark.parametrize(
    ("key", "ours", "users"),
    [("simpo_gamma", "fire_margin", "simpo"), ("dpo_label_smoothing", "fire_label_smoothing", "cdpo, robust_dpo")],
)
def test_the_hosts_own_numbers_name_ours_and_the_objectives_that_use_it(key, ours, users):
    said = f"Remove it; write `{ours}`, with a fire_objective that uses it: {users}."
    with pytest.raises(ValueError, match=f"{re.escape(said)}$"):
        fire(**{key: 0.3})


@pytest.mark.parametrize(
    "keys", [{"fire_objective": "kto"}, {"fire_kl_scope": "sentence"}, {"fire_skip_invalid": "yes"}]
)
def test_unknown_names_are_refused(keys):
    with pytest.raises(ValueError, match=next(iter(keys))):
        fire(**keys)


def test_other_stages_refuse_our_keys_and_are_otherwise_as_before():
    with pytest.raises(ValueError, match=r"stage: dpo ignores fire_gamma\. Write `stage: fire_mpo`"):
        FinetuningArguments(stage="dpo", fire_gamma=0.2)
    with pytest.raises(ValueError, match="ignores fire_skip_invalid"):
        FinetuningArguments(fire_skip_invalid=True)
    assert not FinetuningArguments(stage="sft").use_ref_model
    assert FinetuningArguments(stage="dpo").use_ref_model


def test_pissa_is_refused_as_in_the_hosts_dpo():
    with pytest.raises(ValueError, match="pissa_init"):
        fire(pissa_init=True)


def test_the_extended_classes_pickle_and_round_trip():
    args = fire(fire_objective="fire_mpo_v2", fire_gamma=0.0)
    again = pickle.loads(pickle.dumps(args))
    assert type(again) is FinetuningArguments
    assert again == args
    assert FinetuningArguments(**{f.name: getattr(args, f.name) for f in fields(args) if f.init}) == args
    assert pickle.loads(pickle.dumps(ModelArguments(model_name_or_path="x"))).processor_name_or_path is None


def test_the_docs_list_every_option_with_the_default_that_no_objective_changes():
    tables = [
        line
        for line in (ROOT / "docs" / "options.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    defaults = {line.split("`")[1]: line.split(" | ")[1] for line in tables}
    assert {option.key for option in (*HOST_OPTIONS, *OPTIONS)} <= set(defaults)
    changed = {setting for objective in OBJECTIVES.values() for setting in objective.defaults}
    for option in (*HOST_OPTIONS, *OPTIONS):
        told = f"the objective's, mostly {option.default:g}" if option.setting in changed else f"{option.default}"
        assert defaults[option.key].strip("`") == told


def test_every_option_has_a_help_line_that_states_its_default():
    help_of = {f.name: f.metadata["help"] for f in fields(FinetuningArguments) if f.name.startswith("fire_")}
    others = {"fire_objective", "fire_vision_cache_gb", *OTHER_KEYS}
    assert set(help_of) == {*others, *(option.key for option in OPTIONS)}
    for option in OPTIONS:
        assert f"Default {option.default}" in help_of[option.key]
    assert "Default 4.0, of rrg_dpo 5.0. Read by: ddpo, chip_no_kl," in help_of["fire_phrase_weight"]
    assert help_of["fire_length_weight"].endswith("Default 0.05. Read by: r_dpo_length.")
