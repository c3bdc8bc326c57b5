"""Grounding: attention to the image under a question and under a generic prompt, against annotated regions."""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from functools import lru_cache, partial
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ...chat_templates import IMAGE, lead
from ...errors import UserError
from ...evaluate import grounding
from ...evaluate.attention import GRIDS, TokenGrid, last_row_attention, token_grid
from ...evaluate.grounding import FORMS, Options
from ...evaluate.store import Measured
from ...forward.families import FAMILIES, SharedImageFeatures
from ...images.masks import Mask, box_mask, read_mask
from ...images.pixels import decode
from ...records import RejectedError
from ...sources.files import as_rows, not_empty, read_json_rows, read_jsonl
from .model import known_by, load, measured, start

Record = dict[str, Any]
IMAGES_KEPT = 256
"""Images whose attention under the generic prompt is kept for the next question on them."""
OVERHANG = 1.0
"""Pixels by which a box may reach beyond its image; further out, it is likely written in another form."""


def look(
    arguments: dict[str, Any], adapter: str | None, options: Options, known: Collection[str] = ()
) -> Iterator[Measured]:
    """Attention ratio, KL and JS of every record whose id is not known.

    Raises:
        UserError: The records cannot be read, or the model is of no supported family.
    """
    due = [record for record in read_records(options) if record[0] not in known]
    gaze = Gaze(arguments, adapter, options)

    def item(identity: str, record: Record) -> Measured:
        kind = str(record.get("kind", ""))
        image = known_by(record["image"]) if isinstance(record.get("image"), str) else ""
        return measured(identity, kind, image, partial(gaze.item, identity, kind, record))

    return starmap(item, due)


def read_records(options: Options) -> list[tuple[str, Record]]:
    """The records with their ids; paths are made absolute.

    Raises:
        UserError: The file is none of records, an id is there twice, or a record with boxes has no box form.
    """
    if isinstance(options.records, str):
        file = Path(options.records)
        rows = list(read_jsonl(file)) if file.suffix == ".jsonl" else read_json_rows(file)
        name, folder = file.name, Path(options.folder) if options.folder else file.parent
    else:
        rows = not_empty(as_rows(options.records, "records"), Path("records"))
        name, folder = "records", Path(options.folder)
    records = []
    for number, row in enumerate(rows):
        form = row.get("box_form", options.box_form)
        if row.get("boxes") and form not in FORMS:
            raise UserError(
                f"{name}, row {number}: its boxes are written in the form {form!r}; say in the record or in the "
                f"options which one it is, as `box_form`: {' or '.join(FORMS)}"
            )
        paths = {key: str(folder / row[key]) for key in ("image", "mask") if isinstance(row.get(key), str)}
        records.append((str(row.get("id", f"{name}, row {number}")), {**row, **paths, "box_form": form}))
    identity, count = Counter(identity for identity, _ in records).most_common(1)[0]
    if count > 1:
        raise UserError(f"{name}: the id {identity!r} is there {count} times; ids must differ")
    return records


class Gaze:
    """A model's attention to images.

    Args:
        arguments, adapter: Of the model.
        options: Of the measure.

    Raises:
        UserError: The model has no image tokens on a known grid, or lacks a layer of the options.
    """

    def __init__(self, arguments: dict[str, Any], adapter: str | None, options: Options) -> None:
        from llamafactory.data.collator import MultiModalDataCollatorForSeq2Seq

        started = start(arguments)
        self._template, self._tokens = started.template, started.tokens
        self._template_name = str(arguments.get("template", ""))
        self._model = load(started, adapter)
        self._options = options
        self._config = self._model.config
        if self._config.model_type not in GRIDS:
            raise UserError(f"grounding knows the families {', '.join(GRIDS)}; the model is {self._config.model_type}")
        count = self._config.get_text_config().num_hidden_layers
        self._layers = options.layers or tuple(range(count))
        if max(self._layers) >= count:
            raise UserError(f"layers: the model has {count}, numbered from 0; found {max(self._layers)}")
        self._collate = MultiModalDataCollatorForSeq2Seq(template=started.template, model=self._model, **started.tokens)
        self._image = lru_cache(maxsize=1)(_open)
        self._features = lru_cache(maxsize=1)(self._new_features)
        self._generic = lru_cache(maxsize=IMAGES_KEPT)(lambda path: self._attention(options.generic_prompt, path)[0])

    def item(self, identity: str, kind: str, record: Record) -> Measured:
        """The measures of a record.

        Raises:
            RejectedError: It cannot be measured.
        """
        for key in ("image", "question"):
            if not isinstance(record.get(key), str) or not record[key].strip():
                raise RejectedError(f"the record has no {key}")
        region = region_of(record, self._image(record["image"]))
        question, grid = self._attention(record["question"], record["image"])
        mask = grounding.token_mask(
            torch.from_numpy(region), (grid.rows, grid.columns), grid.window, self._options.coverage
        )
        if not mask.any() or mask.all():
            what = "no image token" if not mask.any() else "every image token"
            raise RejectedError(f"the region takes {what}: {int(mask.sum())} of {mask.numel()}")
        ratio = grounding.ratio_map(question, self._generic(record["image"]), self._options.epsilon)
        found = grounding.all_measures(ratio[list(self._layers)], mask, self._options.epsilon)
        if not all(values.isfinite().all() for values in found.values()):
            raise RejectedError("attention to the image is zero, or not a number, in some layer")
        detail = {
            "grid": [grid.rows, grid.columns],
            "pixels": list(grid.size),
            "tokens_in_region": int(mask.sum()),
            "pixels_in_region": round(float(region.mean()), 6),
            "layers": list(self._layers),
            **{metric: [round(value, 6) for value in values.tolist()] for metric, values in found.items()},
        }
        values = {metric: float(values.mean()) for metric, values in found.items()}
        return Measured(identity, kind, values, detail=json.dumps(detail))

    def _attention(self, prompt: str, path: str) -> tuple[torch.Tensor, TokenGrid]:
        """Attention of the last prompt position [layers, image tokens], and where these lie on the image."""
        from llamafactory.extras.constants import IGNORE_INDEX

        image = self._image(path)
        text = f"{prompt} {self._options.prompt_suffix}" if self._options.prompt_suffix else prompt
        ids = self._prompt_ids(text, image)
        feature = {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [IGNORE_INDEX] * len(ids)}
        inputs = dict(self._collate([{**feature, "images": [image]}]))
        for unused in ("labels", "rope_deltas"):
            inputs.pop(unused, None)
        inputs = {name: value.to(self._model.device) for name, value in inputs.items()}
        grid = token_grid(self._config, inputs, self._tokens["processor"].image_processor, self._given(image))
        return last_row_attention(self._model, inputs, self._features(path)), grid

    def _new_features(self, path: str) -> SharedImageFeatures:
        """The features of an image, computed when the first prompt on it is run; nothing is in training here."""
        return SharedImageFeatures(FAMILIES[self._config.model_type], frozen=True)

    def _prompt_ids(self, text: str, image: Any) -> list[int]:
        """A prompt as `responder.ChatEngine` writes it.

        Raises:
            RejectedError: The question stands for more images than one.
        """
        content = text if IMAGE in text else lead(1, self._template_name) + text
        if content.count(IMAGE) != 1:
            raise RejectedError(f"the question has {content.count(IMAGE)} {IMAGE} places")
        plugin, tokenizer, processor = self._template.mm_plugin, self._tokens["tokenizer"], self._tokens["processor"]
        messages = plugin.process_messages([{"role": "user", "content": content}], [image], [], [], processor)
        messages = [*messages, {"role": "assistant", "content": ""}]
        prompt, _ = self._template.encode_oneturn(tokenizer, messages, None, None)
        prompt, _ = plugin.process_token_ids(prompt, None, [image], [], [], tokenizer, processor)
        return list(prompt)

    def _given(self, image: Any) -> tuple[int, int]:
        """Width and height with which the host hands an image to the image processor."""
        processor = self._tokens["processor"]
        limits = {key: vars(processor)[key] for key in ("image_max_pixels", "image_min_pixels")}
        (given,) = self._template.mm_plugin._regularize_images([image], **limits)["images"]
        return int(given.width), int(given.height)


def _open(path: str) -> Any:
    return Image.fromarray(decode(path)).convert("RGB")


def region_of(record: Record, image: Any) -> Mask:
    """The annotated region of a record in its image's pixels, [H, W].

    Raises:
        RejectedError: The record has none, or one that does not fit the image.
    """
    shape = (image.height, image.width)
    boxes = record.get("boxes")
    if boxes and record.get("mask"):
        raise RejectedError("the record has boxes and a mask; one of them is meant")
    if boxes:
        return _boxes(boxes, record["box_form"], shape)
    if not record.get("mask"):
        raise RejectedError("the record has neither boxes nor a mask")
    mask: NDArray[np.bool_] = read_mask(record["mask"], shape)
    if not mask.any():
        raise RejectedError("the mask is empty")
    return mask


def _boxes(boxes: Any, form: str, shape: tuple[int, int]) -> Mask:
    height, width = shape
    try:
        corners = [grounding.corners(box, form) for box in boxes]
    except (TypeError, ValueError) as error:
        raise RejectedError(f"boxes cannot be read: {error}") from error
    for x0, y0, x1, y1 in corners:
        if min(x0, y0) < -OVERHANG or x1 > width + OVERHANG or y1 > height + OVERHANG:
            raise RejectedError(
                f"a box reaches beyond the image: {(x0, y0, x1, y1)} in {width} x {height} pixels, read as {form}"
            )
    return box_mask(corners, shape)
