"""What a run keeps on disk between epochs and runs: when it may, under which key, and how much it saved."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from llamafactory.extras import logging
from transformers import PreTrainedConfig

from ...errors import UserError
from ...forward.batch import DistinctImages, Known
from ...forward.disk import Vectors, weights_digest
from ...forward.families import FAMILIES, Family, ImageFeatures, is_frozen
from ...forward.reference_cache import ReferenceCache, ReferenceScores
from ...forward.score import Runner
from ...forward.vision_cache import FeatureKind, VisionCache
from ...objectives.settings import Settings

logger = logging.get_logger(f"llamafactory.{__name__}")

FOLDERS = ("fire_reference_cache", "fire_vision_cache")
GIGABYTE = 10**9


def check_caches(training_args: Any, finetuning_args: Any, settings: Settings) -> None:
    """Refuses caches whose entries could not be used or written, before a model is loaded.

    Raises:
        UserError: Says what stands against it.
    """
    refuse_caches(training_args, finetuning_args, settings)
    for key in FOLDERS:
        if (folder := vars(finetuning_args)[key]) is not None:
            _check_folder(key, folder)


def refuse_caches(training_args: Any, finetuning_args: Any, settings: Settings) -> None:
    """Refuses caches whose entries could not be used; writes nothing.

    Raises:
        UserError: Says what stands against it.
    """
    own = finetuning_args.finetuning_type != "lora" or finetuning_args.ref_model is not None
    separate = own and settings.needs_reference
    own_reference = "a reference of its own (ref_model, or a finetuning_type other than lora)"
    obstacles = {
        "deepspeed, whose processes must all run the same": (FOLDERS, bool(training_args.deepspeed)),
        "fsdp, whose processes must all run the same": (FOLDERS, bool(training_args.fsdp)),
        f"fire_objective: {settings.objective.name}, which has no reference": (
            FOLDERS[:1],
            not settings.needs_reference,
        ),
        f"{own_reference}, whose output layer the KL needs": (FOLDERS[:1], separate and settings.needs_kl),
        f"{own_reference}, whose vision tower would run all the same": (FOLDERS[1:], separate),
    }
    for key in FOLDERS:
        if vars(finetuning_args)[key] is None:
            continue
        for obstacle, (concerned, found) in obstacles.items():
            if found and key in concerned:
                raise UserError(f"{key} cannot be used with {obstacle}. Remove {key}.")


def _check_folder(key: str, folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{key}: nothing can be written to {folder}: {error.strerror}. Name another folder.") from error


class Caches:
    """The caches of a run, and how often they knew.

    Attributes:
        reference: What the frozen reference says, or None.
        vision: The features of images, or None.
        counts: Of passes and images, by "known" and "run".
        damaged: Entries that were found damaged, by cache.
    """

    def __init__(self, reference: ReferenceCache | None = None, vision: VisionCache | None = None) -> None:
        self.reference = reference
        self.vision = vision
        self.counts = {"passes": Counter[str](), "images": Counter[str]()}
        self.damaged = Counter[str]()
        self._unwritable: set[str] = set()

    @classmethod
    def of(
        cls,
        model: Any,
        ref_model: Any,
        settings: Settings,
        training_args: Any,
        finetuning_args: Any,
        images: dict[str, Any],
    ) -> "Caches":
        """The caches that the run wants.

        Args:
            model: The policy, whose frozen weights are the reference unless there is a separate one.
            ref_model: The separate reference, or None.
            settings: The objective.
            training_args, finetuning_args: The host's.
            images: `processor.image_settings` of this run.

        Raises:
            UserError: The output layer or the vision tower is in training, and its cache wanted.
        """
        runner = Runner.of(model, model)
        vectors = Vectors(model.config.get_text_config().hidden_size, _kinds(model, training_args))
        reference, vision = None, None
        if finetuning_args.fire_reference_cache is not None:
            if settings.needs_kl and any(weight.requires_grad for weight in runner.head.parameters()):
                raise UserError(
                    "fire_reference_cache cannot be used while the output layer is in training, since the KL needs it "
                    "as it was. Remove fire_reference_cache, or train without the output layer."
                )
            reference_model, trained = (model, _trained(model)) if ref_model is None else (ref_model, set[str]())
            digest = reference_digest(reference_model, training_args, images, trained)
            folder = Path(os.path.abspath(finetuning_args.fire_reference_cache))
            reference = ReferenceCache(folder, digest, vectors)
        if finetuning_args.fire_vision_cache is not None:
            family = FAMILIES.get(model.config.model_type)
            if family is None or not is_frozen(family, runner.core):
                raise UserError(
                    "fire_vision_cache needs a frozen vision tower of a known family "
                    f"({', '.join(FAMILIES)}), and this one is {'not' if family is None else 'in training'}. "
                    "Remove fire_vision_cache."
                )
            digest = tower_digest(model, training_args, images, family.vision)
            folder = Path(os.path.abspath(finetuning_args.fire_vision_cache))
            most_bytes = int(finetuning_args.fire_vision_cache_gb * GIGABYTE)
            vision = VisionCache(folder, digest, most_bytes, _feature_kind(model.config, family, vectors))
        return cls(reference, vision)

    def keep_reference(self, known: Known, scores: ReferenceScores) -> None:
        """Counts a pass of the collator, and keeps what the reference said unless that was known."""
        self.counts["passes"].update(["known" if known.scores else "run"])
        self.damaged["fire_reference_cache"] += known.damaged
        if self.reference is not None and not known.scores:
            self._write("fire_reference_cache", partial(self.reference.save, known.entries, scores))

    def keep_images(self, images: DistinctImages, computed: dict[int, ImageFeatures]) -> None:
        """Counts the distinct images of a batch, and keeps the features that were computed for it."""
        self.counts["images"].update({"known": len(images.keys) - len(computed), "run": len(computed)})
        self.damaged["fire_vision_cache"] += images.damaged
        grids = images.inputs.get("image_grid_thw")
        if self.vision is None:
            return
        for place, (number, features) in enumerate(computed.items()):
            grid = None if grids is None else grids[place]
            self._write("fire_vision_cache", partial(self.vision.save, images.keys[number], features, grid))

    def _write(self, key: str, save: Callable[[], None]) -> None:
        """Writes while that is possible; a folder that can no longer be written does not end a run."""
        if key in self._unwritable:
            return
        try:
            save()
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            return  # something else lies at this one entry's place, and was counted when it was looked up
        except OSError as error:
            self._unwritable.add(key)
            logger.warning(f"{key}: nothing more is written: {error}")

    def report(self) -> list[str]:
        """What the caches saved, a line each."""
        lines = []
        if self.reference is not None:
            passes = self.counts["passes"]
            lines.append(f"fire_reference_cache: {passes['known']} of {passes.total()} passes skipped the reference")
        if self.vision is not None:
            images, size = self.counts["images"], self.vision.bytes / GIGABYTE
            full = ", which is its limit: raise fire_vision_cache_gb for more" if self.vision.is_full else ""
            lines.append(
                f"fire_vision_cache: {images['known']} of {images.total()} images skipped the vision tower; "
                f"it holds {size:.2f} GB{full}"
            )
        lines += [
            f"{key}: {count} times what lay at an entry's place was damaged or no file of the cache, and was not used"
            for key, count in self.damaged.items()
            if count
        ]
        return lines


def _kinds(model: Any, training_args: Any) -> frozenset[torch.dtype]:
    """The types that a model's states may have: those of its weights, and that of autocast."""
    own = {weight.dtype for weight in model.parameters() if weight.is_floating_point()}
    autocast = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return frozenset(own | {kind for key, kind in autocast.items() if vars(training_args)[key]})


def _feature_kind(config: Any, family: Family, vectors: Vectors) -> FeatureKind:
    facts = config.vision_config.to_dict()
    merge = facts.get("spatial_merge_size")
    layers = len(facts["deepstack_visual_indexes"]) if family.deepstack else 0
    return FeatureKind(vectors, layers, None if merge is None else merge**2)


def _trained(model: Any) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def reference_digest(model: Any, training_args: Any, images: dict[str, Any], trained: set[str]) -> str:
    """Digest of all that the frozen reference's numbers depend on, but for tokens and images.

    Args:
        model: The reference, or the policy whose other weights it is.
        training_args: The host's.
        images: `processor.image_settings`.
        trained: Names of the weights that are not the reference's.
    """
    weights = ((name, weight) for name, weight in model.state_dict().items() if name not in trained)
    return _digest(model.config, training_args, images, weights)


def tower_digest(model: Any, training_args: Any, images: dict[str, Any], parts: tuple[str, ...]) -> str:
    """Digest of all that the features of an image depend on, but for the image: nothing of the language model.

    Args:
        model, training_args, images: See `reference_digest`.
        parts: Names of the submodules that make the features.
    """
    named = model.state_dict().items()
    weights = ((name, weight) for name, weight in named if any(f".{part}." in f"{name}." for part in parts))
    return _digest(model.config, training_args, images, weights, without=("text_config",))


def _digest(
    config: Any,
    training_args: Any,
    images: dict[str, Any],
    weights: Iterable[tuple[str, torch.Tensor]],
    without: tuple[str, ...] = (),
) -> str:
    """Of weights, image settings, precision and versions, and of a configuration without its name and some parts."""
    parts = {
        "weights": weights_digest(weights),
        "config": {key: value for key, value in config.to_dict().items() if key not in ("_name_or_path", *without)},
        "attention": _attention(config, without),
        "images": images,
        "precision": [vars(training_args)[key] for key in ("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "tf32")],
        "device": training_args.device.type,
        "versions": [version(name) for name in ("torch", "transformers", "pillow", "torchvision")],
    }
    return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()


def _attention(config: Any, without: tuple[str, ...]) -> dict[str, str]:
    """How a model and its parts attend, which their settings as JSON leave out."""
    inner = {name: part for name, part in vars(config).items() if isinstance(part, PreTrainedConfig)}
    return {name: part._attn_implementation for name, part in {"": config, **inner}.items() if name not in without}
