"""The language of the phantom: questions, the sentences that answer them, and reports."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from findings import NAMES, USUAL, USUALLY_PRESENT, USUALLY_SEEN, VALUES, Found, ordered, other

REPORT = "report"
ASKED: Mapping[str, tuple[str, str]] = {
    "presence": ("Is there a {name}?", "Does the radiograph show a {name}?"),
    "is_side": ("Is the {name} on the {asked}?", "Does the {name} lie on the {asked} side?"),
    "side": ("On which side is the {name}?", "Is the {name} on the left or on the right?"),
    "zone": ("Is the {name} in the upper or the lower zone?", "In which zone does the {name} lie?"),
    "size": ("How large is the {name}?", "Is the {name} small or large?"),
    "seen": ("What is seen on the {asked} side?", "What does the {asked} side show?"),
    REPORT: ("Write a short report.", "Describe the radiograph."),
}
"""The two phrasings of every kind of question."""
CLEAR = "The lungs are clear."
NOTHING = "nothing abnormal"
_DENIED = ("pneumothorax", "effusion", "pacemaker", "consolidation", "nodule")
"""A report denies the first of these that is not there."""
_SENTENCES: Mapping[str, str] = {
    "nodule": "There is a {size} nodule in the {side} {zone} zone.",
    "consolidation": "There is a consolidation in the {side} {zone} zone.",
    "effusion": "There is a {size} {side} pleural effusion.",
    "pneumothorax": "There is a {size} {side} pneumothorax.",
    "pacemaker": "There is a pacemaker on the {side}.",
}

Asked = tuple[str, str | None, str | None]
"""Kind of question, the finding that it is about, the side that it names."""


@dataclass(frozen=True)
class Question:
    """A question about an image, and its answer.

    Attributes:
        kind: A key of ASKED.
        finding: That it is about; None: of `seen` and of a report.
        asked: The side that it names; None: it names none.
        text: As it is asked.
        truth: The value that is right: yes or no, a side, zone or size, or findings joined by "+"; of a report, "".
        usual: The value that habit gives; of a report, "".
        answer: The sentence that says the truth.
        found: What the image shows.
    """

    kind: str
    finding: str | None
    asked: str | None
    text: str
    truth: str
    usual: str
    answer: str
    found: Found

    @property
    def habit(self) -> bool:
        """Whether an answer from habit is right; a report is neither, and counts as not."""
        return self.kind != REPORT and self.truth == self.usual

    def row(self, name: str) -> dict[str, Any]:
        """As a line of a file of questions."""
        return {"id": name, **asdict(self), "habit": self.habit}


def ask(asked: Asked, found: Found, phrasing: int) -> Question:
    """The question about an image, in the first or the second phrasing."""
    kind, finding, side = asked
    text = ASKED[kind][phrasing].format(name=NAMES.get(finding or "", ""), asked=side)
    if kind == REPORT:
        return Question(kind, None, None, text, "", "", report(found), found)
    truth, usual = _values(asked, found)
    return Question(kind, finding, side, text, truth, usual, answer(asked, truth), found)


def _values(asked: Asked, found: Found) -> tuple[str, str]:
    """What is true and what is usual."""
    kind, finding, side = asked
    if kind == "seen":
        assert side is not None
        there = {name for name in found if found[name]["side"] == side}
        return "+".join(ordered(there)), "+".join(USUALLY_SEEN[side])
    assert finding is not None
    if kind == "presence":
        return _yes(finding in found), _yes(USUALLY_PRESENT[finding])
    if kind == "is_side":
        return _yes(found[finding]["side"] == side), _yes(USUAL[finding]["side"] == side)
    return found[finding][kind], USUAL[finding][kind]


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def askable(found: Found) -> list[Asked]:
    """Everything but a report that can be asked of an image."""
    asked: list[Asked] = [("presence", name, None) for name in NAMES]
    for name, attributes in found.items():
        asked += [("is_side", name, side) for side in VALUES["side"]]
        asked += [(attribute, name, None) for attribute in attributes]
    return asked + [("seen", None, side) for side in VALUES["side"]]


def answer(asked: Asked, value: str) -> str:
    """The sentence that gives a value; evidence first, so that yes or no follows from what was said."""
    kind, finding, side = asked
    name = NAMES.get(finding or "", "")
    if kind == "presence":
        return f"A {name} is seen, so yes." if value == "yes" else f"A {name} is not seen, so no."
    if kind == "is_side":
        assert side is not None
        return f"The {name} is on the {side if value == 'yes' else other('side', side)}, so {value}."
    if kind == "seen":
        return f"The {side} side shows {listed(value.split('+') if value else [])}."
    where = {"side": f"on the {value}", "zone": f"in the {value} zone", "size": value}[kind]
    return f"The {name} is {where}."


def listed(names: Iterable[str]) -> str:
    """Findings as a list in a sentence."""
    items = [f"a {NAMES[name]}" for name in names]
    if not items:
        return NOTHING
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1])))


def report(found: Found) -> str:
    """Every finding, and one that is not there."""
    said = [_SENTENCES[name].format(**found[name]) for name in NAMES if name in found] or [CLEAR]
    absent = next(name for name in _DENIED if name not in found)
    return " ".join([*said, f"There is no {NAMES[absent]}."])
