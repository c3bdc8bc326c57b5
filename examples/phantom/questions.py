"""What is asked of a phantom, in several natural phrasings, with the answer that its nodule gives."""

from dataclasses import asdict, dataclass

import numpy as np
from images import ATTRIBUTES, Nodule


@dataclass(frozen=True)
class Question:
    """One question with its ground truth.

    Attributes:
        name: Of the kind of question, see `KINDS`.
        text: As it is asked.
        answer: A full sentence, as the model is taught to answer.
        truth: The ground truth, in as few words as possible; for a report, the report.
        closed: Whether the answer is one of two that are known beforehand.
        usual: Whether an answer from habit is right: what is asked of is as in most training images.
    """

    name: str
    text: str
    answer: str
    truth: str
    closed: bool
    usual: bool


@dataclass(frozen=True)
class Kind:
    """A sort of question.

    Attributes:
        closed: As in `Question`.
        about: The nodule's attributes that the answer tells.
        truth: Template of the ground truth; "" for yes or no.
        phrasings: Question and answer; for yes or no, question, answer yes and answer no.
    """

    closed: bool
    about: tuple[str, ...]
    truth: str
    phrasings: tuple[tuple[str, ...], ...]


KINDS = {
    "presence": Kind(
        True,
        (),
        "",
        (
            (
                "Is there a nodule in the lungs?",
                "Yes, there is a nodule in the lungs.",
                "No, there is no nodule in the lungs.",
            ),
            ("Do the lungs show a nodule?", "Yes, the lungs show a nodule.", "No, the lungs show no nodule."),
        ),
    ),
    "is_side": Kind(
        True,
        ("side",),
        "",
        (
            (
                "Is the nodule in the {asked} lung?",
                "Yes, the nodule is in the {asked} lung.",
                "No, the nodule is not in the {asked} lung.",
            ),
            (
                "Does the nodule lie in the {asked} lung?",
                "Yes, the nodule lies in the {asked} lung.",
                "No, the nodule does not lie in the {asked} lung.",
            ),
        ),
    ),
    "side": Kind(
        True,
        ("side",),
        "{side}",
        (
            ("Is the nodule in the left or the right lung?", "The nodule is in the {side} lung."),
            ("Does the nodule lie in the left or in the right lung?", "It lies in the {side} lung."),
        ),
    ),
    "zone": Kind(
        True,
        ("zone",),
        "{zone}",
        (
            ("Is the nodule in the upper or the lower part of the lung?", "The nodule is in the {zone} part."),
            ("Does the nodule lie in the upper or in the lower part?", "It lies in the {zone} part of the lung."),
        ),
    ),
    "size": Kind(
        True,
        ("size",),
        "{size}",
        (
            ("Is the nodule small or large?", "The nodule is {size}."),
            ("What size is the nodule, small or large?", "It is a {size} nodule."),
        ),
    ),
    "which": Kind(
        False,
        ("side",),
        "{side} lung",
        (
            ("Which lung shows the nodule?", "The {side} lung shows the nodule."),
            ("In which lung is the nodule?", "The nodule is in the {side} lung."),
        ),
    ),
    "where": Kind(
        False,
        ("side", "zone"),
        "{side} {zone} lung",
        (
            ("Where is the nodule?", "The nodule is in the {side} {zone} lung."),
            ("In which part of the lungs is the nodule?", "The nodule lies in the {side} {zone} lung."),
        ),
    ),
}
"""All questions about one nodule; where there is none, only the first kind can be asked."""

REPORT = "report"
REQUESTS = ("Write a short report.", "Describe the radiograph.")
FOUND = "There is a {size} nodule in the {side} {zone} lung. There is no pleural effusion."
CLEAR = "There is no nodule. There is no pleural effusion."


def ask(name: str, nodule: Nodule | None, random: np.random.Generator) -> Question:
    """Asks a question of a kind, or for a report, in a phrasing drawn at random.

    Args:
        name: Key of `KINDS`, or `REPORT`.
        nodule: What the image shows.
        random: Draws the phrasing, and which side a yes/no question names.

    Raises:
        ValueError: The question takes a nodule for granted, and there is none.
    """
    if name == REPORT:
        request = str(random.choice(REQUESTS))
        report = CLEAR if nodule is None else FOUND.format(**asdict(nodule))
        return Question(name, request, report, report, False, is_usual(nodule, tuple(ATTRIBUTES)))
    kind = KINDS[name]
    if nodule is None and kind.about:
        raise ValueError(f"{name!r} asks about a nodule where there is none; ask 'presence'")
    words = {} if nodule is None else asdict(nodule)
    words["asked"] = str(random.choice(ATTRIBUTES["side"]))
    text, *answers = kind.phrasings[random.integers(len(kind.phrasings))]
    truth = kind.truth
    if not truth:
        truth = "yes" if (words["asked"] == words.get("side") if kind.about else nodule is not None) else "no"
        answers = answers[:1] if truth == "yes" else answers[1:]
    usual = is_usual(nodule, kind.about)
    return Question(name, text.format(**words), answers[0].format(**words), truth.format(**words), kind.closed, usual)


def is_usual(nodule: Nodule | None, about: tuple[str, ...]) -> bool:
    """Whether there is a nodule that has the usual value of all these attributes."""
    return nodule is not None and all(asdict(nodule)[name] == ATTRIBUTES[name][0] for name in about)


def corpus() -> list[str]:
    """Every text that there is: what the tokeniser learns its words from."""
    texts = [*REQUESTS, CLEAR]
    for kind in KINDS.values():
        texts += [text for phrasing in kind.phrasings for text in phrasing]
    texts.append(FOUND)
    for name, values in {**ATTRIBUTES, "asked": ATTRIBUTES["side"]}.items():
        texts = [text.replace(f"{{{name}}}", value) for text in texts for value in values]
    return sorted(set(texts))
