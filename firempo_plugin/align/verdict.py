"""When the rounds are over, and which was the best: validation, and signs that answers or pairs are no longer sound."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ..evaluate.config import CompareConfig
from .config import AlignConfig, WatchConfig
from .numbers import Numbers, difference, rise

ENOUGH = 50
"""Pairs at the beginning of training, of which fewer may all be right by chance."""


@dataclass(frozen=True)
class Verdict:
    """What follows from the rounds until now.

    Attributes:
        best: The round with the highest metric among those without trouble; 0 for the base model.
        stop: Why no further round is to follow; "" where one may.
        troubles: Of the last round.
    """

    best: int
    stop: str
    troubles: tuple[str, ...] = ()


def decide(history: Sequence[Numbers], config: AlignConfig, compare: CompareConfig) -> Verdict:
    """Looks at all rounds until now.

    A round counts as a rise where the paired interval of its difference to the last rise, at first to the base model,
    lies above 0, so that several small steps add up to one.

    Args:
        history: The base model and the rounds, in order.
        config: What is watched, and for how long validation may stand still.
        compare: How intervals are drawn.
    """
    base, *rounds = history
    how = replace(compare, confidence=config.confidence)
    risen, still = base, 0
    sound = [base]
    troubles: tuple[str, ...] = ()
    for numbers in rounds:
        troubles = tuple(_troubles(base, numbers, config.watch, how))
        if troubles:
            break
        sound.append(numbers)
        if difference(risen, numbers, how).low > 0:
            risen, still = numbers, 0
        else:
            still += 1
    best = max(sound, key=lambda numbers: numbers.mean).number
    stop = troubles[0] if troubles else ""
    if not stop and still >= config.patience:
        since = f"round {risen.number}" if risen.number else "the base model"
        stop = f"{config.metric} has not risen above that of {since} in {still} round{'s' * (still > 1)}"
    return Verdict(best, stop, troubles)


def _troubles(base: Numbers, numbers: Numbers, watch: WatchConfig, how: CompareConfig) -> Iterator[str]:
    """What is wrong with a round, in words; the thresholds are keys of `watch`."""
    for key, check in CHECKS.items():
        bound = vars(watch)[key]
        found = check(base, numbers, bound, how) if bound is not None else ""
        if found:
            yield f"{found} (watch.{key}: {bound})"


def _words(base: Numbers, numbers: Numbers, bound: float, how: CompareConfig) -> str:
    if base.answers is None or numbers.answers is None:
        return ""
    before, now = fmean(base.answers.words), fmean(numbers.answers.words)
    change = rise(base.answers.words, numbers.answers.words, numbers.answers.clusters, how)
    if abs(now - before) <= bound * before or change.low <= 0 <= change.high:
        return ""
    return f"its answers have {now:.1f} words, and those of the base model {before:.1f}"


def _unread(base: Numbers, numbers: Numbers, bound: float, how: CompareConfig) -> str:
    return _risen("have no value", base.unread, numbers.unread, numbers.clusters, bound, how)


def _repeated(base: Numbers, numbers: Numbers, bound: float, how: CompareConfig) -> str:
    if base.answers is None or numbers.answers is None:
        return ""
    before, now = base.answers.repeated, numbers.answers.repeated
    return _risen("repeat themselves", before, now, numbers.answers.clusters, bound, how)


def _risen(
    what: str, base: Sequence[float], now: Sequence[float], clusters: Sequence[str], bound: float, how: CompareConfig
) -> str:
    """Of shares: only what is surely more than before, and by more than the bound."""
    change = rise(base, now, clusters, how)
    if change.value <= bound or change.low <= 0:
        return ""
    return f"{fmean(now):.1%} of its answers {what}, and {fmean(base):.1%} of the base model's"


def _saturated(base: Numbers, numbers: Numbers, bound: float, how: CompareConfig) -> str:
    if numbers.training is None or numbers.training.pairs < ENOUGH or numbers.training.early < bound:
        return ""
    return (
        f"its reward accuracy was {numbers.training.early:.2f} over the first {numbers.training.until:.0%} of "
        "training: the pairs are told apart by something easier than the finding, or teach nothing"
    )


CHECKS: dict[str, Callable[[Numbers, Numbers, float, CompareConfig], str]] = {
    "words": _words,
    "unread": _unread,
    "repeated": _repeated,
    "saturated": _saturated,
}
