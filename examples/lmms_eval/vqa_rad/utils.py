"""VQA-RAD for lmms-eval: exact match of the whole answer, closed (yes/no) and open questions apart."""

import re
import unicodedata
from typing import Any

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
METRICS = ("vqa_rad_accuracy", "vqa_rad_closed_accuracy", "vqa_rad_open_accuracy")


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    """The row's image."""
    return [doc["image"].convert("RGB")]


def doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, str] | None = None) -> str:
    """The question between what the task puts before and behind it."""
    around = lmms_eval_specific_kwargs or {}
    return f"{around.get('pre_prompt', '')}{doc['question'].strip()}{around.get('post_prompt', '')}"


def doc_to_messages(
    doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """The question for models that take a chat."""
    image = {"type": "image", "url": doc_to_visual(doc)[0]}
    text = {"type": "text", "text": doc_to_text(doc, lmms_eval_specific_kwargs)}
    return [{"role": "user", "content": [image, text]}]


def normalise(text: str) -> str:
    """Case, punctuation, symbols and articles evened out: as `firempo evaluate` compares for its exact match."""
    lowered = unicodedata.normalize("NFKC", text).lower()
    kept = "".join(" " if unicodedata.category(character)[0] in "PS" else character for character in lowered)
    return " ".join(ARTICLES.sub(" ", kept).split())


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, dict[str, Any]]:
    """One row's record, the same for every metric; the Hub's rows have no answer type: yes and no are closed."""
    prediction = results[0] if results else ""
    truth = normalise(str(doc["answer"]))
    record = {
        "prediction": prediction,
        "target": doc["answer"],
        "closed": truth in ("yes", "no"),
        "correct": normalise(prediction) == truth,
    }
    return dict.fromkeys(METRICS, record)


def accuracy(records: list[dict[str, Any]]) -> float:
    """Share of right answers; not a number where there is no answer."""
    return sum(record["correct"] for record in records) / len(records) if records else float("nan")


def closed_accuracy(records: list[dict[str, Any]]) -> float:
    """Of the yes/no questions."""
    return accuracy([record for record in records if record["closed"]])


def open_accuracy(records: list[dict[str, Any]]) -> float:
    """Of the other questions."""
    return accuracy([record for record in records if not record["closed"]])
