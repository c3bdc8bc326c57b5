"""A plan in words that fit a screen, and as data."""

from collections.abc import Iterator
from dataclasses import asdict, astuple
from typing import Any

from ..train.memory import GIGABYTE
from .cost import Card, Choice, Cost, Fit, cards

NOTICE = "Counted, not measured: no GPU has been measured by this project. Times assume a share of a card's peak."
TIMES = ((1.0, "h"), (1 / 60, "min"), (0.0, "s"))
UNITS = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (0, "GFLOP"))


def as_data(cost: Cost, card: Card | None, utilisation: tuple[float, float]) -> dict[str, Any]:
    """Everything, in bytes, operations and hours."""
    looked, written = cost.looked, cost.written
    budget = cost.budget(written)
    whole, logits = cost.operations(written.checkpointed), budget.head(budget.largest.tokens)
    return {
        "notice": NOTICE,
        "rows": asdict(looked) | {"training": round(cost.rows)},
        "steps": cost.steps,
        "epochs": cost.epochs,
        "accumulation": cost.accumulation,
        "written": asdict(written),
        "operations": asdict(whole) | {"total": whole.total, "step": whole.total / cost.steps},
        "memory": {
            "weights": budget.weights,
            "trained_numbers": budget.trained,
            "gradients_and_optimiser": budget.states,
            "logits": logits,
            "largest_pass": budget.least - budget.fixed - logits,
            "least": budget.least,
        },
        "caches": cost.cache_bytes(),
        "notes": list(_notes(cost)),
        "utilisation": list(utilisation),
        "cards": [_card_data(cost, each, utilisation) for each in ([card] if card else cards().values())],
    }


def _card_data(cost: Cost, card: Card, utilisation: tuple[float, float]) -> dict[str, Any]:
    tried = cost.fits(card, utilisation)
    cheapest = _cheapest(tried)
    return {
        **asdict(card),
        "as_written": asdict(cost.fit(cost.written, card, utilisation)),
        "settings": [asdict(fit) for fit in tried],
        "cheapest": asdict(cheapest) if cheapest else None,
    }


def _cheapest(tried: list[Fit]) -> Fit | None:
    """The first that fits: in order of quantisation, which changes the model, and then of operations."""
    return next((fit for fit in tried if fit.fits), None)


def lines(title: str, cost: Cost, card: Card | None, utilisation: tuple[float, float]) -> list[str]:
    """One screen.

    Args:
        title: The file's name.
        cost: What was counted.
        card: The one to compare settings on; None: the settings of each.
        utilisation: Shares of the peak.
    """
    facts = [f"{name:<12} {text}" for name, text in (*_of_rows(cost), *_of_costs(cost))]
    table = _settings(cost, card, utilisation) if card else _cards(cost, utilisation)
    notes = list(_notes(cost))
    return [f"Plan of {title}. {NOTICE}", "", *facts, "", *table, *([""] if notes else []), *notes]


def _of_rows(cost: Cost) -> Iterator[tuple[str, str]]:
    looked, each = cost.looked, cost.looked.rows
    seen = each + looked.unusable
    sample = "all looked at" if seen == looked.there else f"{seen:,} looked at, in batches spread over an epoch"
    bad = f"; {looked.unusable} of them cannot be used, see `firempo validate`" if looked.unusable else ""
    yield "rows", f"{looked.there:,} to train on, {sample}{bad}"
    epochs = f"{cost.epochs:.3g} epoch{'' if cost.epochs == 1 else 's'}"
    yield "steps", f"{cost.steps:,} of {cost.written.batch} x {cost.accumulation} rows on one card, {epochs}"
    alone = f"{looked.cells / each:.1f} cells of {looked.alone / each:,.0f} tokens"
    fewer = f"{looked.alone / looked.shared:.1f} times fewer"
    yield "a row", f"{alone}, run as {looked.trees / each:.1f} trees of {looked.shared / each:,.0f} ({fewer}):"
    kinds = f"{looked.image_tokens / each:,.0f} of images, {(looked.shared - looked.image_tokens) / each:,.0f} of text"
    padding = f"{looked.work.policy.tokens / looked.shared - 1:.0%} padding"
    yield "", f"{kinds}; {padding}, {looked.passes / looked.batches:.1f} passes a batch"


def _of_costs(cost: Cost) -> Iterator[tuple[str, str]]:
    whole, budget = cost.operations(cost.written.checkpointed), cost.budget(cost.written)
    named = zip(("forward", "backward", "forward again", "reference", "vision"), astuple(whole), strict=True)
    shares = ", ".join(f"{name} {count / whole.total:.0%}" for name, count in named if count)
    yield "operations", f"{_count(whole.total / cost.steps)} a step, {_count(whole.total)} in all: {shares}"
    trained = f"gradients and optimiser of {budget.trained / 1e6:,.4g} M numbers {_size(budget.states)}"
    logits = budget.head(budget.largest.tokens)
    yield "memory", f"weights {_size(budget.weights)}, {trained}, logits {_size(logits)},"
    sampled = " looked at" if cost.looked.rows + cost.looked.unusable < cost.looked.there else ""
    largest = f"the largest {'pair' if cost.split else 'batch'}{sampled} ({budget.largest.tokens:,} tokens at once)"
    yield "", f"{largest} {_size(budget.least - budget.fixed - logits)}: at least {_size(budget.least)}"
    if caches := ", ".join(f"{key} {_size(size)}" for key, size in cost.cache_bytes().items()):
        yield "on disk", f"{caches}, where they are written"


def _count(operations: float) -> str:
    unit, name = next((unit, name) for unit, name in UNITS if operations >= unit)
    return f"{operations / (unit or 1e9):.3g} {name}"


def _size(size: float) -> str:
    return f"{size / 1e6:.3g} MB" if size < GIGABYTE else f"{size / GIGABYTE:.1f} GB"


def _time(fit: Fit) -> str:
    size, unit = next((size, unit) for size, unit in TIMES if fit.hours[1] >= size)
    return " to ".join(f"{hours / (size or 1 / 3600):.2g}" for hours in fit.hours) + f" {unit}"


def _cards(cost: Cost, utilisation: tuple[float, float]) -> Iterator[str]:
    yield f"{'one card':<12} {'as written':>12} {_at(utilisation):>20}   cheapest settings that fit"
    for card in cards().values():
        written, cheapest = cost.fit(cost.written, card, utilisation), _cheapest(cost.fits(card, utilisation))
        memory = _size(written.memory) if written.fits else "does not fit"
        time = _time(written) if written.fits else "-"
        advice = "none of those that were tried"
        if cheapest is not None:
            same = cheapest.choice == cost.written
            advice = "as written" if same else f"{_keys(cost, cheapest.choice)} ({_time(cheapest)})"
        yield f"{card.name:<12} {memory:>12} {time:>20}   {advice}"


def _at(utilisation: tuple[float, float]) -> str:
    """The shares of the peak in the order of the times."""
    return f"at {' to '.join(f'{share:.0%}' for share in sorted(set(utilisation), reverse=True))} of peak"


def _settings(cost: Cost, card: Card, utilisation: tuple[float, float]) -> Iterator[str]:
    tried = cost.fits(card, utilisation)
    cheapest = _cheapest(tried)
    yield f"{card.name}: {card.memory:g} GB, {card.tflops:g} TFLOP/s in bf16"
    yield f"{'memory':>8} {'a pass':>8} {_at(utilisation):>20}"
    others = [fit for fit in tried if fit.choice != cost.written]
    for fit in [cost.fit(cost.written, card, utilisation), *others]:
        mark = " <- the cheapest that fits" if fit == cheapest else "" if fit.fits else " does not fit"
        tokens = "a batch" if fit.pass_tokens is None else f"{fit.pass_tokens:,}"
        yield f"{_size(fit.memory):>8} {tokens:>8} {_time(fit):>20}   {_keys(cost, fit.choice)}{mark}"


def _keys(cost: Cost, choice: Choice) -> str:
    """What to write for a choice, as far as it is another than the one that is written."""
    written, keys = cost.written, []
    if choice.bits != written.bits:
        keys.append(f"quantization_bit: {choice.bits}")
    if choice.checkpointed != written.checkpointed:
        keys.append(f"disable_gradient_checkpointing: {str(not choice.checkpointed).lower()}")
    if choice.batch != written.batch:
        steps = cost.accumulation * written.batch // choice.batch
        keys += [f"per_device_train_batch_size: {choice.batch}", f"gradient_accumulation_steps: {steps}"]
    return ", ".join(keys) or "as written"


def _notes(cost: Cost) -> Iterator[str]:
    yield from cost.not_there
    if not cost.half:
        yield "The run computes in float32, far slower than the hours say: they are those of `bf16: true`."
    if not cost.split:
        yield "A batch is one pass; weights and optimiser are counted whole, not shared out over cards."
    if not cost.frozen_tower:
        yield "The vision tower is in training: what autograd keeps of it comes on top of the memory."
