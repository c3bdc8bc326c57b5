"""What a configuration may say, and what is refused with which word."""

import pytest
import yaml

from firempo_plugin.cli import main
from firempo_plugin.evaluate.answers import respond_config
from firempo_plugin.evaluate.config import EvaluateConfig, config_class, load
from firempo_plugin.evaluate.models import resolve
from firempo_plugin.settings import describe

GOOD = {
    "workspace": "work",
    "source": {"name": "vqa_rad", "options": {"folder": "data"}},
    "model": {"model_name_or_path": "base", "template": "qwen3_vl_nothink"},
    "models": {"base": None, "a": "saves/a", "b": "saves/b"},
}


@pytest.fixture
def read(tmp_path):
    """Returns a function that writes a configuration and reads it."""

    def make(*overrides, **changes) -> EvaluateConfig:
        path = tmp_path / "evaluate.yaml"
        path.write_text(yaml.safe_dump({**GOOD, **changes}, sort_keys=False))
        return load(path, list(overrides))

    return make


def test_rows_are_groups_and_models_in_no_group(read):
    config = read(groups={"FiRe-MPO": ["a", "b"]}, baseline="base")
    assert config.rows == {"FiRe-MPO": ["a", "b"], "base": ["base"]}
    assert not config.by_endpoint


def test_a_list_of_models_is_of_an_endpoint(read):
    config = read(model={}, models=["gpt-x", "llava"])
    assert config.models == {"gpt-x": "gpt-x", "llava": "llava"}
    assert [model.served for model in resolve(config)] == ["gpt-x", "llava"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": {}}, "unknown key answer; did you mean answers?"),
        ({"answers": {"sample": 2}}, "did you mean answers.samples?"),
        ({"workspace": ""}, "workspace is missing"),
        ({"measures": ["acuracy"]}, "measures must be one of accuracy.*found 'acuracy'"),
        ({"source": {}}, "source.name is missing"),
        ({"source": {"name": "vqarad"}}, "source.name must be one of vqa_rad"),
        ({"measures": ["localisation"]}, "source is given, and none of"),
        ({"localisation": {"dataset": "x"}}, "have options, and measures does not name them"),
        ({"model": {}, "models": ["m"], "measures": ["accuracy", "grounding"]}, "look into the model"),
        ({"models": {}}, "models is missing"),
        ({"model": {}}, "need the endpoint's name"),
        ({"model": {"template": "x"}}, "model.model_name_or_path is missing"),
        ({"model": {**GOOD["model"], "adapter_name_or_path": "x"}}, "name adapters under models"),
        ({"endpoint": {"timeout": 3}}, "model and endpoint are given"),
        ({"endpoint": {"temperature": 1}}, "unknown key endpoint.temperature"),
        ({"models": {"a b": None}}, "must be of letters"),
        ({"groups": {"G": ["c"]}}, r"\['c'\] are no models; known: base, a, b"),
        ({"groups": {"G": []}}, "have no models"),
        ({"groups": {"G": ["a", "a"]}}, "name a model twice"),
        ({"groups": {"base": ["a"]}}, "also models of no group"),
        ({"baseline": "dpo"}, "baseline is 'dpo', which is no row; known: base, a, b"),
        ({"groups": {"G": ["a"], "H": ["a", "b"]}, "baseline": "G"}, "have models of the baseline"),
        ({"answers": {"samples": 4}}, "greedy answers are equal"),
        (
            {"answers": {"temperature": -1}},
            r"answers.temperature must be a number .* found -1",
        ),
        ({"answers": {"max_new_tokens": None}}, "null, for what is not sent, needs endpoint"),
        ({"source": {**GOOD["source"], "leaks": "hide"}}, "source.leaks must be one of refuse, report, found 'hide'"),
        ({"judge": {"by": "me"}}, "judge.by must be one of rules, endpoint, found 'me'"),
        ({"judge": {"by": "endpoint"}}, "judge.endpoint.model is missing"),
        ({"measures": ["reports"], "reports": {"metrics": ["grene"]}}, "yaml: reports.metrics must be one of bleu"),
        ({"measures": ["reports"], "reports": {"metrics": []}}, "reports.metrics is empty"),
        ({"measures": ["accuracy", "localisation"]}, "localisation.dataset is missing; write the pairwise set"),
        ({"compare": {"draws": 3}}, "at least 100"),
    ],
)
def test_what_cannot_be_is_refused_with_its_remedy(read, changes, message):
    with pytest.raises(ValueError, match=message):
        read(**changes)


def test_an_endpoint_may_decode_by_its_own_defaults(read):
    config = read(model={}, models=["m"], answers={"temperature": None, "max_new_tokens": None, "samples": 2})
    endpoint = respond_config(config, resolve(config)[0]).endpoint
    assert (endpoint.model, endpoint.temperature, endpoint.max_tokens) == ("m", None, None)


def test_folders_that_are_no_models_are_named(read, tmp_path):
    (tmp_path / "empty").mkdir()
    for place, found in ((tmp_path / "empty", "holds neither"), (tmp_path / "gone", "is not there")):
        with pytest.raises(ValueError, match=f"models.a: .*{found}.*adapter_config.json"):
            resolve(read(models={"a": str(place)}))


def test_a_checkpoint_takes_the_place_of_the_base(read, tmp_path):
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 2000)
    (model,) = resolve(read(models={"full": str(folder)}))
    assert model.engine_arguments == {**GOOD["model"], "model_name_or_path": str(folder)}
    assert model.adapter is None


def test_every_key_is_described(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    text = capsys.readouterr().out
    assert all(line.strip() in text for line in describe(config_class()))
    assert all(len(line.split(maxsplit=2)) > 1 for line in describe(config_class()))
