"""Preference pairs of reports: whole, or a pair for every finding that the base model got wrong.

Whole, the right report is chosen, the base's rejected, and the whole image noised, as the paper has it. By finding, the
rejected report differs from the right one in what the base said of one finding, and the noise hides that one; of one
that is not there both lungs.
"""

from dataclasses import replace

import pairs
import reader
from findings import NAMES, Found
from pairs import Pair
from sentences import Question, report
from splits import Example

FINDING = "finding"
"""Kind of a pair about one finding of a report."""


def whole(examples: list[Example], said: list[list[str]]) -> list[Pair]:
    """A pair for every wrong report that can be read."""
    return [
        Pair(example, question, question.answer, text, base_right=False)
        for example, question, text in _wrong(examples, said)
    ]


def by_finding(examples: list[Example], said: list[list[str]]) -> list[Pair]:
    """The same reports, a pair for every finding in which one is wrong."""
    made = []
    for example, question, text in _wrong(examples, said):
        claimed = reader.read_report(text).claimed
        for name in NAMES:
            if claimed.get(name) != question.found.get(name):
                rejected = report(_with(question.found, name, claimed))
                about = replace(question, kind=FINDING, finding=name)
                made.append(Pair(example, about, question.answer, rejected, base_right=False))
    return made


def _wrong(examples: list[Example], said: list[list[str]]) -> list[tuple[Example, Question, str]]:
    """Readable reports that name, lack or describe a finding wrongly, as many as pairs are made of."""
    kept = []
    for example, texts in zip(examples, said, strict=True):
        for question, text in zip(example.questions, texts, strict=True):
            found = reader.read_report(text)
            differs = found.claimed != question.found
            if question.kind == pairs.REPORT and not found.unread and differs:
                kept.append((example, question, text))
    return kept


def _with(found: Found, name: str, claimed: Found) -> Found:
    """What is there, with one finding as it was claimed; in the order of NAMES."""
    changed = {**found, name: claimed[name]} if name in claimed else {key: found[key] for key in found if key != name}
    return {key: changed[key] for key in NAMES if key in changed}
