"""Everything that makes a model's forward random in training: modules, functional dropout and noise."""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

MODULES = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
RATE = re.compile(r"drop|^(input_)?jitter_noise$")
"""Names of the rates at which models drop or disturb values where no module does it for them."""


def switch_off(model: nn.Module) -> dict[str, float]:
    """Sets every such rate of a model to 0: of dropout modules, of other modules, and in configurations.

    A forward reads a functional rate from its module or, in a few classes, from the configuration.

    Returns:
        The rates that were not 0, by where each stood.
    """
    found: dict[str, float] = {}
    for module in model.modules():
        if isinstance(module, MODULES) and module.p:
            found[f"{type(module).__name__}.p"], module.p = module.p, 0.0
        for owner in (module, *_configs(vars(module).get("config"))):
            for key, value in vars(owner).items():
                if isinstance(value, float) and 0 < value <= 1 and RATE.search(key):
                    found[f"{type(owner).__name__}.{key}"] = value
                    vars(owner)[key] = 0.0
    return found


def _configs(config: Any) -> Iterator[PreTrainedConfig]:
    """A configuration and those inside it, as those of text and vision."""
    if isinstance(config, PreTrainedConfig):
        yield config
        for inner in vars(config).values():
            yield from _configs(inner)
