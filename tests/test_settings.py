"""One checker for every key of every command and part: what is wrong is refused with the place of the key."""

from dataclasses import is_dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from firempo_plugin.endpoint.settings import EndpointSettings
from firempo_plugin.errors import UserError
from firempo_plugin.evaluate import grounding, localisation, sensitivity
from firempo_plugin.evaluate.config import EvaluateConfig
from firempo_plugin.host.doctor import read_config
from firempo_plugin.pairs.config import BuildConfig
from firempo_plugin.pairs.exporters import llamafactory, swift, trl
from firempo_plugin.pairs.segmenters.registry import SEGMENTERS
from firempo_plugin.settings import LIMITS, checked, describe, is_required, keys_of, read
from firempo_plugin.sources.registry import SOURCES

KINDS: dict[str, tuple[type, str]] = {
    "build": (BuildConfig, ""),
    "evaluate": (EvaluateConfig, ""),
    **{f"source {name}": (SOURCES.load(name).options, "source.options.") for name in SOURCES},
    **{f"segmenter {name}": (SEGMENTERS.load(name), "segment.options.") for name in SEGMENTERS if name != "none"},
    **{
        f"export {part.__name__.rpartition('.')[2]}": (part.Options, "export.options.")
        for part in (llamafactory, swift, trl)
    },
    "grounding": (grounding.Options, "grounding."),
    "localisation": (localisation.Options, "localisation."),
    "sensitivity": (sensitivity.Options, "sensitivity."),
}


def keys(kind: type, trail: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> Any:
    """All keys of a dataclass, those of its sections too: trail, type and field."""
    hints = get_type_hints(kind)
    for part in keys_of(kind, without):
        if is_dataclass(hints[part.name]):
            yield from keys(hints[part.name], (*trail, part.name), part.metadata["without"])
        else:
            yield (*trail, part.name), hints[part.name], part


EVERY = [
    pytest.param(name, trail, hint, part, id=f"{name} {'.'.join(trail)}")
    for name, (kind, _) in KINDS.items()
    for trail, hint, part in keys(kind)
]


def told(name: str, trail: tuple[str, ...], value: Any) -> str:
    """What is said of a value at a key; "" where nothing is wrong with it."""
    kind, place = KINDS[name]
    given: Any = value
    for step in reversed(trail):
        given = {step: given}
    given = {part.name: "x" for part in keys_of(kind) if is_required(part)} | given
    if "columns" in given and trail != ("columns",):
        given["columns"] = {"image": "i", "question": "q", "truth": "t"}
    try:
        checked(kind, given, place)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("name", "trail", "hint", "part"), EVERY)
def test_every_key_refuses_what_it_cannot_be_with_its_place(name, trail, hint, part):
    key = KINDS[name][1] + ".".join(trail)
    wrong = 3 if get_origin(hint) is dict else {"no": "value"}
    assert told(name, trail, wrong).startswith(f"{key} must be ")
    null = told(name, trail, None)
    if NoneType in get_args(hint):
        assert f"{key} must be" not in null
    else:
        assert null.startswith((f"{key} must be ", f"{key} is missing; write the "))
    assert told(name, (*trail[:-1], f"{trail[-1]}_"), 1) == f"unknown key {key}_; did you mean {key}?"


@pytest.mark.parametrize(("name", "trail", "hint", "part"), EVERY)
def test_every_limit_and_choice_holds(name, trail, hint, part):
    key, about = KINDS[name][1] + ".".join(trail), part.metadata
    assert set(about) <= {"help", "choices", *LIMITS}
    listed = {get_origin(one) for one in (hint, *get_args(hint))} & {list, tuple}
    named = get_origin(hint) is dict
    beyond = {"least": -1, "above": 0, "most": 1, "below": 0}  # from the limit

    def told_of(value):
        return told(name, trail, [value] if listed else {"size": value} if named else value)

    for limit in set(about) & set(LIMITS):
        assert f"{LIMITS[limit][1]} {about[limit]}" in told_of(about[limit] + beyond[limit])
    for special in (float("nan"), float("inf")) if float in (hint, *get_args(hint)) else ():
        assert told_of(special).startswith(f"{key}.size must be a number" if named else f"{key} must be a number")
    if int in (hint, *get_args(hint)):
        told(name, trail, 10**400)  # too large for a float, which is no reason for a traceback
    if {int, float} & {hint, *get_args(hint)}:
        assert told(name, trail, True).startswith(f"{key} must be ")
    if "choices" in about or Literal in (get_origin(one) for one in (hint, *get_args(hint))):
        assert "one of " in told_of("none such")
    if not is_required(part):
        default = part.default_factory() if callable(part.default_factory) else part.default
        assert f"{key} must be" not in told(name, trail, default)
        kinds = {get_origin(one) or one for one in (hint, *get_args(hint))}
        assert type(default) in (kinds | {str} if Literal in kinds else kinds)  # 0 and 0.0 make two keys of replies


@pytest.mark.parametrize(("kind", "place"), KINDS.values(), ids=KINDS)
def test_every_key_has_a_line_of_help(kind, place):
    lines = [line.split(maxsplit=1) for line in describe(kind, place)]
    assert [key for key, _ in lines] == [place + ".".join(trail) for trail, _, _ in keys(kind)]
    assert not [line for line in lines if line[1].startswith(("None", "True", "False"))]  # which YAML reads as texts


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("temperature: 1", "temperature", 1.0),
        ("temperature: 1e-3", "temperature", 0.001),
        ("temperature: null", "temperature", None),
        ("max_tokens: null", "max_tokens", None),
        ("seed: 7", "seed", 7),
        ("backoff: 0.5", "backoff", 0.5),
        ("extra_body: {top_p: 1, chat_template_kwargs: {enable_thinking: off}}", "extra_body", None),
    ],
)
def test_an_endpoint_is_as_it_was_written(tmp_path, written, key, value):
    """The types too: they are in the keys under which paid replies are kept."""
    file = tmp_path / "endpoint.yaml"
    file.write_text("model: ${oc.env:NO_SUCH_MODEL,m}\n" + written)
    found = read(file, ["extra_body.top_p=0.5"], EndpointSettings, "build")
    if key == "extra_body":
        value = {"top_p": 0.5, "chat_template_kwargs": {"enable_thinking": False}}
    assert (found.model, vars(found)[key]) == ("m", value)
    assert type(vars(found)[key]) is type(value)


def test_only_a_seed_that_is_written_is_part_of_what_decides_replies():
    """What a build has answered is found again under what decided it: without a seed, as before there was one."""
    plain = EndpointSettings(model="m")
    assert plain.identity == {
        "model": "m",
        "temperature": 0.0,
        "max_tokens": 512,
        "structured": "auto",
        "extra_body": {},
    }
    assert EndpointSettings(model="m", seed=0, timeout=1.0, retries=1).identity == plain.identity | {"seed": 0}


def test_a_text_is_quoted_and_a_key_is_not_shown():
    with pytest.raises(UserError, match=r"edit\.endpoint\.model must be text, found 4"):
        checked(BuildConfig, {"edit": {"endpoint": {"model": 4}}})
    with pytest.raises(UserError, match=r"edit\.endpoint\.retries must be .* found '\*\*\*'"):
        checked(BuildConfig, {"edit": {"endpoint": {"retries": "sk-proj-abcdefgh12345"}}})
    with pytest.raises(UserError, match=r"edit\.endpoint\.key_env: the settings beside it hold"):
        checked(BuildConfig, {"edit": {"endpoint": {"extra_body": {"api_key": "0123456789abcdef"}}}})
    with pytest.raises(UserError, match="the name 1 in groups must be text, found 1"):
        checked(EvaluateConfig, {"groups": {1: ["a"]}})


def test_a_file_that_is_nested_without_end_is_no_yaml(tmp_path):
    (tmp_path / "deep.yaml").write_text("[" * 5000)
    for reader in (lambda path: read(path, [], BuildConfig, "build"), read_config):
        with pytest.raises(UserError, match=r"deep\.yaml is not readable YAML"):
            reader(tmp_path / "deep.yaml")
