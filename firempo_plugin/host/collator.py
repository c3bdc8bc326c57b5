"""Rows -> one batch of distinct sequences in the host's layout, with the tokens to score."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from llamafactory.data.collator import MultiModalDataCollatorForSeq2Seq
from llamafactory.extras import logging
from llamafactory.extras.constants import IGNORE_INDEX

from ..forward.families import FAMILIES
from ..forward.plan import Plan, make_plan
from ..objectives import Settings
from .rows import row_of

logger = logging.get_logger(__name__)

SCORING = "scoring"


@dataclass
class DistinctImages:
    """Stands in for a template's `mm_plugin` in the collator: each distinct image is processed once.

    The batch then has the pixels of the distinct images, `image_index` [P] that says which of them each
    image place shows, and `image_grid_thw` of every place, from which the host counts positions;
    `distinct_grid_thw` belongs to the pixels.
    """

    plugin: Any

    def __getattr__(self, name: str) -> Any:
        if name == "plugin":  # not yet there while a worker unpickles the instance
            raise AttributeError(name)
        return getattr(self.plugin, name)

    def get_mm_inputs(
        self,
        images: list[Any],
        videos: list[Any],
        audios: list[Any],
        imglens: list[int],
        vidlens: list[int],
        audlens: list[int],
        batch_ids: list[list[int]],
        processor: Any,
    ) -> dict[str, Any]:
        places: dict[Any, int] = {}
        index = [places.setdefault(_identity(image), len(places)) for image in images]
        distinct = [images[index.index(number)] for number in range(len(places))]
        inputs = self.plugin.get_mm_inputs(
            distinct, videos, audios, [len(distinct)], vidlens, audlens, batch_ids, processor
        )
        if index:
            inputs["image_index"] = torch.tensor(index)
        if "image_grid_thw" in inputs:
            inputs["distinct_grid_thw"] = inputs["image_grid_thw"]
            inputs["image_grid_thw"] = inputs["image_grid_thw"][index]
        return inputs


def _identity(image: Any) -> Any:
    return image if isinstance(image, str) else id(image)


@dataclass
class FireCollator(MultiModalDataCollatorForSeq2Seq):
    """Collates encoded rows.

    The batch holds the forward's keyword arguments for the N distinct sequences of the plan, and under
    `scoring` the fields of `forward.score.Scoring`, the phrase-token counts of the rows, and for a family
    that shares image features their `image_index`.

    Attributes:
        settings: The objective; it says which sequences are needed.
        share_images: Whether the model's family can take distinct images.
    """

    template: Any = None
    settings: Settings | None = None
    share_images: bool = False

    @classmethod
    def of(cls, model: Any, template: Any, settings: Settings, tokenizer_module: dict[str, Any]) -> "FireCollator":
        """The collator for a loaded model; says so in the log where its images cannot be shared."""
        model_type = model.config.model_type
        share_images = model_type in FAMILIES
        if template.mm_plugin.image_token is not None and not share_images:
            logger.info_rank0(
                f"{model_type} is not among {', '.join(FAMILIES)}: its images are encoded once per sequence"
            )
        return cls(
            template=template,
            model=model,
            pad_to_multiple_of=8,
            settings=settings,
            share_images=share_images,
            **tokenizer_module,
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share_images:
            self.template = replace(self.template, mm_plugin=DistinctImages(self.template.mm_plugin))

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        if self.settings is None:
            raise ValueError("FireCollator needs the settings of the objective")
        rows = [row_of(feature) for feature in features]
        plan = make_plan(rows, self.settings)
        batch = super().__call__(
            [
                {
                    "input_ids": list(sequence.input_ids),
                    "attention_mask": [1] * len(sequence.input_ids),
                    "labels": [IGNORE_INDEX] * len(sequence.input_ids),
                    "images": list(sequence.images),
                }
                for sequence in plan.sequences
            ]
        )
        inputs = dict(batch)
        for unused in ("labels", "rope_deltas"):
            inputs.pop(unused, None)
        scoring = self._scoring(plan, features)
        if "image_index" in inputs:
            scoring["image_index"] = inputs.pop("image_index")
        if "distinct_grid_thw" in inputs:
            inputs["image_grid_thw"] = inputs.pop("distinct_grid_thw")
        inputs[SCORING] = scoring
        return inputs

    @staticmethod
    def _scoring(plan: Plan, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return {
            "sequence": torch.tensor(plan.sequence),
            "position": torch.tensor(plan.position),
            "token": torch.tensor(plan.token),
            "row": torch.tensor(plan.row),
            "cell": torch.tensor(plan.cell),
            "in_phrase": torch.tensor(plan.in_phrase),
            "has_noised": torch.tensor([len(row["noised_prompt_ids"]) > 0 for row in features]),
            "weight": torch.tensor([row["weight"] for row in features], dtype=torch.float32),
            "chosen_tokens": torch.tensor([len(row["chosen_phrase"]) for row in features]),
            "rejected_tokens": torch.tensor([len(row["rejected_phrase"]) for row in features]),
        }
