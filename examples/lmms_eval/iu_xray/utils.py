"""IU-Xray reports for lmms-eval, from annotation.json and images/ in the layout of R2Gen; text overlap only."""

import os
from pathlib import Path
from typing import Any

QUESTION = "Write a radiology report of this chest X-ray study."
IMAGES = "IU_XRAY_IMAGES"
"""Environment variable that names the image folder; data/iu_xray/images where it is not set."""


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    """The images of the study."""
    from PIL import Image

    folder = Path(os.environ.get(IMAGES, "data/iu_xray/images"))
    return [Image.open(folder / name).convert("RGB") for name in doc["image_path"]]


def doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, str] | None = None) -> str:
    """The instruction between what the task puts before and behind it."""
    around = lmms_eval_specific_kwargs or {}
    return f"{around.get('pre_prompt', '')}{QUESTION}{around.get('post_prompt', '')}"


def doc_to_messages(
    doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """The instruction for models that take a chat."""
    images = [{"type": "image", "url": image} for image in doc_to_visual(doc)]
    text = {"type": "text", "text": doc_to_text(doc, lmms_eval_specific_kwargs)}
    return [{"role": "user", "content": [*images, text]}]


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """One report's ROUGE-L, and both texts for BLEU, which is of all reports together."""
    from rouge_score.rouge_scorer import RougeScorer

    report = results[0].strip() if results else ""
    rouge = RougeScorer(["rougeL"], use_stemmer=True).score(doc["report"], report)["rougeL"].fmeasure
    return {"iu_xray_rouge_l": rouge, "iu_xray_bleu": (doc["report"], report)}


def bleu(pairs: list[tuple[str, str]]) -> float:
    """BLEU-4 of all reports, in percent, by sacrebleu."""
    from sacrebleu import corpus_bleu

    return float(corpus_bleu([report for _, report in pairs], [[truth for truth, _ in pairs]]).score)
