"""Preference pairs from the base model's own answers, and how many right answers the noise turns.

Where the base is right, its answer is chosen and an edit of it with another value rejected; where it is wrong, the
right sentence is chosen and its answer rejected. Half of the pairs are of each sort, and of the questions together
habit is right in half, as far as there are such answers. The noised image hides what the question asks about.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import answering
import numpy as np
import reader
from findings import NAMES, USUAL, VALUES, Found, ordered, other
from pictures import Mask, dilated, noised
from PIL import Image
from sentences import REPORT, Question, answer, report
from splits import Example

PAIRS, CHOSEN = "phantom_language", "phantom_language_chosen"
"""Names of the pairs, and of their chosen answers alone as a set for supervised fine-tuning."""
REPORTS = 40
"""Pairs of reports at most."""
MOST_WRONG = 4
"""Findings, counted on both sides, in which a wrong report of a pair may differ from the right one."""
TURNED = 100
"""Right answers that are asked again on the noised image, where habit is right and where it is wrong."""


@dataclass(frozen=True)
class Noise:
    """What is done to the noised images.

    Attributes:
        sigma: Standard deviation on the 0-255 scale.
        grown: Pixels by which the mask grows.
    """

    sigma: float
    grown: int


@dataclass(frozen=True)
class Pair:
    """Two answers to a question.

    Attributes:
        example: The image.
        question: One of its questions.
        chosen: Says the truth.
        rejected: Says something else.
        base_right: Whether the chosen one is the base model's.
    """

    example: Example
    question: Question
    chosen: str
    rejected: str
    base_right: bool


def candidates(examples: list[Example], said: list[list[str]], random: np.random.Generator) -> list[Pair]:
    """A pair for every answer of the base that can be read."""
    made = []
    for example, texts in zip(examples, said, strict=True):
        for question, text in zip(example.questions, texts, strict=True):
            right = _right(question, text)
            if right:
                made.append(Pair(example, question, text, _edited(question, random), True))
            elif right is not None:
                made.append(Pair(example, question, question.answer, text, False))
    return [pair for pair in made if pair.chosen != pair.rejected]


def _right(question: Question, text: str) -> bool | None:
    """Whether an answer is right; None where it cannot be read, or is a report too far from the right one."""
    if question.kind != REPORT:
        value = reader.read(question, text)
        return None if value is None else value == question.truth
    said = reader.read_report(text)
    differing = {*_items(said.claimed)} ^ {*_items(question.found)}
    return None if said.unread or len(differing) > MOST_WRONG else said.right(question.found)


def _items(found: Found) -> list[tuple[Any, ...]]:
    return [(name, *sorted(attributes.items())) for name, attributes in found.items()]


def _edited(question: Question, random: np.random.Generator) -> str:
    """The answer with another value, as near as can be."""
    if question.kind == REPORT:
        return report(_other_found(question.found, random))
    return answer((question.kind, question.finding, question.asked), _other_value(question, random))


def _other_value(question: Question, random: np.random.Generator) -> str:
    if question.kind in ("presence", "is_side"):
        return "no" if question.truth == "yes" else "yes"
    if question.kind in VALUES:
        return other(question.kind, question.truth)
    if not question.habit and random.random() < 0.5:
        return question.usual
    there = set(question.truth.split("+")) - {""}
    return "+".join(ordered(there ^ {str(random.choice(list(NAMES)))}))


def _other_found(found: Found, random: np.random.Generator) -> Found:
    """The same with one attribute turned, or one finding more."""
    changed = {name: dict(attributes) for name, attributes in found.items()}
    if changed and random.random() < 0.75:
        name = str(random.choice(sorted(changed)))
        attribute = str(random.choice(list(USUAL[name])))
        changed[name][attribute] = other(attribute, changed[name][attribute])
    else:
        name = str(random.choice([name for name in NAMES if name not in changed]))
        changed[name] = {attribute: str(random.choice(VALUES[attribute])) for attribute in USUAL[name]}
    return changed


def pick(made: list[Pair], count: int, random: np.random.Generator) -> list[Pair]:
    """So many pairs, as even as can be between right and wrong answers and between habit right and wrong."""
    groups: dict[tuple[bool, bool | None], list[Pair]] = {}
    for place in random.permutation(len(made)):
        pair = made[place]
        habit = None if pair.question.kind == REPORT else pair.question.habit
        groups.setdefault((pair.base_right, habit), []).append(pair)
    reports = min(REPORTS // 2, *(len(groups.get((right, None), [])) for right in (True, False)))
    picked = [pair for right in (True, False) for pair in groups.get((right, None), [])[:reports]]
    left = {key: len(pairs) for key, pairs in groups.items() if key[1] is not None}
    half = min((count - 2 * reports) // 2, *(_of(left, right) for right in (True, False)))
    # Wrong answers as they come, since where habit is right there are few; right ones make up for it.
    wrong_where_right = round(half * left.get((False, True), 0) / max(1, _of(left, False)))
    taken = {(False, True): wrong_where_right, (False, False): half - wrong_where_right}
    right_where_wrong = max(
        half - left.get((True, True), 0), min(left.get((True, False), 0), half - taken[False, False])
    )
    taken |= {(True, False): right_where_wrong, (True, True): half - right_where_wrong}
    picked += [pair for key, number in taken.items() for pair in groups.get(key, [])[:number]]
    return [picked[place] for place in random.permutation(len(picked))]


def _of(left: dict[tuple[bool, bool | None], int], right: bool) -> int:
    return sum(number for key, number in left.items() if key[0] == right)


def asked_about(question: Question, masks: dict[str, Mask], grown: int) -> Mask | None:
    """Where noise hides what a question asks about; None: the whole image, of a report.

    Of a finding that is not there, both lungs; of a side, its lung and what is on it.
    """
    if question.kind == REPORT:
        return None
    if question.finding in masks:
        return dilated(masks[question.finding], grown)
    sides = VALUES["side"] if question.asked is None else (question.asked,)
    there = [name for name, attributes in question.found.items() if attributes["side"] == question.asked]
    place = np.logical_or.reduce([masks[name] for name in (*(f"{side} lung" for side in sides), *there)])
    return dilated(np.asarray(place), grown)


def write(picked: list[Pair], noise: Noise, folder: Path) -> None:
    """Writes pairs as a set that the host reads, and of what they are made as pairs.jsonl and counts.json."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows, notes, known = [], [], {}
    for pair in picked:
        drawn, name = pair.example.picture, pair.example.name
        place = asked_about(pair.question, drawn.masks, noise.grown)
        key = (name, None if place is None else place.tobytes())
        if key not in known:  # the same image and place: the same noised image
            known[key] = f"images/{name}_noised{len(known)}.png"
            pixels = noised(drawn.pixels, place, noise.sigma, np.random.default_rng([5, len(known)]))
            Image.fromarray(pixels).convert("RGB").save(folder / known[key])
            Image.fromarray(drawn.pixels).convert("RGB").save(folder / "images" / f"{name}.png")
        said = [{"from": "human", "value": f"<image>\n{pair.question.text}"}]
        both = {"chosen": {"from": "gpt", "value": pair.chosen}, "rejected": {"from": "gpt", "value": pair.rejected}}
        images = {"images": [f"images/{name}.png"], "rejected_images": [known[key]]}
        rows.append({"conversations": said, **both, **images})
        notes.append({"base_right": pair.base_right, "habit": pair.question.habit, "kind": pair.question.kind})
    chosen = [{"conversations": [*row["conversations"], row["chosen"]], "images": row["images"]} for row in rows]
    columns = {"messages": "conversations", "images": "images"}
    ranked = columns | {name: name for name in ("chosen", "rejected", "rejected_images")}
    info = {
        PAIRS: {"file_name": "pairs.json", "formatting": "sharegpt", "ranking": True, "columns": ranked},
        CHOSEN: {"file_name": "chosen.json", "formatting": "sharegpt", "columns": columns},
    }
    counts = Counter(f"base {'right' if one['base_right'] else 'wrong'}, {one['kind']}" for one in notes)
    for name, content in {"pairs": rows, "chosen": chosen, "dataset_info": info, "counts": dict(counts)}.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    lines = [json.dumps(one) + "\n" for one in notes]
    (folder / "pairs.jsonl").write_text("".join(lines), encoding="utf-8")


def turned(
    model: Any, prompt: answering.Prompt, examples: list[Example], said: list[list[str]], noise: Noise
) -> list[dict[str, Any]]:
    """Right answers asked again on the noised image: a row each with the value that is then said and what is usual."""
    random = np.random.default_rng(1)
    rights: dict[bool, list[tuple[Example, Question]]] = {True: [], False: []}
    for example, texts in zip(examples, said, strict=True):
        for question, text in zip(example.questions, texts, strict=True):
            if question.kind != REPORT and reader.read(question, text) == question.truth:
                rights[question.habit].append((example, question))
    chosen = [pairs[place] for pairs in rights.values() for place in random.permutation(len(pairs))[:TURNED]]
    asked = []
    for number, (example, question) in enumerate(chosen):
        place = asked_about(question, example.picture.masks, noise.grown)
        pixels = noised(example.picture.pixels, place, noise.sigma, np.random.default_rng([6, number]))
        drawn = type(example.picture)(pixels, example.picture.masks, example.picture.found)
        asked.append(Example(example.name, drawn, (question,)))
    texts = [text for (text,) in answering.answers(model, prompt, asked)]
    return [
        {**question.row(example.name), "said": text} for (example, question), text in zip(chosen, texts, strict=True)
    ]
