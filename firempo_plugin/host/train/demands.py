"""What a training configuration asks of this installation and of its data sets, before the host reads it.

Imports neither the host nor torch; `datasets` only where data sets are to be interleaved, the host where Ray trains.
"""

import math
import os
from collections.abc import Callable, Mapping
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from packaging.requirements import Requirement

from ...errors import UserError
from ...torch_releases import version_of
from ..arguments import STAGE

Problem = tuple[str, str]
"""What is wrong, and what to do about it."""

BACKENDS = {
    "use_mca": ("Megatron", "USE_MCA"),
    "use_megatron_bridge": ("Megatron Bridge", "USE_MEGATRON_BRIDGE"),
    "use_hyper_parallel": ("HyperParallel", None),
    "use_kt": ("KTransformers, which trains in the stage sft", None),
    "use_unsloth": ("Unsloth, whose models return no logits", None),
}
"""What a host may train with instead of its own trainers, by key, each with the variable that chooses it, if any does.

Most are asked for in other stages only: the run would go on without them, and without a word.
"""
OFF = ("false", "f", "no", "n", "0", "none", "null")
RAY = "pip install 'ray[default]'"
RAY_KEYS_OF_OTHER_RELEASES = ("ray_run_name", "ray_storage_path", "placement_strategy", "resources_per_worker")
STRATEGIES = {
    "interleave_under": "first_exhausted",
    "interleave_over": "all_exhausted",
    "interleave_once": "all_exhausted_without_replacement",
}
"""The strategies that draw from several data sets, by what `datasets` calls them."""


def as_mapping(args: Mapping[str, Any] | list[str]) -> dict[str, Any]:
    """A configuration by key, whether it comes as keys and values or as words of a command line."""
    if not isinstance(args, list):
        return dict(args)
    found: dict[str, Any] = {}
    for number, word in enumerate(args):
        if word.startswith("--"):
            key, separator, value = word[2:].partition("=")
            following = args[number + 1] if number + 1 < len(args) else ""
            found[key.replace("-", "_")] = value if separator else following
    return found


def refuse(config: Mapping[str, Any]) -> None:
    """Raises ValueError, with a sentence, for the first thing that cannot be had."""
    if found := problem(config):
        raise UserError(": ".join(found))


def problem(config: Mapping[str, Any]) -> Problem | None:
    """The first thing that a configuration asks for and cannot have; None where there is none."""
    checks: tuple[Callable[[Mapping[str, Any]], Problem | None], ...] = (_backend, _deepspeed, _ray, _mixing)
    return next((found for check in checks if (found := check(config))), None)


def _backend(config: Mapping[str, Any]) -> Problem | None:
    """Something to train with that the stage does not have; of other stages the host decides."""
    for key, (name, variable) in BACKENDS.items() if config.get("stage") == STAGE else ():
        without = f"stage: {STAGE} does not support {key} ({name})"
        if variable and _is_set(variable):
            return f"{variable} is set, and {without}", f"unset {variable}"
        if key in config and str(config[key]).lower() not in OFF:
            return without, f"remove {key}"
    return None


def _is_set(variable: str) -> bool:
    """Whether a variable of the host's is on, by its own rule."""
    return os.environ.get(variable, "0").lower() in ("true", "y", "1")


def _deepspeed(config: Mapping[str, Any]) -> Problem | None:
    if config.get("deepspeed") in (None, "", False) or find_spec("deepspeed"):
        return None
    return "deepspeed is written, and DeepSpeed is not installed", "pip install deepspeed, or remove the key"


def _ray(config: Mapping[str, Any]) -> Problem | None:
    for key in RAY_KEYS_OF_OTHER_RELEASES:
        if key in config:
            install = "" if find_spec("ray") else f"; it needs Ray: {RAY}"
            return f"{key} is no key of this LLaMA-Factory", f"remove it, and set USE_RAY=1 to train with Ray{install}"
    if not _is_set("USE_RAY"):
        return None
    if not find_spec("ray"):
        return "USE_RAY is set, and Ray is not installed", f"{RAY}, or unset USE_RAY"
    if missing := _missing_of_the_dashboard():
        what = f"USE_RAY is set, and Ray is installed without its dashboard, which LLaMA-Factory asks ({missing})"
        return what, f"{RAY}, or unset USE_RAY"
    from llamafactory.extras.misc import get_device_name

    if get_device_name() == "cpu":
        what = "USE_RAY is set on a machine without a GPU, where LLaMA-Factory asks Ray for more CPUs than there are"
        return what, "unset USE_RAY; FORCE_TORCHRUN=1 NPROC_PER_NODE=2 trains with two processes"
    return None


def _missing_of_the_dashboard() -> str:
    """The packages of Ray's dashboard that are not installed."""
    needed = [Requirement(line) for line in metadata.requires("ray") or ()]
    own = [each for each in needed if each.marker and each.marker.evaluate({"extra": "default"})]
    names = [each.name for each in own if each.marker and not each.marker.evaluate({"extra": ""})]
    return ", ".join(name for name in dict.fromkeys(names) if version_of(name) is None)


def _mixing(config: Mapping[str, Any]) -> Problem | None:
    """A mix of data sets that would end in an error of the library's, or never."""
    strategy, given = config.get("mix_strategy", "concat"), config.get("interleave_probs")
    sets = {key: _items(config[key]) for key in ("dataset", "eval_dataset") if config.get(key)}
    if strategy not in ("concat", *STRATEGIES):
        return f"mix_strategy: {strategy} is unknown", f"write one of: concat, {', '.join(STRATEGIES)}"
    if given is not None:
        if strategy == "concat":
            return (
                "interleave_probs has no effect with mix_strategy: concat",
                f"remove it, or write a mix_strategy that uses it: {', '.join(STRATEGIES)}",
            )
        if wrong := _wrong_shares(given, sets):
            return wrong
    if strategy == "concat" or not any(len(names) > 1 for names in sets.values()):
        return None
    return _unknown_to_the_library(strategy, given is not None)


def _items(written: Any) -> list[Any]:
    return [item.strip() for item in written.split(",")] if isinstance(written, str) else list(written)


def _wrong_shares(given: Any, sets: Mapping[str, list[Any]]) -> Problem | None:
    count = len(next(iter(sets.values()), ()))
    equal = ", ".join([f"{1 / max(count, 1):.3g}"] * count)
    remedy = f"write one number above 0 for each data set, 1 in all, for example `interleave_probs: {equal}`"
    try:
        shares = [float(item) for item in (_items(given) if isinstance(given, str | list | tuple) else [given])]
    except (TypeError, ValueError):
        return f"interleave_probs: {given} are not numbers", remedy
    for key, names in sets.items():
        if len(names) != len(shares):
            return f"interleave_probs: {given} has {len(shares)} numbers for {len(names)} data sets of {key}", remedy
    if not all(share > 0 for share in shares):  # the library waits for ever for a set that it never draws from
        return f"interleave_probs: {given} has a number that is not above 0", remedy
    if not math.isclose(math.fsum(shares), 1, abs_tol=1e-8):
        return f"interleave_probs: {given} add up to {math.fsum(shares):g}, not to 1", remedy
    return None


def _unknown_to_the_library(strategy: str, drawn: bool) -> Problem | None:
    """What the installed `datasets` says of a strategy, asked with two sets of a row."""
    from datasets import Dataset, interleave_datasets

    one = Dataset.from_dict({"row": [0]})
    shares = [0.5, 0.5] if drawn else None
    try:
        name: Any = STRATEGIES[strategy]
        interleave_datasets([one, one], probabilities=shares, seed=0, stopping_strategy=name)
    except ValueError as error:
        release = metadata.version("datasets")
        what = f"mix_strategy: {strategy} is not possible{' with interleave_probs' if drawn else ''}"
        remedy = "write `mix_strategy: concat` (every row once), or interleave_over"
        return f"{what} in datasets {release} ({error})", remedy
    return None
