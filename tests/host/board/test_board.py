"""LLaMA-Board without a browser: the host's, byte for byte, for other stages; for ours it writes what YAML would."""

import json
import os
import subprocess
import sys

import pytest
import stock_board
from llamafactory.hparams import FinetuningArguments, ModelArguments

from firempo_plugin.convert.kinds import KINDS
from firempo_plugin.host.board import monitor, restore, texts
from firempo_plugin.host.board.fields import FIELDS, arguments, changing, problem
from firempo_plugin.host.preview.page import words_in
from firempo_plugin.host.train.curves import live_figure
from firempo_plugin.objectives.guide import grouped, needs_of
from firempo_plugin.objectives.table import OBJECTIVES
from firempo_plugin.objectives.terms import GROUPS

DEFAULTS = {field.name: field.default for field in FIELDS}


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    """What the board is made of and writes: without the plug-in, in a process of its own, and with it, in this one."""
    run = subprocess.run(
        [sys.executable, stock_board.__file__],
        cwd=tmp_path_factory.mktemp("stock"),
        env=os.environ | {"FIREMPO_DISABLE": "1", "HOSTNAME": "here"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("ours"))
        patch.setenv("HOSTNAME", "here")
        return json.loads(run.stdout.split("JSON:")[1]), stock_board.look()


def test_other_stages_keep_their_commands_and_saved_arguments(boards):
    stock, ours = boards
    assert ours["commands"] == stock["commands"]
    assert ours["saved"] == stock["saved"]
    assert len(stock["commands"]) == 13


def test_the_hosts_elements_are_untouched(boards):
    """Ours are hidden at first, and stand between them."""
    stock, ours = boards
    hidden, rest = [], []
    for depth, kind, name, props in ours["elements"]:
        if hidden and depth > hidden[-1]:
            continue  # within one of ours
        hidden = hidden[:0]
        if name in ("fire_tab", "fire_pairs", "fire_preview_btn"):
            assert props["visible"] is False
            hidden = [depth]
        else:
            rest.append([depth, kind, name, props])
    for element in rest:
        choices = element[3].get("choices")
        if choices and ["FiRe-MPO", "FiRe-MPO"] in choices:
            choices.remove(["FiRe-MPO", "FiRe-MPO"])
        if choices and ["llava", "llava"] in choices:
            for kind in KINDS.values():
                choices.remove([kind.template, kind.template])
    assert rest == stock["elements"]


def test_the_hosts_reactions_stay_in_their_order(boards):
    stock, ours = boards
    left = iter(ours["events"])
    for event in stock["events"]:
        assert any(event == other for other in left), event


def test_the_hosts_words_are_untouched(boards):
    stock, ours = boards
    assert {name: ours["words"][name] for name in stock["words"]} == stock["words"]


def test_every_element_speaks_every_language():
    labels = texts.labels()
    for field in FIELDS:
        assert set(labels[field.name]) == set(texts.LANGUAGES)
        infos = {words["info"] for words in labels[field.name].values()}
        assert len(infos) == len(texts.LANGUAGES), f"{field.name}: a language repeats another"
        assert all(info.endswith(f"YAML: {field.key}") for info in infos)
    for language in texts.LANGUAGES:
        assert set(words_in(language)) == set(words_in("en"))
        for name in ("note", "loading", "builtin_tokenizer"):
            assert texts.say(name, language)
        assert "0.05" in texts.say("shortcut", language, epoch=0.05, margin=12.0)
        assert "3" in texts.say("checking", language, checked=3, total=7, bad=1)


def test_the_list_of_objectives_is_grouped_in_every_language():
    for language in texts.LANGUAGES:
        listed = texts.labels()["fire_objective"][language]["choices"]
        assert [name for _, name in listed] == [row.name for rows in grouped().values() for row in rows]
        assert all(label.endswith(f" · {name}") for label, name in listed)
    for language, label in (("en", "Fine-grained text · rrpo"), ("ja", "細粒度テキスト · rrpo")):
        assert (label, "rrpo") in texts.labels()["fire_objective"][language]["choices"]


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_a_chosen_objective_says_when_to_take_it_how_it_is_computed_and_what_it_needs(language):
    for name, row in OBJECTIVES.items():
        said = texts.about(name, language)
        assert f"`{row.formula}`" in said
        assert row.source in said
        assert (texts.say("no_reference", language) in said) == (name in ("simpo", "orpo"))
        assert row.use in said or language != "en"
    copo = {"en": "a noised image in every row", "ru": "зашумлённое изображение в каждой строке"}
    assert copo.get(language, "") in texts.about("copo", language)


def test_what_is_translated_is_what_the_table_says():
    """A line that the table has no more would never be shown; one that it has anew is shown in English."""
    rows = OBJECTIVES.values()
    words = {*GROUPS, *(row.use for row in rows), *(need for row in rows for need in needs_of(row).of_a_row)}
    assert set(texts._objectives()) <= words
    for english, others in texts._objectives().items():
        assert {"en", *others} == set(texts.LANGUAGES), english
        assert len({english, *others.values()}) == len(texts.LANGUAGES), english
    assert set(GROUPS) <= set(texts._objectives())


def test_every_field_writes_a_key_of_the_host_and_starts_with_its_default():
    keys = set(FinetuningArguments.__dataclass_fields__) | set(ModelArguments.__dataclass_fields__)
    assert {field.key for field in FIELDS} <= keys
    resolved = vars(FinetuningArguments(stage="fire_mpo"))
    written = arguments(DEFAULTS)
    assert {key: resolved[key] for key in written} == written


def test_all_keys_of_the_stage_have_a_field():
    stage_keys = {key for key in FinetuningArguments.__dataclass_fields__ if key.startswith("fire_")}
    assert stage_keys <= {field.key for field in FIELDS}


def test_zero_and_false_are_written_and_empty_is_not():
    values = DEFAULTS | {"fire_alpha": "0", "fire_nll": "0", "fire_skip_invalid": False, "fire_gamma": "  "}
    written = arguments(values)
    assert (written["fire_alpha"], written["pref_ftx"], written["fire_skip_invalid"]) == (0.0, 0.0, False)
    assert "fire_gamma" not in written


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_chosen_objective_brings_its_own_numbers(objective):
    """Those that the section then shows are those that training would take, had none been written."""
    resolved = vars(FinetuningArguments(stage="fire_mpo", fire_objective=objective))
    written = arguments(DEFAULTS | {"fire_objective": objective} | changing(objective))
    assert {key: resolved[key] for key in written} == written
    assert set(changing(objective)) == set(changing("fire_mpo"))
    assert "fire_beta" in changing(objective)


@pytest.mark.parametrize("objective", ["dpo", "mask_dpo", "mdpo"])
def test_what_the_objective_does_not_use_is_not_written(objective):
    written = arguments(DEFAULTS | {"fire_objective": objective, "fire_alpha": "nonsense"})
    assert not {"fire_alpha", "fire_lambda", "fire_kl_scope"} & set(written)
    FinetuningArguments(stage="fire_mpo", **{key: value for key, value in written.items() if "name" not in key})


@pytest.mark.parametrize(
    ("changes", "extra", "reason"),
    [
        ({}, {}, None),
        ({"fire_lambda": "1.5"}, {}, "fire_lambda must be a number in"),
        ({"fire_vision_cache_gb": "0"}, {}, "fire_vision_cache_gb must be a number above 0"),
        ({"fire_pass_tokens": "1e3"}, {}, "fire_pass_tokens must be a whole number, found '1e3'"),
        ({"fire_alpha": "nan"}, {}, "fire_alpha must be a number >= 0, found nan"),
        ({}, {"fire_alpha": 0.5}, "Extra arguments hold fire_alpha"),
    ],
)
def test_a_problem_is_told_in_the_words_of_training(changes, extra, reason):
    found = problem(DEFAULTS | changes, extra)
    assert found is None if reason is None else reason in found


def entry(step, epoch, accuracy, margin):
    return {
        "current_steps": step,
        "epoch": epoch,
        "loss": 0.7,
        "terms/rank": 0.69,
        "terms/visual": None,
        "rewards/accuracies": accuracy,
        "rewards/margins": margin,
        "rewards/accuracies_visual": 0.5,
        "rewards/margins_visual": 0.0,
    }


CALM = [entry(1, 0.05, 0.5, 0.1), entry(2, 0.1, 1.0, 0.2)]
RUNAWAY = [entry(1, 0.05, 1.0, 1.0), entry(2, 0.4, 1.0, 12.5)]


def test_the_live_figure_draws_loss_terms_accuracies_and_margins():
    titles = [axis.get_title() for axis in live_figure(CALM).axes]
    assert titles == ["loss", "terms/rank", "terms/visual", "rewards/accuracies", "rewards/margins"]
    margins = live_figure(CALM).axes[-1]
    assert [line.get_label() for line in margins.get_lines()][1::2] == [
        "rewards/margins, smoothed",
        "rewards/margins_visual, smoothed",
    ]
    assert list(margins.get_lines()[0].get_ydata()) == [0.1, 0.2]


def test_the_log_of_another_stage_is_drawn_by_the_host():
    from llamafactory.extras.ploting import gen_loss_plot

    assert live_figure([{"current_steps": 1, "loss": 0.5}]) is None
    assert [axis.get_ylabel() for axis in gen_loss_plot([{"current_steps": 1, "loss": 0.5}]).axes] == ["loss"]


def test_a_shortcut_is_shown_above_the_log_and_on_the_curves(tmp_path):
    log = tmp_path / "trainer_log.jsonl"
    assert monitor.warning("en", log) == ""
    log.write_text("".join(json.dumps(line) + "\n" for line in CALM))
    assert monitor.warning("en", log) == ""
    assert live_figure(CALM)._suptitle.get_text().strip() == ""
    log.write_text("".join(json.dumps(line) + "\n" for line in RUNAWAY))
    assert "epoch 0.05" in monitor.warning("en", log)
    assert "12.5" in monitor.warning("zh", log)
    assert "margin 12.5" in live_figure(RUNAWAY)._suptitle.get_text()


def test_noise_that_does_not_hide_is_shown_too_and_beside_a_shortcut(tmp_path):
    log = tmp_path / "trainer_log.jsonl"
    rising = [
        {
            "current_steps": n,
            "epoch": 0.1 * n,
            "loss": 0.5,
            "terms/rank": 0.74 - 0.05 * n,
            "terms/visual": 0.59 + 0.1 * n,
        }
        for n in range(1, 9)
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in rising))
    for language in texts.LANGUAGES:
        assert "1.19" in monitor.warning(language, log)
    figure = live_figure([*RUNAWAY, *rising])
    assert figure._suptitle.get_text().splitlines() == [
        "Shortcut? Accuracy 1.0 since epoch 0.05, margin 12.5",
        "Does the noise hide? terms/visual 0.69 to 1.19",
    ]
    shaded = [axis.get_title() for axis in figure.axes if axis.get_facecolor()[:3] != (1, 1, 1)]
    assert shaded == ["terms/visual", "rewards/accuracies", "rewards/margins"]


def test_what_was_loaded_is_recalled_for_a_while_in_the_same_tab_and_for_the_same_model(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(restore.time, "monotonic", lambda: now[0])
    loaded = restore.Loaded()
    loaded.remember("tab", {"train.training_stage": "FiRe-MPO", "top.model_name": "Custom", "top.template": "llava"})
    assert loaded.recall("tab", "top.template", model_name="Custom") == "llava"
    assert loaded.recall("tab", "top.template", model_name="Other") is None
    assert loaded.recall("another tab", "top.template", model_name="Custom") is None
    loaded.remember("another tab", {"train.training_stage": "DPO", "top.model_name": "Custom", "top.template": "x"})
    assert loaded.recall("another tab", "top.template") is None, "other stages keep the host's reactions"
    assert loaded.recall("tab", "top.template") == "llava"
    now[0] += restore.SECONDS + 1
    assert loaded.recall("tab", "top.template", model_name="Custom") is None
