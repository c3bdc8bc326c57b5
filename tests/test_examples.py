"""Every example is parsed by the real host, and differs from the paper's recipe in what it is about only."""

from pathlib import Path

import pytest
import yaml
from llamafactory.data.template import TEMPLATES
from llamafactory.hparams import get_train_args
from places import EXAMPLES_DIR, ROOT

from firempo_plugin.chat_templates import OF_TEMPLATES, images_of
from firempo_plugin.host.arguments import HOST_OPTIONS, OPTIONS, settings_of
from firempo_plugin.host.train.workflow import refuse_unsupported

NOT_FOR_TRAINING = ("align", "build", "evaluate", "lmms_eval", "phantom", "phantom_language")
"""Each is tested with what reads it."""
OF_MODELS = sorted(path for path in EXAMPLES_DIR.glob("*/build*.yaml") if path.parent.name not in NOT_FOR_TRAINING)
"""Builds with a model's own answers, beside its training file."""
BUILDS = [
    *sorted(path for path in (EXAMPLES_DIR / "build").glob("*.yaml") if not path.name.startswith("serve")),
    *OF_MODELS,
]
EXAMPLES = sorted(
    path
    for path in EXAMPLES_DIR.rglob("*.yaml")
    if path.relative_to(EXAMPLES_DIR).parts[0] not in NOT_FOR_TRAINING and path not in OF_MODELS
)
NAMES = [str(path.relative_to(EXAMPLES_DIR)) for path in EXAMPLES]
OF_OBJECTIVES = sorted((EXAMPLES_DIR / "objectives").iterdir())
EXPORTED = ROOT / "firempo_plugin" / "pairs" / "exporters" / "training.yaml"
RECIPE = EXAMPLES_DIR / "qwen3_vl_4b" / "fire_mpo.yaml"

OF_IMAGES = {"cutoff_len", *(line.partition(":")[0] for images in OF_TEMPLATES.values() for line in images.keys)}
OTHER_MODEL = {"output_dir", "model_name_or_path", "template"}


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_the_host_parses_it(path, monkeypatch, tmp_path):
    config = load(path)
    monkeypatch.chdir(tmp_path)
    # What this machine cannot do is not what the file says: no GPU, no bitsandbytes, no torchrun.
    config |= {"use_cpu": True, "bf16": False}
    if config.pop("deepspeed", None):
        assert (EXAMPLES_DIR / "deepspeed" / "ds_z2_config.json").is_file()
    model_args, data_args, training_args, finetuning_args, _ = get_train_args(config)
    refuse_unsupported(model_args, data_args, training_args, finetuning_args)
    assert settings_of(finetuning_args).terms
    assert data_args.template in TEMPLATES


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_it_opens_with_its_command_and_its_own_output_folder(path):
    name = path.relative_to(EXAMPLES_DIR.parent)
    assert f"llamafactory-cli train {name}\n" in path.read_text(encoding="utf-8").split("###")[0]
    assert load(path)["output_dir"] == f"saves/{path.relative_to(EXAMPLES_DIR).with_suffix('')}"


@pytest.mark.parametrize("path", [*EXAMPLES, EXPORTED], ids=lambda path: path.stem)
def test_it_reports_to_what_a_plain_install_has(path):
    assert "\nreport_to: none  # or " in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [p for p in EXAMPLES if p.parent != RECIPE.parent], ids=lambda p: p.stem)
def test_it_differs_from_the_recipe_in_what_it_is_about_only(path):
    recipe, config = load(RECIPE), load(path)
    allowed = {
        "ablations": {"output_dir", "fire_objective", "fire_alpha", "fire_gamma", "fire_lambda", "dataset"},
        "baselines": {
            "output_dir",
            "fire_objective",
            "fire_alpha",
            "fire_gamma",
            "fire_lambda",
            "fire_kl_scope",
            "pref_ftx",
            "dataset",
        },
        "objectives": {"output_dir", "fire_objective", "pref_beta", "fire_alpha", "fire_gamma", "fire_lambda"},
        "huatuogpt_vision_7b": {*OTHER_MODEL, "processor_name_or_path"},
        **dict.fromkeys(("internvl3_5_8b", "lingshu_7b", "llava_med_v1_5", "medgemma_4b"), OTHER_MODEL),
    }[path.parent.name] | OF_IMAGES
    changed = {key for key in recipe | config if recipe.get(key) != config.get(key)}
    assert changed <= allowed
    assert "output_dir" in changed


@pytest.mark.parametrize("path", [*EXAMPLES, *OF_MODELS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_it_takes_images_as_the_models_of_its_template_do(path):
    """Prompts and noise are as in training only if the answers were given to the same images."""
    config = load(path)
    config = config["respond"]["engine"] if path in OF_MODELS else config
    images = images_of(config["template"])
    assert {key: config[key] for key in config if key in OF_IMAGES - {"cutoff_len"}} == yaml.safe_load(
        "\n".join(images.keys)
    )
    assert config.get("cutoff_len", images.cutoff_len) == images.cutoff_len


@pytest.mark.parametrize("path", OF_MODELS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_models_build_asks_and_exports_for_the_model_beside_it(path):
    build, training = load(path), load(path.with_name(path.name.replace("build", "fire_mpo")))
    asked, exported = build["respond"]["engine"], build["export"]["options"]
    expected = (training["model_name_or_path"], training["template"])
    assert (asked["model_name_or_path"], asked["template"]) == (exported["model"], exported["template"]) == expected


@pytest.mark.parametrize("path", OF_OBJECTIVES, ids=lambda path: path.stem)
def test_an_objectives_example_leaves_its_numbers_to_the_objective(path):
    config = load(path)
    assert config["fire_objective"] == path.stem
    assert not {option.key for option in (*HOST_OPTIONS, *OPTIONS)} & set(config)


@pytest.mark.parametrize("path", BUILDS, ids=lambda path: path.name)
def test_a_build_is_configured_as_every_part_of_it_expects(path):
    from firempo_plugin.pairs import config
    from firempo_plugin.pairs.segmenters.segmenter import make
    from firempo_plugin.settings import checked
    from firempo_plugin.sources.registry import SOURCES

    build = config.load(path, [])
    assert f"firempo build {path.relative_to(ROOT)}" in path.read_text(encoding="utf-8").split("workspace:")[0]
    checked(SOURCES.load(build.source.name).options, build.source.options)
    if build.segment.by not in ("none", "file", "box"):
        make(build.segment.by, build.segment.options)


def test_the_recipe_is_the_papers():
    config = load(RECIPE)
    expected = {
        "lora_rank": 128,
        "lora_alpha": 256,
        "use_rslora": True,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "cosine",
        "num_train_epochs": 1.0,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "image_max_pixels": 512 * 28 * 28,
        "pref_beta": 0.1,
        "fire_alpha": 0.01,
        "fire_gamma": 0.1,
        "fire_lambda": 0.5,
        "bf16": True,
    }
    assert {key: config[key] for key in expected} == expected
