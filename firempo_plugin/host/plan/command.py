"""`firempo plan`: what a training will cost, before it starts."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...errors import UserError
from ...terminal import say
from ..sentences import refused_by_the_host
from ..validate import open_config, quiet_host, start

SOUND, UNSOUND = 0, 1


def plan(
    target: str,
    overrides: list[str],
    rows: int,
    card: str | None,
    utilisation: tuple[float, float],
    as_json: bool,
) -> int:
    """Counts rows, tokens, operations, memory and hours of a training YAML; loads no weights.

    Args:
        target, overrides: As `validate.validate` takes them; a model must be named.
        rows: Rows to look at, up to whole batches.
        card: One of cards.yaml, whose settings are compared; None: the settings of each card.
        utilisation: Shares of a card's peak that are assumed, the range's ends.
        as_json: Whether to print JSON instead of words.

    Returns:
        0 where every row that was looked at can be used, else 1.

    Raises:
        UserError: The configuration, the model or the data cannot be read or counted, or the card is unknown.
    """
    from .cost import card_named

    named = card_named(card) if card is not None else None
    with TemporaryDirectory() as scratch, quiet_host():
        config, builtin = open_config(target, overrides, Path(scratch))
        if builtin or not config.get("model_name_or_path"):
            raise UserError("no model is named: `firempo plan` takes a training YAML with model_name_or_path")
        cost = count(config, scratch, rows)
    from . import told

    if as_json:
        print(json.dumps(told.as_data(cost, named, utilisation), indent=2))
    else:
        say(*told.lines(Path(target).name, cost, named, utilisation))
    return UNSOUND if cost.looked.unusable else SOUND


def count(config: dict[str, Any], scratch: str, rows: int) -> Any:
    """The `cost.Cost` of a configuration.

    Args:
        config: A training YAML's content.
        scratch: An empty folder.
        rows: Rows to look at.

    Raises:
        UserError: See `plan`.
    """
    from llamafactory.model import load_config

    from ..arguments import settings_of
    from ..data.collator import layout_of
    from ..train.caches import refuse_caches
    from ..train.memory import MOST_PASS_TOKENS, has_counted_layers
    from ..train.workflow import pass_tokens
    from .cost import Cost
    from .model import base_of, without_weights
    from .rows import look, training_rows
    from .trusted import not_there

    run = start(config, scratch)
    with refused_by_the_host():
        found = load_config(run.model_args)
    if not has_counted_layers(found):
        raise UserError(
            f"{found.model_type} is not counted: `firempo plan` counts dense decoders of the families that share image "
            "features, and neither experts nor layers that carry a state"
        )
    model = without_weights(run, config)
    refuse_caches(run.training_args, run.finetuning_args, settings_of(run.finetuning_args))
    limit = pass_tokens(run.model_args, run.training_args, run.finetuning_args)
    if limit is not None and run.finetuning_args.fire_pass_tokens is None and not config.get("use_cpu"):
        limit = MOST_PASS_TOKENS  # what fits the card, at most
    layout = layout_of(base_of(model), limit)
    aligned = training_rows(run)
    looked = look(run, model, aligned, layout, rows)
    return Cost(run, model, looked, layout.pass_tokens, tuple(not_there(run, found)))
