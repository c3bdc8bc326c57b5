"""Lets a model answer the questions of a split and counts what is right: quick, for choosing settings on validation.

    python measure.py RECORDS.jsonl MODEL [--adapter FOLDER] [--out ANSWERS.jsonl]

Answers are greedy and read by the built-in rule judge; one that it cannot read is unscored and counted. The figures
that are shown come from `firempo evaluate`; this script is to check them with other code for loading and generating.
"""

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from firempo_plugin.answers.questions import understand
from firempo_plugin.answers.vocabulary import load_vocabulary
from firempo_plugin.records import Record

BATCH = 64
LONGEST = 40
"""Tokens of an answer; a report has 30."""


@dataclass(frozen=True)
class Answered:
    """A record with the model's answer.

    Attributes:
        row: The record.
        answer: What the model said.
        right: Whether that is right; None where the judge cannot tell.
    """

    row: dict[str, Any]
    answer: str
    right: bool | None


def answer(rows: list[dict[str, Any]], root: Path, model: Any, processor: Any) -> list[str]:
    """Greedy answers."""
    processor.tokenizer.padding_side = "left"
    answers = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        prompts = [
            "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
            f"{row['question']}<|im_end|>\n<|im_start|>assistant\n"
            for row in part
        ]
        images = [Image.open(root / row["image"]).convert("RGB") for row in part]
        given = processor(text=prompts, images=images, return_tensors="pt", padding=True).to(model.device)
        with torch.inference_mode():
            made = model.generate(**given, do_sample=False, max_new_tokens=LONGEST)
        answers += processor.tokenizer.batch_decode(made[:, given["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in answers]


def judge(row: dict[str, Any], text: str) -> bool | None:
    """Whether an answer to a question is right."""
    record = Record(row["id"], (row["image"],), row["question"], row["answer"])
    return understand(record, load_vocabulary()).read(text).correct


def table(answered: list[Answered]) -> str:
    """Shares of right answers: all, by habit, by openness and by kind of question."""
    groups: dict[str, list[Answered]] = {}
    for one in answered:
        names = ("all", "usual" if one.row["usual"] else "unusual", one.row["closed"], one.row["asks"])
        for name in names:
            groups.setdefault(name, []).append(one)
    lines = []
    for name, members in groups.items():
        count = Counter(one.right for one in members)
        scored = count[True] + count[False]
        share = f"{count[True] / scored:6.1%}" if scored else "     -"
        lines.append(f"{name:10} {share}  of {scored:4}, unscored {count[None]}")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Counts the right answers of a model.")
    parser.add_argument("records", type=Path)
    parser.add_argument("model")
    parser.add_argument("--adapter")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    processor = AutoProcessor.from_pretrained(arguments.model)
    model = AutoModelForImageTextToText.from_pretrained(arguments.model, dtype=torch.float32).eval()
    if arguments.adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, arguments.adapter).eval()
    lines = arguments.records.read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["kind"] == "vqa"]
    answers = answer(rows, arguments.records.parent, model, processor)
    answered = [Answered(row, text, judge(row, text)) for row, text in zip(rows, answers, strict=True)]
    print(table(answered))
    if arguments.out is not None:
        text = "".join(json.dumps({"id": a.row["id"], "answer": a.answer, "right": a.right}) + "\n" for a in answered)
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
