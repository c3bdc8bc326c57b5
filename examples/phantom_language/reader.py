"""Reads the answers: exactly the sentences that `sentences` can say, and nothing else."""

import re
from dataclasses import dataclass

from findings import NAMES, Found, ordered
from sentences import CLEAR, NOTHING, Question

_FINDINGS = {name: finding for finding, name in NAMES.items()}
_ANY = "|".join(map(re.escape, _FINDINGS))
_SIDE, _ZONE, _SIZE = "(?P<side>left|right)", "(?P<zone>upper|lower)", "(?P<size>small|large)"
_CLAIMS = {
    "nodule": re.compile(rf"There is a {_SIZE} nodule in the {_SIDE} {_ZONE} zone\."),
    "consolidation": re.compile(rf"There is a consolidation in the {_SIDE} {_ZONE} zone\."),
    "effusion": re.compile(rf"There is a {_SIZE} {_SIDE} pleural effusion\."),
    "pneumothorax": re.compile(rf"There is a {_SIZE} {_SIDE} pneumothorax\."),
    "pacemaker": re.compile(rf"There is a pacemaker on the {_SIDE}\."),
}
_DENIAL = re.compile(rf"There is no ({_ANY})\.")
_WHERE = {"side": rf"on the {_SIDE}", "zone": rf"in the {_ZONE} zone", "size": _SIZE}


@dataclass(frozen=True)
class Report:
    """What a report says.

    Attributes:
        claimed: Findings with their attributes.
        denied: Findings that it says are not there.
        unread: Sentences that are none of the phantom's, that claim a finding again, or that contradict one.
    """

    claimed: Found
    denied: frozenset[str]
    unread: int

    def right(self, found: Found) -> bool:
        """Whether it says what the image shows, all of it, and nothing else."""
        return not self.unread and self.claimed == found and not self.denied & found.keys()


def read(question: Question, text: str) -> str | None:
    """The value that an answer to a question other than for a report gives; None where it cannot be read."""
    name = re.escape(NAMES.get(question.finding or "", ""))
    if question.kind == "presence":
        said = re.fullmatch(rf"A {name} is (not )?seen, so (yes|no)\.", text)
        return said[2] if said and (said[2] == "no") == bool(said[1]) else None
    if question.kind == "is_side":
        said = re.fullmatch(rf"The {name} is on the {_SIDE}, so (yes|no)\.", text)
        return said[2] if said and (said[2] == "yes") == (said["side"] == question.asked) else None
    if question.kind == "seen":
        said = re.fullmatch(rf"The {question.asked} side shows (.+)\.", text)
        return _seen(said[1]) if said else None
    said = re.fullmatch(rf"The {name} is {_WHERE[question.kind]}\.", text)
    return said[question.kind] if said else None


def _seen(text: str) -> str | None:
    if text == NOTHING:
        return ""
    items = re.split(r", | and ", text)
    names = [_FINDINGS.get(item.removeprefix("a ")) if item.startswith("a ") else None for item in items]
    known = {name for name in names if name is not None}
    return "+".join(ordered(known)) if len(known) == len(items) else None


def read_report(text: str) -> Report:
    """What a report says, sentence by sentence."""
    claimed: Found = {}
    denied: set[str] = set()
    unread = 0
    sentences = [sentence.strip() for sentence in re.findall(r"[^.]*\.|[^.]+$", text) if sentence.strip()]
    for sentence in sentences:
        claims = [(name, said) for name, form in _CLAIMS.items() if (said := form.fullmatch(sentence))]
        denial = _DENIAL.fullmatch(sentence)
        if claims and claims[0][0] not in claimed:
            claimed[claims[0][0]] = claims[0][1].groupdict()
        elif denial:
            denied.add(_FINDINGS[denial[1]])
        elif sentence != CLEAR:
            unread += 1
    unread += len(denied & claimed.keys()) + (CLEAR in sentences and bool(claimed)) + (not sentences)
    return Report(claimed, frozenset(denied), unread)
