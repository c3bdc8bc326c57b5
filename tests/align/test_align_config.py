"""What a configuration of the rounds says, and what is refused before anything runs."""

import json
from pathlib import Path

import pytest
import yaml
from places import ROOT

from firempo_plugin.align.config import build_keys, evaluate_keys, load
from firempo_plugin.align.policy import Policy
from firempo_plugin.errors import UserError
from firempo_plugin.settings import checked
from firempo_plugin.sources.registry import SOURCES

SOURCE = {"name": "table", "options": {"file": "records.csv"}}
GIVEN = {
    "folder": "all",
    "build": {"source": SOURCE, "edit": {"max_words": 5}},
    "train": {"model_name_or_path": "base", "template": "qwen3_vl_nothink", "image_max_pixels": 9216},
    "evaluate": {"source": SOURCE, "measures": ["accuracy", "localisation"]},
}


@pytest.fixture
def read(tmp_path):
    def read(*overrides, **sections):
        file = tmp_path / "align.yaml"
        file.write_text(yaml.safe_dump(GIVEN | sections))
        return load(file, list(overrides))

    return read


def test_sections_may_be_files_and_overrides_reach_into_them(read, tmp_path):
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(GIVEN["train"] | {"learning_rate": 1e-6}))
    config = read("train.learning_rate=2.0e-6", "rounds=5", train=str(tmp_path / "train.yaml"))
    assert config.train == GIVEN["train"] | {"learning_rate": 2e-6}
    assert config.rounds == 5


def test_a_round_is_answered_by_its_model_as_it_is_trained(read):
    keys = build_keys(read(), 2, Policy("base", "adapter"))
    assert keys["respond"] == {
        "backend": "engine",
        "engine": {
            "template": "qwen3_vl_nothink",
            "image_max_pixels": 9216,
            "model_name_or_path": "base",
            "adapter_name_or_path": "adapter",
        },
    }
    assert (keys["workspace"], keys["edit"], keys["source"]) == ("all/build", {"max_words": 5}, SOURCE)
    assert (keys["export"]["folder"], keys["export"]["name"]) == ("all/rounds/2/pairs", "pairs")


def test_rounds_share_the_image_files_of_the_build(read):
    copied = build_keys(read("build.export.images=copy"), 2, Policy("base"))
    assert copied["export"]["images"] == "copy"
    assert build_keys(read(), 2, Policy("base"))["export"]["images"] == "link"


def test_all_rounds_are_rows_of_one_evaluation(read):
    policies = [Policy("base"), Policy("base", "first"), Policy("merged")]
    keys = evaluate_keys(read(), policies)
    assert keys["models"] == {"base": None, "round-1": "first", "round-2": "merged"}
    assert (keys["baseline"], keys["workspace"]) == ("base", "all/evaluate")
    assert keys["localisation"] == {"dataset": "pairs", "dataset_dir": "all/rounds/1/pairs", "reference": "base"}
    own = {"dataset": "held_out"}
    given = GIVEN["evaluate"] | {"localisation": own}
    assert evaluate_keys(read(evaluate=given), policies)["localisation"]["dataset"] == "held_out"


REFUSED = {
    "unknown key build.edit.max_word; did you mean build.edit.max_words?": ["build.edit.max_word=3"],
    "build.source.name is missing": ["build.source.name=''"],
    "build.respond.file cannot be used: the model of each round answers": ["build.respond.file=answers.jsonl"],
    "build.respond.samples needs respond.endpoint.temperature above 0": ["build.respond.samples=2"],
    "build.export.format is trl; the rounds train with llamafactory": ["build.export.format=trl"],
    "train.ref_model cannot be used: `adapter` and `reference` decide it": ["train.ref_model=other"],
    "train.model_name_or_path is missing": ["train.model_name_or_path=null"],
    "train.stage is 'sft'; the rounds train with fire_mpo": ["train.stage=sft"],
    "train.adapter_name_or_path names several adapters": ["train.adapter_name_or_path='a,b'"],
    "adapter: stack needs plain LoRA, and train.use_dora is True": ["train.use_dora=true"],
    "adapter: stack and merge need a model into which the host merges": ["train.quantization_bit=4"],
    "train.quantization_bit: 8 keeps it from that": ["adapter=merge", "train.quantization_bit=8"],
    "train.deepspeed: {'zero_optimization': {'stage': 3}} keeps": ["train.deepspeed.zero_optimization.stage=3"],
    "train.template: KeyError raised while resolving interpolation": ["train.template='${oc.env:NOWHERE_AT_ALL}'"],
    "adapter: continue needs an adapter": ["adapter=continue", "train.finetuning_type=full"],
    "unknown key evaluate.measure; did you mean evaluate.measures?": ["evaluate.measure=accuracy"],
    "evaluate.endpoint cannot be used: the model of each round is loaded here": ["evaluate.endpoint.model=x"],
    "metric is 'bleu'; write measure.metric of one that evaluate measures: accuracy, localisation": ["metric=bleu"],
    "metric is 'reports.bleu'": ["metric=reports.bleu"],
    "train.adapter_name_or_path: nowhere holds no adapter_config.json": ["train.adapter_name_or_path=nowhere"],
    "train.val_size cannot be used: `evaluate` says what validation is": ["train.val_size=0.1"],
    "train.max_samples cannot be used: all pairs of a round are trained on": ["train.max_samples=100"],
    "train.deepspeed: nowhere.json does not exist": [
        *("adapter=continue", "reference=base", "train.deepspeed=nowhere.json"),
    ],
    "an override is of another kind than what it is to replace": ["train=[1,2]"],
    "folder: a,b has a comma": ["folder='a,b'"],
    f"folder: {__file__} is no folder": [f"folder={__file__}"],
    "train.hf_hub_token holds what looks like a key or a token": ["train.hf_hub_token=abcdef"],
    "build.edit.endpoint.note holds what looks like a key": ["build.edit.endpoint.note='sk-abcdefghijklmnop'"],
    "metric is localisation.auc, of pairs that the rounds train on": ["metric=localisation.auc"],
    "rounds must be a whole number (at least 1), found 0": ["rounds=0"],
    "unknown key watch.length": ["watch.length=3"],
    "folder is missing": ["folder=''"],
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_cannot_work_is_refused_with_its_key(read, said):
    with pytest.raises(UserError) as error:
        read(*REFUSED[said])
    assert said in str(error.value)
    assert "align.yaml" in str(error.value)


def test_an_adapter_that_cannot_be_stacked_is_refused_before_a_round_is_trained(read, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "use_dora": True}))
    words = [f"train.adapter_name_or_path={tmp_path}"]
    with pytest.raises(UserError, match="use_dora is True; only plain LoRA is stacked"):
        read(*words)
    assert read(*words, "adapter=merge").base.adapter == str(tmp_path)


def test_a_metric_of_pairs_that_are_held_out_may_choose_the_round(read):
    own = {"dataset": "held_out", "dataset_dir": "data"}
    assert read("metric=localisation.auc", evaluate=GIVEN["evaluate"] | {"localisation": own}).metric


@pytest.mark.parametrize("section", ["build", "train", "evaluate"])
def test_a_section_that_is_not_there_is_named(read, section):
    with pytest.raises(UserError, match=f"{section} is missing"):
        read(**{section: None})
    with pytest.raises(UserError, match=f"{section}: nowhere.yaml does not exist"):
        read(**{section: "nowhere.yaml"})


def test_a_deepspeed_file_is_looked_into(read, tmp_path):
    (tmp_path / "zero.json").write_text("{")
    with pytest.raises(UserError, match=r"train.deepspeed: .*zero.json is no JSON"):
        read(f"train.deepspeed={tmp_path / 'zero.json'}")
    for stage, said in ((2, None), (3, "train.deepspeed: .*zero.json keeps it from that")):
        (tmp_path / "zero.json").write_text(json.dumps({"zero_optimization": {"stage": stage}}))
        words = [f"train.deepspeed={tmp_path / 'zero.json'}"]
        if said is None:
            assert read(*words).train["deepspeed"] == str(tmp_path / "zero.json")
        else:
            with pytest.raises(UserError, match=said):
                read(*words)
            assert read(*words, "adapter=continue", "reference=base")
            assert read(*words, "adapter=merge", "train.finetuning_type=full")


def test_a_round_is_answered_by_the_revision_and_the_tokens_that_it_is_trained_with(read):
    own = {"model_revision": "v1", "add_special_tokens": "<finding>", "crop_to_patches": True}
    config = read(train=GIVEN["train"] | own | {"learning_rate": 1e-6})
    for arguments in (build_keys(config, 1, config.base)["respond"]["engine"], evaluate_keys(config, [])["model"]):
        assert own.items() <= arguments.items()
        assert "learning_rate" not in arguments


def test_a_quantised_model_goes_on_with_one_adapter(read):
    assert read("adapter=continue", "reference=base", "train.quantization_bit=4").inference["quantization_bit"] == 4


def test_the_example_is_configured_as_every_part_of_it_expects(monkeypatch):
    monkeypatch.chdir(ROOT)  # its training file is seen from there
    config = load(Path("examples/align/slake.yaml"), [])
    assert (config.rounds, config.base.checkpoint) == (3, "Qwen/Qwen3-VL-4B-Instruct")
    options = SOURCES.load("slake").options
    assert checked(options, config.build["source"]["options"]).split == "train"
    assert checked(options, config.evaluate["source"]["options"]).split == "validate"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="does not exist; write `firempo align CONFIG"):
        load(Path(tmp_path, "align.yaml"), [])
