"""Counts what the rule judge makes of answers whose verdict and whose other side are known by construction.

    python benchmarks/judge.py DATA [--every 7] [--shift 3] [--show 20]

Every answer is written from a question, an answer to it and a shape, so that its verdict and, word for word, its
minimal edits are known: the same shape around another answer. An edit that is none of these is listed as unclean.
"""

import argparse
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from firempo_plugin.answers.protocol import Abstain
from firempo_plugin.answers.questions import understand
from firempo_plugin.answers.text import is_word, tokens
from firempo_plugin.answers.vocabulary import load_vocabulary
from firempo_plugin.pairs.config import EditConfig
from firempo_plugin.pairs.judges.rules import RuleJudge
from firempo_plugin.records import Record

OPEN = {
    "bare": "{a}",
    "stop": "{a}.",
    "answer": "The answer is {a}.",
    "label": "Answer: {a}",
    "bold": "**{a}**",
    "image": "The image shows {a}.",
    "short": "It is {a}.",
    "appears": "It appears to be {a}.",
    "based": "Based on the image, the answer is {a}.",
    "hence": "Looking at the image carefully. Therefore, the answer is {a}.",
    "reasoned": "I looked at the shape and the position of the structures, so the answer is {a}.",
    "remark": "{a}. Clinical correlation is recommended.",
    "rest": "{a}. The remaining structures are unremarkable.",
    "steps": "Step 1: I examine the image. Step 2: I compare both sides.\n\nFinal answer: {a}",
    "hedged": "It could be {a}, but this cannot be determined.",
    "denied": "It is not {a}.",
}
CHINESE = {
    "bare": "{a}",
    "stop": "{a}。",
    "answer": "答案是{a}。",
    "image": "图像显示{a}。",
    "hence": "仔细观察图像,因此答案是:{a}。",
    "remark": "{a}。建议结合临床。",
    "denied": "不是{a}。",
}
POLAR = {
    "bare": ("{y}", True),
    "stop": ("{y}.", True),
    "answer": ("The answer is {y}.", True),
    "label": ("Final answer: {y}", True),
    "statement": ("{s}", True),
    "full": ("{y}, {s}", True),
    "two": ("{y}. {S}", True),
    "based": ("Based on the image, the answer is {y}.", True),
    "hence": ("{S} Therefore, the answer is {y}.", True),
    "looking": ("I reviewed the whole image carefully. So the answer is {y}.", True),
    "remark": ("{y}, {s} Please correlate clinically.", True),
    "rest": ("{y}. The remaining structures are unremarkable.", True),
    "modality": ("{y}. The image quality is adequate.", True),
    "because": ("{y}, because the margins are sharp.", False),
    "where": ("{y}, {s} It measures 3 cm.", False),
    "hedged": ("Possibly {y}, but this cannot be determined.", None),
}
"""Shapes of yes/no answers, and whether the other answer fits them; None: they answer nothing."""
_SUBJECTS = (
    "image|picture|scan|patient|heart|lungs?|aorta|trachea|diaphragm|liver|kidneys?|brain|ventricles|film|mass|lesion"
)
_ASKED = re.compile(
    r"^(is|are|was|were|does|do|did|can|has|have) "
    rf"(there (?=\w)|(?:the |this |these )?(?:(?:{_SUBJECTS}) )?)(.+)\?$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Case:
    """An answer.

    Attributes:
        record: The question with its ground truth.
        shape: How the answer is written.
        response: The answer.
        correct: Whether it is right; None where it answers nothing.
        others: All texts that another answer in the same shape may have; none where no edit can be clean.
        free: Whether any other answer in the same shape will do.
    """

    record: Record
    shape: str
    response: str
    correct: bool | None
    others: frozenset[str]
    free: bool = False


def plain(text: str) -> str:
    """A text without case, articles and punctuation, in which edits by grammar may differ."""
    small = {"a", "an", "the", "any", ""}
    return " ".join(token.word for token in tokens(text) if is_word(token) and token.word not in small)


def statements(question: str) -> tuple[list[str], list[str]]:
    """Sentences that say yes and no to a yes/no question; none where its grammar is not plain."""
    found = _ASKED.match(question.strip())
    if not found:
        return [], []
    verb, subject, rest = found[1].lower(), found[2].lower(), found[3]
    if verb in ("is", "are", "was", "were") and subject.startswith("there"):
        bare = re.sub(r"^(an?|any) ", "", rest)
        return [f"there {verb} {'' if rest.startswith('any') else rest[: len(rest) - len(bare)]}{bare}."], [
            f"there {verb} no {bare}.",
            f"there {verb} not {bare}.",
        ]
    if not subject.strip() or subject.strip() in ("the", "this", "these"):
        if verb == "is" and re.match(r"(an?) ", rest) and subject.strip() == "this":
            return [f"this is {rest}."], [f"this is not {rest}."]
        return [], []
    subject = subject.strip() if subject.startswith(("the ", "this ", "these ")) else f"the {subject.strip()}"
    if verb in ("is", "are", "was", "were", "can"):
        return [f"{subject} {verb} {rest}."], [f"{subject} {verb}{'' if verb == 'can' else ' '}not {rest}."]
    if verb in ("do", "does"):
        first, _, more = rest.partition(" ")
        third = "has" if first == "have" else first + ("es" if first.endswith(("s", "x", "ch")) else "s")
        third = first if verb == "do" else third
        return [f"{subject} {third} {more}."], [f"{subject} {verb} not {rest}.", f"{subject} {third} no {more}."]
    return [], []


def upper(text: str) -> str:
    """With a capital."""
    return text[:1].upper() + text[1:]


def polar_cases(record: Record, truth: bool) -> Iterator[Case]:
    """Right and wrong answers to a yes/no question."""
    yes, no = statements(record.question)
    for shape, (frame, turnable) in POLAR.items():
        if ("{s}" in frame or "{S}" in frame) and not yes:
            continue
        sides = {
            True: [frame.format(y="Yes", s=s, S=upper(s)) for s in yes or [""]],
            False: [frame.format(y="No", s=s, S=upper(s)) for s in no or [""]],
        }
        for says in (True, False):
            others = frozenset(map(plain, sides[not says])) if turnable else frozenset()
            yield Case(record, shape, upper(sides[says][0]), None if turnable is None else says is truth, others)


def open_cases(record: Record, answers: list[str], chance: random.Random) -> Iterator[Case]:
    """The right answer, and one of another row of the same sort, in every shape."""
    shapes = OPEN if record.language == "en" else CHINESE
    wrong = chance.choice(answers) if answers else None
    for shape, frame in shapes.items():
        nothing = shape in ("hedged", "denied")
        other = frozenset() if nothing else frozenset(plain(frame.format(a=a)) for a in answers)
        yield Case(record, shape, frame.format(a=record.truth), None if nothing else True, other, not nothing)
        if wrong:
            right = frozenset() if nothing else frozenset({plain(frame.format(a=record.truth))})
            yield Case(record, shape, frame.format(a=wrong), None if nothing else False, right)


def letter_cases(record: Record, answers: list[str], chance: random.Random) -> Iterator[Case]:
    """The same question with three lettered options."""
    options = [*chance.sample(answers, 2), record.truth]
    chance.shuffle(options)
    asked = f"{record.question} " + " ".join(f"{letter}) {text}" for letter, text in zip("ABC", options, strict=True))
    right = options.index(record.truth)
    lettered = Record(record.id + "|letters", (), asked, "ABC"[right], language=record.language)
    for shape in ("{l}", "{l}) {t}", "The correct option is {l}.", "The answer is {t}."):
        texts = [shape.format(l=letter, t=text) for letter, text in zip("ABC", options, strict=True)]
        for index, text in enumerate(texts):
            correct = index == right
            others = texts[:index] + texts[index + 1 :] if correct else [texts[right]]
            yield Case(lettered, "letters", text, correct, frozenset(o.lower() for o in others))


def cases(data: Path, every: int, shift: int) -> Iterator[Case]:
    """Answers to every n-th of the sample questions."""
    chance = random.Random(shift)
    rows = []
    for name in ("SLAKE", "VQA_RAD"):
        for line in (data / "med-vlm-dpo" / f"{name}_train_llavamed_format.jsonl").read_text().splitlines():
            row = json.loads(line)
            rows.append((row["text"].replace("\n<image>", "").strip(), str(row["gpt4_answer"]).strip(), "en"))
    rows += [(r["question"], r["answer"], r["q_lang"]) for r in json.loads((data / "slake" / "train.json").read_text())]
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for question, truth, language in rows:
        kinds[f"{language} {' '.join(question.lower().split()[:2]) if language == 'en' else ''}"][truth] += 1
    seen = set()
    picked = [row for number, row in enumerate(dict.fromkeys(rows)) if number % every == shift % every]
    for question, truth, language in picked + [row for row in set(rows) if row[2] == "zh"]:
        if (question, truth) in seen or not truth:
            continue
        seen.add((question, truth))
        record = Record(f"{question}|{truth}", (), question, truth, language=language)
        if truth.lower().strip(".") in ("yes", "no"):
            yield from polar_cases(record, truth.lower().startswith("yes"))
        elif language == "en":
            kind = f"en {' '.join(question.lower().split()[:2])}"
            same = [a for a in kinds[kind] if not set(plain(a).split()) & set(plain(truth).split()) and len(a) < 40]
            same = [a for a in same if a.lower().strip(".") not in ("yes", "no")]
            yield from open_cases(record, sorted(same), chance)
            if len(same) > 2 and len(truth) < 40:
                yield from letter_cases(record, sorted(same), chance)
        else:
            yield from open_cases(record, [], chance)


def count(found: Iterator[Case], show: int) -> Counter[str]:
    """What the judge makes of answers."""
    judge, total, listed = RuleJudge(EditConfig()), Counter[str](), 0
    for case in found:
        verdict = understand(case.record, load_vocabulary()).read(case.response).correct
        total["answers"] += 1
        total["decided"] += verdict is not None
        wrong = verdict is not None and verdict is not case.correct
        total["verdict wrong"] += wrong
        edit = judge.judge(case.record, case.response)
        if isinstance(edit, Abstain):
            continue
        total["pairs"] += 1
        total[f"pairs {case.shape}"] += 1
        edited = edit.rejected if edit.was_correct else edit.chosen
        shaped = case.free and _in_shape(case, edited)
        clean = not wrong and (plain(edited) in case.others or edited.lower() in case.others or shaped)
        total["clean"] += clean
        if not clean and listed < show:
            listed += 1
            print(f"[{case.shape}] {case.record.question} | {case.record.truth}\n    {case.response!r} -> {edited!r}")
    return total


def _in_shape(case: Case, edited: str) -> bool:
    """Whether a right answer became another one in the same shape."""
    shapes = OPEN if case.record.language == "en" else CHINESE
    before, _, after = shapes[case.shape].partition("{a}")
    inside = edited[len(before) : len(edited) - len(after)] if after else edited[len(before) :]
    return edited.startswith(before) and edited.endswith(after) and plain(inside) != plain(case.record.truth)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Counts the pairs of the rule judge.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=int, default=7)
    parser.add_argument("--shift", type=int, default=3)
    parser.add_argument("--show", type=int, default=0)
    arguments = parser.parse_args()
    total = count(cases(arguments.data, arguments.every, arguments.shift), arguments.show)
    for name, number in total.items():
        print(f"{number:7}  {name}")


if __name__ == "__main__":
    main()
