"""Rows -> the passes of a step in the host's layout, with the tokens to score."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from llamafactory.data.collator import MultiModalDataCollatorForSeq2Seq
from llamafactory.extras import logging
from llamafactory.extras.constants import IGNORE_INDEX
from peft import PeftModel

from ...errors import UserError
from ...forward import masks
from ...forward.batch import Batch, DistinctImages, Known, PassInputs, Scoring
from ...forward.disk import DamagedError
from ...forward.families import CROSS_ATTENDING, FAMILIES, PREFIXED, ImageFeatures, is_frozen
from ...forward.plan import Layout, Pass, image_key, make_plan
from ...forward.reference_cache import ReferenceCache
from ...forward.tree import Tree
from ...forward.vision_cache import VisionCache
from ...objectives.settings import Settings
from .rows import row_of

logger = logging.get_logger(f"llamafactory.{__name__}")

BATCH = "batch"
"""The one key of what the collator returns."""
WIDTH_MULTIPLE = 8
PER_TOKEN = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids")


@dataclass
class DistinctPlugin:
    """Stands in for a template's `mm_plugin` in the collator: each distinct image is processed once.

    The batch then has the pixels of the distinct images, but for those whose features are `known` by index,
    `image_index`, a list that says which of them each image place shows, and `image_grid_thw` of every place,
    from which the host counts positions; `distinct_grid_thw` belongs to the pixels. `keys` are the entries of
    the distinct images in the cache, of which `damaged` were found damaged. `pieces` says how many pieces of features
    each image with pixels has, where that is asked for.

    Attributes:
        plugin: The template's own.
        cache: Where features of images may be known from, or None.
        pieces: See `families.Family`.
    """

    plugin: Any
    cache: VisionCache | None = None
    pieces: str | None = None

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
        index = [places.setdefault(image_key(image), len(places)) for image in images]
        distinct = [images[index.index(number)] for number in range(len(places))]
        keys = [self.cache.key(image) for image in distinct] if self.cache else []
        known, damaged = self._look_up(keys)
        unknown = [n for n in range(len(distinct)) if n not in known]
        shown = [distinct[n] for n in unknown]
        plugin, pieces = self.plugin, None
        if self.pieces is not None:
            plugin, pieces = keeping_counts(self.plugin, self.pieces)
        inputs: dict[str, Any] = plugin.get_mm_inputs(
            shown, videos, audios, [len(unknown)], vidlens, audlens, batch_ids, processor
        )
        if pieces is not None:
            inputs["pieces"] = pieces
        if index:
            inputs["image_index"] = index
            inputs["keys"] = keys
            inputs["damaged"] = damaged
            inputs["known"] = {n: features for n, (features, _) in known.items()}
        own_grids = inputs.get("image_grid_thw", ())
        grids = {n: grid for n, (_, grid) in known.items()} | dict(zip(unknown, own_grids, strict=False))
        if any(grid is not None for grid in grids.values()):
            inputs["distinct_grid_thw"] = torch.stack([grids[n] for n in unknown or [0]])
            inputs["image_grid_thw"] = torch.stack([grids[n] for n in index])
        return inputs

    def _look_up(self, keys: list[str]) -> tuple[dict[int, tuple[ImageFeatures, torch.Tensor | None]], int]:
        """The entries that are known, by index, and how many are damaged."""
        known, damaged = {}, 0
        for number, key in enumerate(keys):
            try:
                entry = self.cache.load(key) if self.cache else None
            except DamagedError:
                damaged += 1
                continue
            if entry is not None:
                known[number] = entry
        return known, damaged


def keeping_counts(plugin: Any, name: str) -> tuple[Any, list[int]]:
    """A plug-in like another, and what it is to count of each image under a name that it keeps from the model."""
    counts: list[int] = []
    keeping = copy.copy(plugin)

    def prepare(*args: Any) -> Any:
        prepared = plugin._get_mm_inputs(*args)
        counts.extend(int(count) for count in prepared.get(name, ()))
        return prepared

    keeping._get_mm_inputs = prepare
    return keeping, counts


@dataclass
class FireCollator(MultiModalDataCollatorForSeq2Seq):
    """Collates encoded rows into the passes of a step.

    A batch comes as {`BATCH`: `forward.batch.Batch`}, since the host's loop wants a dict.

    Attributes:
        settings: The objective; it says which cells are needed.
        layout: How the model's sequences may be laid out.
        share_images: Whether the model's family can take distinct images.
        pieces: See `families.Family`.
        reference_cache: Where a pass looks up what the reference says, or None.
        vision_cache: Where the features of images are looked up, or None.
    """

    tokenizer: Any
    template: Any = None
    settings: Settings | None = None
    layout: Layout = field(default_factory=Layout)
    share_images: bool = False
    pieces: str | None = None
    reference_cache: ReferenceCache | None = None
    vision_cache: VisionCache | None = None

    @classmethod
    def of(
        cls,
        model: Any,
        template: Any,
        settings: Settings,
        tokenizer_module: dict[str, Any],
        pass_tokens: int | None,
        reference_cache: ReferenceCache | None = None,
        vision_cache: VisionCache | None = None,
    ) -> "FireCollator":
        """The collator for a loaded model; says in the log what cannot be shared, and why.

        Args:
            model: The policy.
            template, tokenizer_module: The host's.
            settings: The objective.
            pass_tokens: Most tokens of a pass; None for one pass.
            reference_cache, vision_cache: What may be looked up instead of run.
        """
        base = model.get_base_model() if isinstance(model, PeftModel) else model
        family = FAMILIES.get(base.config.model_type)
        obstacle = obstacle_to_trees(base)
        if obstacle:
            logger.info_rank0(f"Every response is run as a sequence of its own: {obstacle}.")
        return cls(
            template=template,
            model=model,
            settings=settings,
            pad_to_multiple_of=WIDTH_MULTIPLE,
            layout=layout_of(base, pass_tokens),
            share_images=family is not None,
            pieces=family.pieces if family else None,
            reference_cache=reference_cache,
            vision_cache=vision_cache,
            **tokenizer_module,
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokenizer.padding_side != "right":  # places in a tree are counted from its start
            self.tokenizer = copy.copy(self.tokenizer)
            self.tokenizer.padding_side = "right"
        plugin = self.template.mm_plugin
        if plugin.audio_token is not None:  # no row has audio, and the host would add silence to every batch
            plugin = replace(plugin, audio_token=None)
        if self.share_images:
            plugin = DistinctPlugin(plugin, self.vision_cache, self.pieces)
        self.template = replace(self.template, mm_plugin=plugin)

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Batch]:
        if self.settings is None:
            raise UserError("FireCollator needs the settings of the objective")
        plan = make_plan([row_of(feature) for feature in features], self.settings, self.layout)
        trees = [tree for each in plan for tree in each.trees]
        if self.layout.by_images:
            images = DistinctImages()
            passes = [self._on_its_own(each, len(features)) for each in plan]
        else:
            inputs, given = self._collate(trees)
            index = given.pop("image_index", None)
            images = self._images(given, any(tree.images for tree in trees))
            passes = list(self._passes(plan, inputs, index, images, len(features)))
        batch = Batch(
            passes=passes,
            images=images,
            has_noised=torch.tensor([len(row["noised_prompt_ids"]) > 0 for row in features]),
            weight=torch.tensor([row["weight"] for row in features], dtype=torch.float32),
            chosen_tokens=torch.tensor([len(row["chosen_phrase"]) for row in features]),
            rejected_tokens=torch.tensor([len(row["rejected_phrase"]) for row in features]),
            sources=[row["source"] for row in features],
            tokens=sum(each.inputs["input_ids"].numel() for each in passes),
            own_tokens=sum(map(len, trees)),
        )
        return {BATCH: batch}

    def _images(self, given: dict[str, Any], any_image: bool) -> DistinctImages:
        """The images that `DistinctPlugin` gives, without what only the host's batch needs."""
        if "distinct_grid_thw" in given:
            given["image_grid_thw"] = given.pop("distinct_grid_thw")
        images = DistinctImages(
            keys=given.pop("keys", []),
            features=given.pop("known", {}),
            damaged=given.pop("damaged", 0),
            pieces=given.pop("pieces", None),
            inputs=given,
        )
        if images.features:
            given.setdefault("pixel_values", torch.empty(1))  # so that the model asks for image features
        if self.layout.pass_tokens is not None and not any_image:
            # The host adds an image to a batch without any, for the sake of sharded models only.
            return DistinctImages()
        return images

    def _collate(self, trees: Sequence[Tree]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the host makes of trees: the model's inputs that are one of each token, and those of images."""
        inputs = dict(super().__call__([self._as_feature(tree) for tree in trees]))
        for unused in ("labels", "rope_deltas"):
            inputs.pop(unused, None)
        images = {name: inputs.pop(name) for name in list(inputs) if name not in PER_TOKEN}
        if self.model.dtype == torch.float32 and "pixel_values" in images:  # Llama 4's processor gives bfloat16
            images["pixel_values"] = images["pixel_values"].float()
        if self.model.config.model_type in PREFIXED:  # the host counts the image that it adds to a batch as leading
            inputs["token_type_ids"] = (inputs["input_ids"] != self.model.config.image_token_id).long()
        if "mm_token_type_ids" in inputs:  # which the host leaves as wide as the longest sequence
            kinds, width = inputs["mm_token_type_ids"], inputs["input_ids"].shape[1]
            inputs["mm_token_type_ids"] = torch.nn.functional.pad(kinds, (0, width - kinds.shape[1]))
        return inputs, images

    def _on_its_own(self, each: Pass, rows: int) -> PassInputs:
        """A pass whose images no other pass has, for a model that attends to their states."""
        inputs, images = self._collate(each.trees)
        if not each.trees[0].images:
            images = self._nothing_to_attend_to(inputs["input_ids"].shape)
        (piece,) = self._passes([each], inputs, None, DistinctImages(), rows)
        piece.inputs |= images
        return piece

    def _nothing_to_attend_to(self, shape: torch.Size) -> dict[str, torch.Tensor]:
        """States of zero, which add nothing to any token: the numbers of a text alone, in every layer's graph.

        The host's image for batches without any would be seen by all tokens.
        """
        core = self.model.base_model
        patches = core.vision_model.num_patches
        width = core.config.text_config.hidden_size
        return {
            "cross_attention_states": torch.zeros(shape[0], patches, width, dtype=core.dtype),
            "cross_attention_mask": torch.zeros(*shape, 1, 1, dtype=torch.int64),
        }

    @staticmethod
    def _as_feature(tree: Tree) -> dict[str, Any]:
        return {
            "input_ids": list(tree.input_ids),
            "attention_mask": [1] * len(tree),
            "labels": [IGNORE_INDEX] * len(tree),
            "images": list(tree.images),
        }

    def _passes(
        self,
        plan: list[Pass],
        inputs: dict[str, torch.Tensor],
        index: list[int] | None,
        images: DistinctImages,
        rows: int,
    ) -> Iterator[PassInputs]:
        """Cuts the host's padded batch of all trees into the passes."""
        first_tree, first_image = 0, 0
        for each in plan:
            last_tree = first_tree + len(each.trees)
            width = inputs["input_ids"].shape[1]
            if self.layout.pass_tokens is not None:
                width = -(-max(len(tree) for tree in each.trees) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE
            mine = {name: values[..., first_tree:last_tree, :width] for name, values in inputs.items()}
            end = None
            if self.layout.image_tokens is not None:
                mine["position_ids"] = _positions(each.trees, mine.get("position_ids"), width)
                if not all(tree.is_chain for tree in each.trees):
                    end = torch.stack([_padded(tree.end, range(1, width + 1)) for tree in each.trees])
            places = sum(len(tree.images) for tree in each.trees) if images.inputs else 0
            shown = index
            if index is not None and len(plan) > 1:
                shown = index[first_image : first_image + places]
            yield PassInputs(
                inputs=mine,
                scoring=_scoring(each, rows),
                has_images=places > 0 or (bool(images.inputs) and len(plan) == 1),
                image_index=shown if images.inputs else None,
                end=end,
                known=self._known(each),
            )
            first_tree, first_image = last_tree, first_image + places

    def _known(self, each: Pass) -> Known | None:
        """What the cache of the reference knows of a pass."""
        if self.reference_cache is None:
            return None
        entries = [self.reference_cache.entry(cell) for cell in each.cells]
        return Known(entries, *self.reference_cache.load(entries))


def layout_of(model: Any, pass_tokens: int | None) -> Layout:
    """How the sequences of a model without its adapter's wrapper may be laid out.

    Args:
        model: Its weights may be on any device, meta included.
        pass_tokens: Most tokens of a pass; None for one pass.
    """
    family = FAMILIES.get(model.config.model_type)
    by_images = model.config.model_type in CROSS_ATTENDING
    split = by_images or (family is not None and is_frozen(family, model.base_model))
    trees = family is not None and not obstacle_to_trees(model)
    return Layout(
        image_tokens=(model.config.to_dict()[family.image_token],) if family is not None and trees else None,
        pass_tokens=pass_tokens if split else None,
        by_images=by_images,
    )


def obstacle_to_trees(model: Any) -> str:
    """Why a model cannot run token trees; empty where it can."""
    if model.config.model_type not in FAMILIES:
        return f"{model.config.model_type} is not among {', '.join(FAMILIES)}"
    return masks.obstacle(model.config.get_text_config())


def _scoring(each: Pass, rows: int) -> Scoring:
    terms = torch.zeros(len(each.terms), rows, dtype=torch.bool)
    for term, chosen_rows in enumerate(each.terms):
        terms[term, chosen_rows] = True
    columns = {
        name: torch.tensor(getattr(each, name)) for name in ("tree", "position", "token", "row", "cell", "weight")
    }
    kl = torch.tensor([place for place, summed in enumerate(each.in_kl) if summed], dtype=torch.int64)
    return Scoring(**columns, in_phrase=torch.tensor(each.in_phrase), kl=kl, terms=terms)


def _padded(values: Sequence[int], padding: Sequence[int]) -> torch.Tensor:
    return torch.tensor([*values, *padding[len(values) :]])


def _positions(trees: Sequence[Tree], counted: torch.Tensor | None, width: int) -> torch.Tensor:
    """The position that every token has in its own sequences.

    Args:
        trees: The trees of a pass.
        counted: [..., N, T] positions as the model counts them of the laid-out trees, right up to the first
            token after the images; None for a model that counts tokens.
        width: T.
    """
    depth = torch.stack([_padded(tree.depth, range(width)) for tree in trees])
    if counted is None:
        return depth
    positions = counted.clone()
    for number, tree in enumerate(trees):
        start = tree.text_from
        if start < len(tree):
            here = positions[..., number, start : len(tree)]
            here.copy_(counted[..., number, start : start + 1] + depth[number, start : len(tree)] - start)
    return positions
