"""How many tokens the passes of a run may hold on its device, and what to write where they do not fit."""

from dataclasses import replace
from typing import Any

import torch
from llamafactory.extras import logging
from peft import PeftModel
from torch import nn

from ...forward.budget import Budget, Pair, Shapes, trained_bytes
from ...forward.families import FAMILIES
from ...forward.masks import FULL, SLIDING
from ...forward.plan import Layout, make_plan
from ...objectives.losses import HEAD_ROWS
from ...objectives.settings import Settings
from ..data.rows import row_of

logger = logging.get_logger(f"llamafactory.{__name__}")

MOST_PASS_TOKENS = 16384
"""More tokens at once make no product of matrices faster."""
GIGABYTE = 10**9
IDS = ("prompt_ids", "chosen_ids", "rejected_ids")
SAVING = "lower cutoff_len or image_max_pixels, or write `quantization_bit: 4`"


def fitting(layout: Layout, model: Any, ref_model: Any, rows: Any, settings: Settings, training_args: Any) -> Layout:
    """A layout whose passes fit the device, of one whose passes are the default; says in the log what they take.

    The same where nothing is known of the device (a CPU), where a batch is one pass, for models outside
    `forward.families`, and where layers have experts, of which some are used, or attend in another way.

    Args:
        layout: How sequences may be laid out.
        model, ref_model: The policy, and the separate reference or None.
        rows, settings, training_args: Of training; the rows encoded.
    """
    free = free_bytes(training_args.device)
    if free is None or layout.pass_tokens is None or not has_counted_layers(model.config):
        return layout
    longest = longest_row(rows)
    largest = largest_pair(rows[longest], settings, layout)
    half = training_args.bf16 or training_args.fp16
    moving = [weight for each in (model, ref_model) if each is not None for weight in each.parameters()]
    budget = Budget(
        free=free,
        weights=sum(weight.nbytes for weight in moving if weight.device.type == "cpu"),
        trained=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        optimiser=trained_bytes(training_args.optim, autocast=half),
        shapes=shapes_of(model, half),
        largest=largest,
        head_rows=HEAD_ROWS,
    )
    _say(budget, rows[longest]["source"])
    return replace(layout, pass_tokens=budget.pass_tokens(MOST_PASS_TOKENS))


def _say(budget: Budget, source: str) -> None:
    pair = f"the largest pair ({source}: {budget.largest.tokens} tokens at once)"
    counted = f"is counted to need {budget.least / GIGABYTE:.1f} GB, and {budget.free / GIGABYTE:.1f} GB are free"
    if not budget.fits:
        first = "" if budget.shapes.checkpointed else "Write `disable_gradient_checkpointing: false`, "
        remedy = f"{first}{SAVING}" if first else SAVING[0].upper() + SAVING[1:]
        logger.warning_rank0(f"The run may end out of memory: {pair} {counted}. {remedy}.")
        return
    logger.info_rank0(f"fire_pass_tokens: {budget.pass_tokens(MOST_PASS_TOKENS)}; {pair} {counted}.")
    without = replace(budget, shapes=replace(budget.shapes, checkpointed=False))
    if budget.shapes.checkpointed and without.fits:
        logger.info_rank0(
            f"Gradient checkpointing is not needed: without it {pair} is counted to need "
            f"{without.least / GIGABYTE:.1f} GB. `disable_gradient_checkpointing: true` saves a forward in every step."
        )


def free_bytes(device: torch.device) -> int | None:
    """What a GPU has left, and what this process holds of it unused; None elsewhere."""
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


def has_counted_layers(config: Any) -> bool:
    """Whether the layers of a model are those that `forward.budget` counts."""
    kinds = config.get_text_config().to_dict().get("layer_types") or ()
    known = config.model_type in FAMILIES and not config.model_type.endswith(("_moe", "gemma4"))
    return known and {FULL, SLIDING}.issuperset(kinds)


def longest_row(rows: Any) -> int:
    """The row with the most tokens."""
    from pyarrow import compute

    table = rows.select_columns(list(IDS)).with_format("arrow")[:]
    lengths = [compute.list_value_length(table.column(name)).to_numpy() for name in IDS]
    return int(sum(lengths).argmax())


def largest_pair(row: dict[str, Any], settings: Settings, layout: Layout) -> Pair:
    """The largest of the passes into which a row can be cut at most."""
    passes = make_plan([row_of(row)], settings, replace(layout, pass_tokens=1))
    pairs = [
        Pair(len(each.trees) * length, length, min(len(each.token), HEAD_ROWS))
        for each in passes
        for length in [max(len(tree) for tree in each.trees)]
    ]
    return max(pairs, key=lambda pair: pair.tokens)


def shapes_of(model: nn.Module, half: bool) -> Shapes:
    """The sizes of a model of `forward.families`, which are plain decoders behind a vision tower.

    Args:
        model: With or without an adapter.
        half: Whether it computes in half precision.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    text = base.config.get_text_config()
    width = text.to_dict().get("head_dim") or text.hidden_size // text.num_attention_heads
    ranks = [config.r for config in model.peft_config.values()] if isinstance(model, PeftModel) else []
    return Shapes(
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        vocabulary=text.vocab_size,
        queries=text.num_attention_heads * width,
        keys=text.num_key_value_heads * width,
        heads=text.num_attention_heads,
        rank=max(ranks, default=0),
        width=2 if half else 4,
        normed=any(name.endswith(".q_norm") for name, _ in base.named_modules()),
        eager=text._attn_implementation == "eager",
        checkpointed=bool(base.is_gradient_checkpointing),
    )
