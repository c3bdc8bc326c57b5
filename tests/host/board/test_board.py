"""LLaMA-Board without a browser: the host's, byte for byte, for other stages; for ours it writes what YAML would."""

import json
import os
import subprocess
import sys

import pytest
import stock_board
from llamafactory.hparams import FinetuningArguments, ModelArguments
from llamafactory.webui.locales import LOCALES

from firempo_plugin.convert.kinds import KINDS
from firempo_plugin.host.board import monitor, refusals, restore, texts
from firempo_plugin.host.board.fields import FIELDS, arguments, changing, has_effect, problem
from firempo_plugin.host.board.pairs_box import preview_button, status_line
from firempo_plugin.host.preview.look import Standing
from firempo_plugin.host.preview.page import words_in
from firempo_plugin.host.train.curves import live_groups, live_picture
from firempo_plugin.objectives.guide import grouped, needs_of
from firempo_plugin.objectives.table import OBJECTIVES
from firempo_plugin.objectives.terms import GROUPS

DEFAULTS = {field.name: field.default for field in FIELDS}
HOST = {
    "learning_rate": "5e-5",
    "num_train_epochs": "3.0",
    "max_grad_norm": "1.0",
    "max_samples": "100000",
    "image_max_pixels": "768*768",
    "image_min_pixels": "32 * 32",
    "video_max_pixels": "65536",
    "video_min_pixels": "16*16",
}


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
    """Ours are hidden at first, but for a tab of their own, and stand between them."""
    stock, ours = boards
    hidden, rest = [], []
    for depth, kind, name, props in ours["elements"]:
        if hidden and depth > hidden[-1]:
            continue  # within one of ours
        hidden = hidden[:0]
        if name in ("fire_tab", "fire_card", "fire_curves", "fire_pairs", "fire_preview_btn", "fire_build_tab"):
            assert props["visible"] is (name == "fire_build_tab")
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
    values = DEFAULTS | {"fire_alpha": "0", "fire_nll": "0", "fire_skip_invalid": False, "fire_vision_cache": "  "}
    written = arguments(values)
    assert (written["fire_alpha"], written["pref_ftx"], written["fire_skip_invalid"]) == (0.0, 0.0, False)
    assert not {"fire_vision_cache", "fire_pass_tokens", "ref_model"} & set(written)


def test_an_emptied_number_is_refused_where_it_has_an_effect():
    """Training would take its own default in its place, and the page would show none."""
    for empty in ("", "  ", None):
        error = problem(DEFAULTS | {"fire_gamma": empty}, HOST, {})
        assert str(error) == f"fire_gamma must be a number, found {empty or ''!r}. Write for example `fire_gamma: 0.1`."
    assert problem(DEFAULTS | {"fire_objective": "dpo", "fire_gamma": ""}, HOST, {}) is None


def test_a_reference_of_its_own_can_be_named_where_there_is_a_reference():
    (field,) = (field for field in FIELDS if field.key == "ref_model")
    values = DEFAULTS | {"fire_ref_model": " base "}
    assert arguments(values)["ref_model"] == "base"
    assert problem(values, HOST, {}) is None
    for name in OBJECTIVES:
        assert has_effect(field, name) == (name not in ("simpo", "orpo"))
    assert "ref_model" not in arguments(values | {"fire_objective": "simpo"})


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
        ({"fire_alpha": "nan"}, {}, "fire_alpha must be a number, found 'nan'"),
        ({"fire_alpha": "1_0"}, {}, "fire_alpha must be a number, found '1_0'"),
        ({"fire_alpha": "٠.٥"}, {}, "fire_alpha must be a number, found '٠.٥'"),
        ({"fire_alpha": "1e400"}, {}, "fire_alpha must be a number >= 0, found inf"),
        ({"fire_pass_tokens": "1_000"}, {}, "fire_pass_tokens must be a whole number, found '1_000'"),
        ({"fire_pass_tokens": "５"}, {}, "fire_pass_tokens must be a whole number, found '５'"),
        ({"fire_alpha": " .5 ", "fire_gamma": "+1.e-3"}, {}, None),
        ({}, {"fire_alpha": 0.5}, "Extra arguments hold fire_alpha"),
    ],
)
def test_a_problem_is_told_in_the_words_of_training(changes, extra, reason):
    found = problem(DEFAULTS | changes, HOST, extra)
    assert found is None if reason is None else reason in str(found)


IMAGELESS = "ValueError: This model does not support image input. Please check whether the correct `template` is used."


@pytest.mark.parametrize(
    ("kinds", "at_fault"),
    [
        ({IMAGELESS: 22}, 22),
        ({"AttributeError: ... object has no attribute ...": 3, "equal": 1}, 3),
        ({IMAGELESS: 1, "equal": 4}, None),
        ({"the template rewrites this response": 5}, None),
        ({}, None),
    ],
)
def test_the_look_at_pairs_names_the_template_that_most_rows_fail_by(kinds, at_fault):
    standing = Standing("done", checked=24, total=24, kinds=kinds, bad=sum(kinds.values()))
    for language in texts.LANGUAGES:
        line = status_line(standing, "default", language)
        said = texts.say("template_at_fault", language, template="default", number=at_fault)
        assert (said in line) == (at_fault is not None)
        assert ("default" in line) == (at_fault is not None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("learning_rate", "1_000"),
        ("max_samples", "1e3"),
        ("num_train_epochs", "٣"),
        ("max_grad_norm", ""),
        ("image_max_pixels", "768*768*3"),
        ("image_max_pixels", "768x768"),
    ],
)
def test_a_number_of_the_hosts_is_read_as_strictly(name, text):
    assert str(problem(DEFAULTS, HOST | {name: text}, {})).startswith(f"{name} must be ")


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_a_wrong_value_is_told_of_the_label_that_the_page_shows(language):
    """In its language; what training refuses otherwise is in its own words."""
    wrong = [({"fire_alpha": "-1"}, "fire_alpha", "-1.0"), ({"fire_gamma": "x"}, "fire_gamma", "'x'")]
    wrong += [({name: "0"}, name, "0") for name in ("fire_beta", "fire_pass_tokens", "fire_group_by_image")]
    wrong += [({"fire_vision_cache_gb": "0"}, "fire_vision_cache_gb", "0"), ({"fire_lambda": "7"}, "fire_lambda", "7")]
    wrong += [({"fire_pass_tokens": "x"}, "fire_pass_tokens", "'x'")]
    for changes, name, found in wrong:
        error = problem(DEFAULTS | changes, HOST, {})
        said = refusals.say_refusal(error, language)
        assert texts.labels()[name][language]["label"] in said
        assert found in said
        assert (error.wanted in said) == (language == "en")
    host = refusals.say_refusal(problem(DEFAULTS, HOST | {"image_max_pixels": ""}, {}), language)
    assert LOCALES["image_max_pixels"][language]["label"] in host
    twice = problem(DEFAULTS, HOST, {"fire_alpha": 1})
    assert refusals.say_refusal(twice, language) == str(twice)


def entry(step, epoch, accuracy, margin):
    return {
        "current_steps": step,
        "percentage": 100 * epoch,
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


def test_the_live_curves_are_loss_terms_accuracies_and_margins():
    assert live_groups(CALM) == {
        "loss": ["loss"],
        "terms/rank": ["terms/rank"],
        "terms/visual": ["terms/visual"],
        "rewards/accuracies": ["rewards/accuracies", "rewards/accuracies_visual"],
        "rewards/margins": ["rewards/margins", "rewards/margins_visual"],
    }
    assert live_groups([{"current_steps": 1, "loss": 0.5}]) == {}, "of another stage"
    calm, warned = (live_picture(CALM, ["terms/rank"], warned=warned) for warned in (False, True))
    assert calm.startswith(b"\x89PNG")
    assert calm != warned


def test_every_curve_has_its_verdict_below_it_and_as_its_text():
    html = monitor.curves_html(RUNAWAY, "en")
    assert html.count("<figure>") == html.count("<figcaption") == 5
    assert html.count("a shortcut. Look at your pairs") == 4, "accuracies and margins, below and as text alternatives"
    assert 'alt="loss: Too early to say: 2 of 8 logged values."' in html
    assert "捷径" in monitor.curves_html(RUNAWAY, "zh")
    assert monitor.curves_html([{"current_steps": 1, "loss": 0.5}], "en") == ""


def test_a_log_is_that_of_the_last_run_in_its_folder(tmp_path):
    log = tmp_path / "trainer_log.jsonl"
    steps = [1, 5, 10, 10, 6, 8, 1, 2, 3, 2]
    log.write_text("".join(json.dumps({"current_steps": step}) + "\n" for step in steps) + '{"current_')
    assert [entry["current_steps"] for entry in monitor.entries(log)] == [1, 2]
    log.write_text("".join(json.dumps({"current_steps": step}) + "\n" for step in steps[:6]))
    assert [entry["current_steps"] for entry in monitor.entries(log)] == [1, 5, 6, 8], "it went on at a checkpoint"


def test_a_shortcut_is_shown_above_the_log(tmp_path):
    log = tmp_path / "trainer_log.jsonl"
    assert monitor.warning("en", log) == ""
    log.write_text("".join(json.dumps(line) + "\n" for line in CALM))
    assert monitor.warning("en", log) == ""
    log.write_text("".join(json.dumps(line) + "\n" for line in RUNAWAY))
    assert "epoch 0.05" in monitor.warning("en", log)
    assert "12.5" in monitor.warning("zh", log)


def test_noise_that_does_not_hide_is_shown_above_the_log(tmp_path):
    log = tmp_path / "trainer_log.jsonl"
    rising = [
        {"current_steps": n, "epoch": 0.1 * n, "terms/rank": 0.74 - 0.05 * n, "terms/visual": 0.59 + 0.1 * n}
        for n in range(1, 9)
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in rising))
    for language in texts.LANGUAGES:
        assert "1.19" in monitor.warning(language, log)


def test_a_grey_preview_button_says_why(tmp_path):
    (tmp_path / "dataset_info.json").write_text(
        json.dumps({"here": {"file_name": "a.json"}, "gone": {"file_name": "b"}})
    )
    (tmp_path / "a.json").write_text("[]")
    for language in texts.LANGUAGES:
        name = LOCALES["data_preview_btn"][language]["value"]
        found = {
            str(dataset): preview_button(str(tmp_path), dataset, language)
            for dataset in (["here"], ["gone"], ["unknown"], [], None)
        }
        given = [button.constructor_args for button in found.values()]
        assert [each["interactive"] for each in given] == [True, False, False, False, False]
        reasons = [each["value"].removeprefix(name) for each in given]
        assert reasons == ["", *[f": {texts.say(why, language)}" for why in ("no_file",) * 2 + ("no_dataset",) * 2]]


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
