import pytest

from firempo_plugin.pairs.config import BuildConfig, load
from firempo_plugin.settings import describe, describe_options
from firempo_plugin.sources.registry import SOURCES

MINIMAL = "workspace: work\nsource: {name: slake, options: {folder: data}}\n"


@pytest.fixture
def read(tmp_path):
    def run(text=MINIMAL, *overrides):
        path = tmp_path / "build.yaml"
        path.write_text(text)
        return load(path, list(overrides))

    return run


def test_defaults_and_overrides(read):
    config = read()
    assert (config.edit.judge, config.noise.sigma, config.source.options) == ("rules", 45.0, {"folder": "data"})
    config = read(MINIMAL, "noise.sigma=30", "source.options.language=zh", "edit.rules_first=false", "max_cost=1.5")
    assert (config.noise.sigma, config.source.options["language"]) == (30.0, "zh")
    assert (config.edit.rules_first, config.max_cost) == (False, 1.5)


@pytest.mark.parametrize(
    ("overrides", "objective"),
    [
        ([], "fire_mpo"),
        (["noise.by=similar"], "re_align"),
        (["spans.of=sentences"], "mask_dpo"),
        (["spans.of=response"], "dpo"),
        (["edit.how=priors", "noise.by=similar"], "dpo"),
    ],
)
def test_pairs_are_made_for_an_objective(overrides, objective, read):
    assert read(MINIMAL, *overrides).objective == objective


@pytest.mark.parametrize(
    ("text", "overrides", "reason"),
    [
        (MINIMAL + "nois: {sigma: 3}\n", [], "unknown key nois; did you mean noise?"),
        (MINIMAL + "noise: {sigmas: 3}\n", [], "unknown key noise.sigmas; did you mean noise.sigma?"),
        (MINIMAL + "noise: 3\n", [], "noise must hold keys and values, found 3"),
        (MINIMAL, ["noise.sigma=many"], "noise.sigma"),
        (MINIMAL, ["edit.judge=gpt"], "edit.judge must be one of rules, endpoint, batch, found 'gpt'"),
        (MINIMAL, ["edit.judge=endpoint"], "edit.endpoint.model is missing"),
        (MINIMAL, ["respond.samples=3"], "respond.samples needs"),
        (MINIMAL, ["rank.gap=0.1"], "rank compares responses with edit.how: best_worst alone"),
        (MINIMAL, ["workspace=~/work"], "workspace must be a path without ~, which only a shell"),
        (MINIMAL, ["export.folder=~/data"], "export.folder must be a path without ~"),
        (MINIMAL, ["spans.by=judge"], "spans.by: judge has no effect with spans.of: words"),
        (MINIMAL, ["noise.corruption=resized_crop"], "noise.corruption: resized_crop has no effect without masks"),
        (MINIMAL, ["edit.max_share=1.5"], r"edit.max_share must be a number \(above 0, at most 1\), found 1.5"),
        (MINIMAL, ["noise.options.step=3"], "noise.options of noise: unknown key step; known: none"),
        (MINIMAL, ["export.name=../x"], "export.name is '../x'; write letters"),
        (MINIMAL, ["export.name=dataset_info"], "export.name is 'dataset_info'; write letters"),
        (MINIMAL, ["noise.workers=0"], r"noise.workers must be a whole number \(at least 1\), found 0"),
        (MINIMAL, ["noise.sigma=nan"], r"noise.sigma must be a number \(at least 0\), found 'nan'"),
        (MINIMAL, ["max_cost=-1"], r"max_cost must be a number \(at least 0\) or null, found -1"),
        (MINIMAL, ["source.limit=0"], r"source.limit must be a whole number \(at least 1\) or null, found 0"),
        (
            MINIMAL,
            ["source.max_pixels=0"],
            "source.max_pixels must be a whole number .* found 0",
        ),
        (MINIMAL, ["source.max_pixels=178956971"], "at most 178956970.*found 178956971"),
        (MINIMAL, ["source.window=[255,0]"], "source.window must be two grey values"),
        (MINIMAL, ["respond.system=[open"], "the value of respond.system is no YAML; quote"),
        (
            MINIMAL,
            ["respond.samples=2", "respond.backend=endpoint", "respond.endpoint.model=m"],
            "respond.samples needs respond.endpoint.temperature above 0",
        ),
        (
            MINIMAL,
            ["respond.backend=engine", "respond.endpoint.max_tokens=null"],
            "null, for what is not sent, needs respond.backend: endpoint",
        ),
        (MINIMAL, ["sigma"], "'sigma' is no override"),
        ("source: {name: slake}\n", [], "workspace is missing"),
        ("- a\n- b\n", [], "must hold keys and values"),
        ("a: [\n", [], "not readable YAML"),
    ],
)
def test_what_is_wrong_is_named(read, text, overrides, reason):
    with pytest.raises(ValueError, match=reason):
        read(text, *overrides)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.yaml does not exist"):
        load(tmp_path / "nothing.yaml", [])


def test_every_key_has_a_line_of_help():
    lines = describe(BuildConfig)
    assert all(len(line.split(maxsplit=2)) == 3 for line in lines)


def test_help_names_every_key_and_every_option_of_every_source(capsys):
    from firempo_plugin.cli import main

    with pytest.raises(SystemExit):
        main(["build", "--help"])
    text = capsys.readouterr().out
    for line in (*describe(BuildConfig), *describe_options("", SOURCES)[2:]):
        assert line.split()[0] in text
    assert "sam3.checkpoint" in text
    assert "llamafactory.file_format" in text
