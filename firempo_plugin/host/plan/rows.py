"""Rows as training would draw, encode and lay them out, counted."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ...errors import UserError
from ...forward.budget import Pair
from ...forward.families import FAMILIES
from ...forward.flops import Text, Work, pass_text
from ...forward.order import GroupByImage, images_shown
from ...forward.plan import Layout, Pass, image_key, make_plan
from ...objectives.losses import HEAD_ROWS
from ..arguments import settings_of
from ..data.admission import problem_of
from ..data.by_size import by_size
from ..data.collator import WIDTH_MULTIPLE
from ..data.dataset import LEAST_VAL_SIZE, load_all, refuse_empty_split, row_encoder
from ..data.media import media_paths
from ..data.row_images import open_images
from ..data.rows import RowEncoder, row_of
from ..train.memory import largest_pair
from ..validate import Run
from .model import base_of, patch_numbers

IMAGES = ("_images", "_rejected_images")


@dataclass
class Looked:
    """What the rows that were looked at hold; sums over them.

    Attributes:
        there: Rows of the training split.
        rows: Those that were looked at and can be used; `unusable` are the others.
        cells, trees, passes, batches: How many.
        alone: Tokens of the cells, each with its prompt and its images.
        shared: Tokens of the trees.
        image_tokens, image_places: Those of them that are of images, and the images that they stand for.
        work: What policy and reference run of all passes, padding included, and the patches of the pieces of images.
        in_kl: Tokens that a KL sums over.
        largest: The largest part that must be propagated back at once.
        batch_tokens: Most tokens of a batch, padding included.
        image_files: Distinct images of all rows; those that lie inside the data count each time.
    """

    there: int
    image_files: int
    rows: int = 0
    unusable: int = 0
    cells: int = 0
    trees: int = 0
    passes: int = 0
    batches: int = 0
    alone: int = 0
    shared: int = 0
    image_tokens: int = 0
    image_places: int = 0
    work: Work = field(default_factory=Work)
    in_kl: int = 0
    largest: Pair = field(default_factory=partial(Pair, 0, 0, 0))
    batch_tokens: int = 0


def training_rows(run: Run) -> Any:
    """The aligned rows of the training split, as the host puts them together."""
    from llamafactory.data import loader

    if not run.data_args.dataset:
        raise UserError("dataset is missing")
    loaded = load_all(loader, run.data_args.dataset, run.model_args, run.data_args, run.training_args)
    rows = loader.merge_dataset(list(loaded.values()), run.data_args, run.training_args.seed)
    size = run.data_args.val_size
    refuse_empty_split(len(rows), size)
    if size > LEAST_VAL_SIZE:
        rows = rows.train_test_split(test_size=int(size) if size > 1 else size, seed=run.training_args.seed)["train"]
    return rows


def look(run: Run, model: Any, rows: Any, layout: Layout, most: int) -> Looked:
    """Encodes rows by whole batches, spread evenly over an epoch, and counts what training would run of them.

    Args:
        run: Of the configuration.
        model: Of `model.without_weights`.
        rows: Of `training_rows`.
        layout: Of the training.
        most: Rows to look at, up to whole batches.

    Raises:
        UserError: None of them can be used.
    """
    settings = settings_of(run.finetuning_args)
    encoder = row_encoder(rows, run.data_args, run.template, **run.tokens)
    found = Looked(len(rows), _image_files(rows))
    images = _Images(run, model, encoder)
    problem = ""
    for numbers in _batches(run, rows, most):
        aligned = [rows[number] for number in numbers]
        encoded = [encoder(row) for row in aligned]
        problems = [problem_of(row, settings) for row in encoded]
        usable = [n for n, why in enumerate(problems) if not why]
        problem = problem or next((f"{encoded[n]['source']}: {why}" for n, why in enumerate(problems) if why), "")
        found.unusable += len(problems) - len(usable)
        if not usable:
            continue
        plan = make_plan([row_of(encoded[n]) for n in usable], settings, layout)
        patches = images.of([(aligned[n], encoded[n]) for n in usable], plan)
        _add(found, plan, patches, images.token, settings.needs_reference)
        at_once = layout.pass_tokens is None
        pairs = map(_pair, plan) if at_once else (largest_pair(encoded[n], settings, layout) for n in usable)
        found.largest = max(found.largest, *pairs, key=lambda pair: pair.tokens)
        found.rows += len(usable)
    if not found.rows:
        raise UserError(f"no row that was looked at can be used. The first: {problem}. `firempo validate` lists all")
    return found


def _batches(run: Run, rows: Any, most: int) -> Iterator[list[int]]:
    size, seed = run.training_args.per_device_train_batch_size, run.training_args.seed
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    if run.finetuning_args.disable_shuffling:
        order = list(range(len(rows)))
    if (together := run.finetuning_args.fire_group_by_image) is not None:
        shown = images_shown(row[IMAGES[0]] for row in rows.select_columns(IMAGES[0]))
        order = list(GroupByImage(shown, together, size, seed))
    there = -(-len(rows) // size)
    count = min(there, -(-most // size))
    for number in range(count):
        start = number * there // count * size
        yield order[start : start + size]


def _pair(each: Pass) -> Pair:
    text = pass_text(each, WIDTH_MULTIPLE)
    return Pair(text.tokens, text.tokens // len(each.trees), min(text.scored, HEAD_ROWS))


def _add(found: Looked, plan: list[Pass], patches: tuple[int, ...], image_token: int, needs_reference: bool) -> None:
    text = sum((pass_text(each, WIDTH_MULTIPLE, masked=True) for each in plan), Text())
    found.work += Work(text, text if needs_reference else Text(), patches)
    found.batch_tokens = max(found.batch_tokens, text.tokens)
    found.batches += 1
    found.passes += len(plan)
    for each in plan:
        found.trees += len(each.trees)
        found.cells += len(each.cells)
        found.alone += sum(len(cell.prompt_ids) + len(cell.response_ids) for cell in each.cells)
        found.shared += sum(map(len, each.trees))
        found.image_tokens += sum(tree.input_ids.count(image_token) for tree in each.trees)
        found.image_places += sum(len(tree.images) for tree in each.trees)
        found.in_kl += sum(each.in_kl)


class _Images:
    """Says how many patches the vision tower takes of images; a processor is asked once for images of a size."""

    def __init__(self, run: Run, model: Any, encoder: RowEncoder) -> None:
        config = base_of(model).config
        self.token = config.to_dict()[FAMILIES[config.model_type].image_token]
        self._numbers = patch_numbers(model)
        self._plugin = by_size(run.template.mm_plugin, encoder.code)
        self._processor, self._media_dir = run.tokens["processor"], encoder.media_dir

    def of(self, rows: list[tuple[dict[str, Any], dict[str, Any]]], plan: list[Pass]) -> tuple[int, ...]:
        """Patches of each piece of the distinct images of a batch, of its rows as aligned and as encoded."""
        run = {image_key(image) for each in plan for tree in each.trees for image in tree.images}
        pieces: dict[Any, tuple[int, ...]] = {}
        for aligned, encoded in rows:
            opened = [image for images in open_images(aligned, self._media_dir) for image in images]
            for stored, image in zip([*encoded["images"], *encoded["rejected_images"]], opened, strict=True):
                key = image_key(stored)
                if key in run and key not in pieces:
                    pieces[key] = self._pieces(image)
        return tuple(patches for each in pieces.values() for patches in each)

    def _pieces(self, image: Any) -> tuple[int, ...]:
        """Pixels come as [patches, numbers], [pieces, patches, numbers] or [..., channels, height, width]."""
        shape = self._plugin._get_mm_inputs([image], [], [], self._processor)["pixel_values"].shape
        pieces = math.prod(shape[:-3] if len(shape) > 3 else shape[:-2])
        return (math.prod(shape) // self._numbers // pieces,) * pieces


def _image_files(rows: Any) -> int:
    """Distinct images of rows, as far as files tell them apart."""
    from pyarrow import compute

    table = rows.select_columns(list(IMAGES)).with_format("arrow")[:]
    places = sum(compute.sum(compute.list_value_length(table.column(name))).as_py() or 0 for name in IMAGES)
    files = media_paths(rows, IMAGES)
    return len(files) or places
