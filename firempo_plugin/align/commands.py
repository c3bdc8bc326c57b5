"""What `firempo align` does: round after round, as long as validation rises and answers stay sound."""

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from ..endpoint.failures import StopRunError
from ..errors import UserError
from ..evaluate import config as evaluating
from ..files import locked
from ..store.halt import DONE, STOPPED, halted_by_signals
from ..terminal import say
from . import config as configuration
from . import split, tables
from .children import Children
from .config import AlignConfig
from .numbers import gather
from .policy import Policy, training_keys
from .rounds import Built, NothingToLearnError, Rounds
from .split import Split
from .verdict import Verdict, decide

Check = Callable[[dict[str, Any]], None]
"""Refuses keys of training that the host would refuse."""


def align(path: Path, overrides: list[str], *, check: Check) -> int:
    """Goes from records to an aligned model, round by round; what is there already is found again.

    Returns:
        0; 3 where it was stopped early, so that the same command goes on later.

    Raises:
        UserError: A file or value is wrong, another run is at work in the folder, a command failed, or the first round
            has nothing to train on.
    """
    config = configuration.load(path, overrides)
    records = split.read(config)
    folder = Path(config.folder)
    first = training_keys(config.train, config.adapter, config.base, config.base, folder / "rounds" / "1" / "train")
    check({**first, "dataset": configuration.PAIRS})
    with closing(locked(folder)) as lock, halted_by_signals() as halt:
        try:
            say(*records.lines)
            _go(config, records, Rounds(config, records, Children(lock, halt)))
        except StopRunError as stop:
            say(f"Stopped: {stop}", file=sys.stderr)
            return STOPPED
    return DONE


def _go(config: AlignConfig, records: Split, rounds: Rounds) -> None:
    policies: list[Policy] = [config.base]
    built: list[Built] = []
    for number in range(1, config.rounds + 1):
        start = policies[-1]
        rounds.claim(number, start)
        say(f"round {number}: pairs of the answers of {start.adapter or start.checkpoint}")
        try:
            built.append(rounds.build(number, start))
        except NothingToLearnError as reason:
            if number == 1:
                raise UserError(f"nothing is trained: {reason}") from None
            say(*f"Over: {reason}".split("\n"))
            return
        if number == 1:
            say("base: validation")
            # For the metric's sake: one that has no value is told of before a round is trained.
            gather(rounds, rounds.evaluate(policies), policies, [], config.metric, records.clusters)
        one = built[-1]
        dropped = f", {one.dropped} left out" if one.dropped else ""
        say(f"round {number}: training on {one.pairs} pairs, {one.from_wrong} of wrong answers{dropped}")
        policies.append(rounds.train(number, start))
        say(f"round {number}: validation")
        verdict = _published(config, records, rounds, policies, built)
        if verdict.stop:
            say(f"Over after round {number}: {verdict.stop}")
            return
    say(f"Over: {config.rounds} round{'s' * (config.rounds > 1)}, as asked for")


def _published(
    config: AlignConfig, records: Split, rounds: Rounds, policies: list[Policy], built: list[Built]
) -> Verdict:
    """Measures, writes the tables of all rounds until now, and says what the last one brought."""
    file = rounds.evaluate(policies)
    compare = evaluating.load(file, []).compare
    history = gather(rounds, file, policies, built, config.metric, records.clusters)
    verdict = decide(history, config, compare)
    lines = tables.lines_of(history, compare)
    files = tables.write(lines, config.metric, verdict, compare, records.about, rounds.folder)
    last, best = lines[-1], history[verdict.best]
    over = last.over_base
    assert over is not None
    say(
        f"round {last.numbers.number}: {config.metric} {last.mean.value:.3f}, {over.value:+.3f} [{over.low:.3f}, "
        f"{over.high:.3f}] over the base model; best until now: {best.model}",
        *(f"    trouble: {trouble}" for trouble in verdict.troubles),
        f"    {files[0]}, {files[-1]}",
    )
    return verdict
