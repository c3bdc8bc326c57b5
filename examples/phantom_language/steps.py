"""One step of the benchmark, in a process of its own: python steps.py SCALE FOLDER TARGET STEP [WHAT ...].

FOLDER is that of run.py, with the results of the steps before; TARGET is a folder that is there and gets the result.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import alignment
import answering
import llava
import numpy as np
import packaged
import pairs
import projector
import published
import shipped
import splits
import torch
import tower
from scales import DEPTHS, NOISES, SCALES, Scale
from splits import Example


def examples(scale: Scale, split: str) -> list[Example]:
    """A balanced split."""
    return list(splits.balanced(split, scale.quotas[split]))


def questions(scale: Scale, folder: Path, target: Path) -> None:
    """The questions of the splits that figures are made of."""
    for split in ("validation", "test"):
        splits.write(examples(scale, split), target / f"{split}.jsonl")


def start(scale: Scale, folder: Path, target: Path) -> None:
    """The language model with a tower and a projector of chance."""
    language, tokenizer = packaged.load((llava.IMAGE,))
    torch.manual_seed(0)
    llava.save(llava.join(language, tokenizer), tokenizer, target)


def teach_tower(scale: Scale, folder: Path, target: Path) -> None:
    """The tower's weights."""
    torch.save(tower.teach(scale.phases, scale.tower_images), target / "weights.pt")


def teach_projector(scale: Scale, folder: Path, target: Path) -> None:
    """The projector's weights."""
    model, tokenizer = _with_tower(folder)
    taught = projector.teach(model, tokenizer, scale.projector_images, scale.projector_steps)
    torch.save(taught, target / "weights.pt")


def look(scale: Scale, folder: Path, target: Path, depth: str) -> None:
    """Aligned on the balanced corpus until it looks: from the depth before, or from the taught projector."""
    model, tokenizer = _with_tower(folder)
    place = scale.depths.index(depth)
    if place:
        _restore(model, folder / "looked" / scale.depths[place - 1])
    else:
        model.model.multi_modal_projector.load_state_dict(torch.load(folder / "projector" / "weights.pt"))
        alignment.adapt(model)
    stage, wanted = scale.look, DEPTHS[depth].looks
    corpus = replace(stage, corpus=f"{stage.corpus}-{depth}")  # images that no depth before has seen
    watched = examples(scale, "watch")
    found = alignment.align(
        model.train(), answering.Prompt(tokenizer), corpus, watched, lambda share: max(0.0, wanted - share)
    )
    _write(alignment.trained(model), found, target)


def base(scale: Scale, folder: Path, target: Path, depth: str) -> None:
    """Aligned on the corpus with habits, packed and merged: the base model of a depth."""
    model, tokenizer = _with_tower(folder)
    _restore(model, folder / "looked" / depth)
    low, high = DEPTHS[depth].right
    watched = examples(scale, "validation")
    found = alignment.align(
        model.train(),
        answering.Prompt(tokenizer),
        scale.habits,
        watched,
        lambda share: max(low - share, share - high, 0.0),
    )
    _base(shipped.pack(model), found, folder, target)


def given_base(scale: Scale, folder: Path, target: Path, depth: str) -> None:
    """The same from what the repository ships."""
    _base(*shipped.read(published.PUBLISHED / "bases" / depth), folder, target)


def answer(scale: Scale, folder: Path, target: Path, depth: str, split: str, adapter: str = "") -> None:
    """Answers to a split, by a base model or by what was trained on it."""
    model, tokenizer = llava.load(folder / "bases" / depth, torch.bfloat16)
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).eval().get_base_model()
    asked = examples(scale, split)
    answering.write(asked, answering.answers(model, answering.Prompt(tokenizer), asked), target / "answers.jsonl")


def make_pairs(scale: Scale, folder: Path, target: Path, depth: str, noise: str) -> None:
    """Pairs from the pool's answers, and the right answers that the noise turns."""
    pool = examples(scale, "pool")
    said = answering.read(pool, folder / "answers" / depth / "pool" / "answers.jsonl")
    random = np.random.default_rng(0)
    picked = pairs.pick(pairs.candidates(pool, said, random), scale.pairs, random)
    if not picked:
        sys.exit(f"The {depth} base answers nothing rightly, or nothing wrongly, that can be read: there is no pair.")
    pairs.write(picked, NOISES[noise], target)
    model, tokenizer = llava.load(folder / "bases" / depth, torch.bfloat16)
    again = pairs.turned(model, answering.Prompt(tokenizer), pool, said, NOISES[noise])
    lines = [json.dumps(row) + "\n" for row in again]
    (target / "turned.jsonl").write_text("".join(lines), encoding="utf-8")


def _base(packed: alignment.Weights, found: dict[str, float], folder: Path, target: Path) -> None:
    shipped.build(folder / "start", packed, target)
    shipped.write(packed, found, target)


def _with_tower(folder: Path) -> tuple[Any, Any]:
    model, tokenizer = llava.load(folder / "start", torch.float32)
    model.model.vision_tower.load_state_dict(torch.load(folder / "tower" / "weights.pt"))
    return model, tokenizer


def _restore(model: Any, folder: Path) -> None:
    alignment.adapt(model)
    alignment.restore(model, torch.load(folder / "weights.pt"))


def _write(weights: alignment.Weights, found: dict[str, float], target: Path) -> None:
    torch.save(weights, target / "weights.pt")
    (target / "found.json").write_text(json.dumps(found), encoding="utf-8")


STEPS: dict[str, Callable[..., None]] = {
    "questions": questions,
    "start": start,
    "tower": teach_tower,
    "projector": teach_projector,
    "look": look,
    "base": base,
    "given base": given_base,
    "answer": answer,
    "pairs": make_pairs,
}


def main(arguments: list[str]) -> None:
    """The command line."""
    scale, folder, target, step, *what = arguments
    STEPS[step](SCALES[scale], Path(folder), Path(target), *what)


if __name__ == "__main__":
    main(sys.argv[1:])
