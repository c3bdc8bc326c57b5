"""What a configuration asks for and cannot have is one sentence, before the host parses it."""

import pytest
import yaml
from llamafactory.hparams import get_infer_args, get_train_args
from llamafactory.train import tuner

from firempo_plugin import cli
from firempo_plugin.errors import UserError
from firempo_plugin.host import doctor
from firempo_plugin.host.train import demands

TWO = {"stage": "fire_mpo", "dataset": "a, b"}
OVER = {**TWO, "mix_strategy": "interleave_over"}


@pytest.fixture
def without(monkeypatch):
    """Takes packages away."""
    find_spec = demands.find_spec

    def take(*names):
        monkeypatch.setattr(demands, "find_spec", lambda name: None if name in names else find_spec(name))

    return take


@pytest.fixture
def bare_ray(tmp_path, monkeypatch):
    """Ray as `pip install ray` leaves it: with what it needs, and without what its dashboard needs."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("")
    (tmp_path / "ray-9.dist-info").mkdir()
    needs = ("packaging", "aiohttp_of_ray>=3; extra == 'default'", "numpy; extra == 'default'")
    lines = ["Metadata-Version: 2.4", "Name: ray", "Version: 9", *(f"Requires-Dist: {need}" for need in needs)]
    (tmp_path / "ray-9.dist-info" / "METADATA").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "ray-9.dist-info" / "METADATA"


@pytest.mark.parametrize("key", demands.BACKENDS)
def test_a_backend_that_the_stage_has_not(key, tmp_path):
    config = {"stage": "fire_mpo", "do_train": True, "model_name_or_path": "x", "dataset": "x"}
    sentence = rf"^stage: fire_mpo does not support {key} \(.*\): remove {key}$"
    given = ({**config, "output_dir": str(tmp_path), key: True}, ["--stage", "fire_mpo", f"--{key}"])
    for args in (*given, [*given[1], "true", "--do_train"], ["--stage=fire_mpo", f"--{key.replace('_', '-')}"]):
        with pytest.raises(UserError, match=sentence):
            get_train_args(args)
    for off in ({key: False}, {key: "false"}, {key: None}, {key: True, "stage": "sft"}):
        assert demands.problem({**config, **off}) is None


@pytest.mark.parametrize("variable", [variable for _, variable in demands.BACKENDS.values() if variable])
def test_a_backend_that_a_variable_chooses(variable, tmp_path, monkeypatch):
    """A host would ask for packages of it first, and a check of rows enters where it parses."""
    monkeypatch.setenv(variable, "1")
    config = {"stage": "fire_mpo", "model_name_or_path": "x", "dataset": "x", "output_dir": str(tmp_path)}
    sentence = f"^{variable} is set, and stage: fire_mpo does not support .*: unset {variable}$"
    for start in (tuner.run_exp, get_train_args):
        with pytest.raises(UserError, match=sentence):
            start({**config, "do_train": True})
    answering = {"stage": "fire_mpo", "model_name_or_path": "x", "template": "qwen3_vl"}
    assert get_infer_args(answering)[2].stage == "fire_mpo", "nothing is trained"


def test_deepspeed_that_is_not_installed(without, tmp_path):
    assert demands.problem({"deepspeed": None}) is None
    without("deepspeed")
    config = {"stage": "fire_mpo", "do_train": True, "model_name_or_path": "x", "dataset": "x", "deepspeed": "z3.json"}
    sentence = "DeepSpeed is not installed: pip install deepspeed, or remove the key"
    for args in ({**config, "output_dir": str(tmp_path)}, ["--stage", "fire_mpo", "--deepspeed=z3.json"]):
        with pytest.raises(ValueError, match=sentence):
            get_train_args(args)


@pytest.mark.parametrize("switch", ["1", "true", "Y"])
def test_ray_that_is_not_installed(switch, without, monkeypatch):
    without("ray")
    assert demands.problem({}) is None
    monkeypatch.setenv("USE_RAY", switch)
    assert demands.problem({}) == (
        "USE_RAY is set, and Ray is not installed",
        "pip install 'ray[default]', or unset USE_RAY",
    )


def test_ray_without_its_dashboard(bare_ray, monkeypatch):
    monkeypatch.setenv("USE_RAY", "1")
    what, remedy = demands.problem({})
    assert what.endswith("(aiohttp_of_ray)")
    assert remedy == "pip install 'ray[default]', or unset USE_RAY"
    bare_ray.write_text(bare_ray.read_text().replace("aiohttp_of_ray", "packaging"))
    monkeypatch.setattr("llamafactory.extras.misc.get_device_name", lambda: "gpu")
    assert demands.problem({}) is None
    monkeypatch.setattr("llamafactory.extras.misc.get_device_name", lambda: "cpu")
    what, remedy = demands.problem({})
    assert "without a GPU" in what, "the host would wait for ever"
    assert "FORCE_TORCHRUN=1" in remedy


def test_a_key_of_another_release_names_the_switch(without):
    without("ray")
    what, remedy = demands.problem({"ray_run_name": "mine"})
    assert what == "ray_run_name is no key of this LLaMA-Factory"
    assert remedy == "remove it, and set USE_RAY=1 to train with Ray; it needs Ray: pip install 'ray[default]'"


@pytest.mark.parametrize("written", ["0.5,0.5", [0.25, 0.75], "1e-1, 0.9"])
def test_a_sound_mix(written):
    assert demands.problem({**OVER, "interleave_probs": written}) is None
    assert demands.problem({**OVER}) is None
    assert demands.problem({**TWO}) is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"mix_strategy": "concat", "interleave_probs": "0.5,0.5"}, "has no effect with mix_strategy: concat"),
        ({"mix_strategy": "interleave"}, "mix_strategy: interleave is unknown"),
        ({"interleave_probs": "0.5"}, "has 1 numbers for 2 data sets of dataset"),
        ({"interleave_probs": 1}, "has 1 numbers for 2 data sets of dataset"),
        ({"interleave_probs": "0.5,0.5", "eval_dataset": "c"}, "has 2 numbers for 1 data sets of eval_dataset"),
        ({"interleave_probs": "0.5,0.4"}, "add up to 0.9, not to 1"),
        ({"interleave_probs": "1,0"}, "has a number that is not above 0"),
        ({"interleave_probs": "nan,1"}, "has a number that is not above 0"),
        ({"interleave_probs": "half,half"}, "are not numbers"),
    ],
)
def test_a_mix_that_cannot_be(keys, words):
    """A share of 0 would never end: the library waits for the set to be exhausted."""
    what, remedy = demands.problem({**OVER, **keys})
    assert words in what
    assert "write" in remedy


@pytest.mark.parametrize("shares", [{}, {"interleave_probs": "0.5,0.5"}])
def test_a_strategy_that_the_installed_library_does_not_know(shares, monkeypatch):
    def interleave(datasets, probabilities, seed, stopping_strategy):
        raise ValueError(f"{stopping_strategy} is not supported")

    monkeypatch.setattr("datasets.interleave_datasets", interleave)
    what, remedy = demands.problem({**OVER, **shares, "mix_strategy": "interleave_once"})
    assert what.startswith("mix_strategy: interleave_once is not possible")
    assert "all_exhausted_without_replacement is not supported" in what
    assert remedy.startswith("write `mix_strategy: concat`")
    assert demands.problem({"dataset": "a", "mix_strategy": "interleave_once"}) is None, "nothing to mix"


def test_a_command_stops_before_the_data_is_looked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "misfits", list)  # which takes seconds
    file = tmp_path / "train.yaml"
    keys = {"do_train": True, "model_name_or_path": "x", "output_dir": str(tmp_path), "interleave_probs": "1,0"}
    file.write_text(yaml.safe_dump({**OVER, **keys}))
    assert cli.main(["validate", str(file)]) == 1
    assert "interleave_probs: 1,0 has a number that is not above 0: write" in capsys.readouterr().err
    assert cli.main(["doctor", str(file)]) == 1
    assert "FAIL  interleave_probs: 1,0 has a number that is not above 0" in capsys.readouterr().out


def test_other_stages_are_the_hosts(tmp_path):
    config = {"stage": "dpo", "do_train": True, "model_name_or_path": "x", "dataset": "x", "use_cpu": True}
    assert get_train_args({**config, "output_dir": str(tmp_path), "mix_strategy": "no"})[1].mix_strategy == "no"
