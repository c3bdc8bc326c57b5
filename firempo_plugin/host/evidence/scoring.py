"""Reward localisation, divergence and sensitivity to evidence: the rows of a training set, scored token by token."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...evaluate import localisation, sensitivity
from ...evaluate.store import Measured
from ...forward.batch import Batch
from ...forward.families import FAMILIES, SharedImageFeatures
from ...forward.masks import TreeMasks
from ...forward.score import Images, Runner, scored_logits
from ...images.pixels import Pixels
from ...objectives.losses import token_kls, token_logps
from ...objectives.settings import Settings
from ...objectives.terms import PHRASES, Cell, Objective, PreferenceTerm, prefer
from ...records import RejectedError
from .. import validate
from ..data.collator import BATCH, FireCollator
from ..data.dataset import load_all, row_encoder
from ..data.row_images import open_images
from .model import Start, known_by, load, measured, start, training_arguments

RESPONSES = prefer("responses", Cell.CLEAN_CHOSEN, Cell.CLEAN_REJECTED)
IMAGES = prefer("images", Cell.CLEAN_CHOSEN, Cell.NOISED_CHOSEN, tokens=PHRASES)
NO_REFERENCE = (
    "there is no reward: the model is its own reference. Name an adapter, or under `reference` the model that this "
    "one was trained from"
)


def localise(
    arguments: dict[str, Any], adapter: str | None, options: localisation.Options, known: Collection[str] = ()
) -> Iterator[Measured]:
    """Where the phrase tokens of every row's chosen response rank among its tokens by log pi - log ref."""

    def of_itself(row: ReadRow) -> Measured:
        return Measured(row.id, "", {}, skipped=row.problem or NO_REFERENCE)

    yield from _beside_reference(arguments, adapter, options, known, _localised, of_itself)


def diverge(
    arguments: dict[str, Any], adapter: str | None, options: localisation.Options, known: Collection[str] = ()
) -> Iterator[Measured]:
    """KL(pi || ref) over the tokens of every row's chosen response; 0 of a model that is its own reference."""

    def of_itself(row: ReadRow) -> Measured:
        return Measured(row.id, "", {} if row.problem else {"kl": 0.0}, skipped=row.problem, of=row.image)

    yield from _beside_reference(arguments, adapter, options, known, _diverged, of_itself)


def _beside_reference(
    arguments: dict[str, Any],
    adapter: str | None,
    options: localisation.Options,
    known: Collection[str],
    measure: "Callable[[ReadRow, Scorer, Runner], Measured]",
    of_itself: "Callable[[ReadRow], Measured]",
) -> Iterator[Measured]:
    """Measures rows under a model and its reference; `of_itself` where these are the same."""
    merged = bool(arguments.get("adapter_name_or_path"))
    by_switch = options.reference is None or (options.reference == arguments["model_name_or_path"] and not merged)
    with rows_of(arguments, options.dataset, options.dataset_dir, known) as rows:
        if adapter is None and by_switch:
            yield from map(of_itself, rows)
            return
        started = start(arguments)
        model = load(started, adapter)
        scorer = Scorer(model, started, RESPONSES)
        if by_switch:
            reference = Runner.of(model, model, around=model.disable_adapter)
        else:
            without = {key: value for key, value in arguments.items() if key != "adapter_name_or_path"}
            other = load(start({**without, "model_name_or_path": options.reference}), None)
            reference = Runner.of(other, other)
        for row in rows:
            yield measured(row.id, "", row.image, partial(measure, row, scorer, reference))


def _diverged(row: "ReadRow", scorer: "Scorer", reference: Runner) -> Measured:
    if row.problem:
        raise RejectedError(row.problem)
    tokens = scorer.tokens([row.encoded])
    mine = tokens.cell == Cell.CLEAN_CHOSEN
    _, kls = token_kls(*(scorer.logits(tokens, runner)[mine] for runner in (scorer.policy, reference)))
    _numbers(kls)
    detail = {"truncated": row.encoded["truncated"], "tokens": len(kls), "largest": float(kls.max())}
    return Measured(row.id, "", {"kl": float(kls.double().mean())}, detail=json.dumps(detail))


def _localised(row: "ReadRow", scorer: "Scorer", reference: Runner) -> Measured:
    if row.problem:
        raise RejectedError(row.problem)
    if not row.encoded["chosen_phrase"]:
        raise RejectedError("the chosen response has no phrase")
    tokens = scorer.tokens([row.encoded])
    rewards = scorer.logps(tokens, scorer.policy) - scorer.logps(tokens, reference)
    detail: dict[str, Any] = {"truncated": row.encoded["truncated"]}
    for side, cell in (("chosen", Cell.CLEAN_CHOSEN), ("rejected", Cell.CLEAN_REJECTED)):
        mine = tokens.cell == cell
        reward, in_phrase = rewards[mine], tokens.in_phrase[mine]
        detail[side] = {
            "phrase_rank": localisation.phrase_rank(reward, in_phrase),
            "tokens": len(reward),
            "phrase_tokens": int(in_phrase.sum()),
            "mean_reward": localisation.mean_rewards(reward, in_phrase),
        }
    rank = detail["chosen"]["phrase_rank"]
    if rank is None:
        raise RejectedError("every token of the chosen response lies in a phrase: there is nothing to rank")
    return Measured(row.id, "", {"phrase_rank": rank}, detail=json.dumps(detail))


def sense(
    arguments: dict[str, Any], adapter: str | None, options: sensitivity.Options, known: Collection[str] = ()
) -> Iterator[Measured]:
    """How much the phrases of every row's chosen response lose by noise in the region, and by noise elsewhere."""
    with rows_of(arguments, options.dataset, options.dataset_dir, known) as rows:
        started = start(arguments)
        scorer = Scorer(load(started, adapter), started, IMAGES)
        for row in rows:
            yield measured(row.id, "", row.image, partial(_sensed, row, scorer, options))


def _sensed(row: "ReadRow", scorer: "Scorer", options: sensitivity.Options) -> Measured:
    if row.problem:
        raise RejectedError(row.problem)
    if not row.encoded["rejected_images"]:
        raise RejectedError("the row has no noised image")
    if not row.encoded["chosen_phrase"]:
        raise RejectedError("the chosen response has no phrase")
    images, detail = _moved(row, options)
    control = {"rejected_images": images, "noised_prompt_ids": row.encoded["prompt_ids"]}
    tokens = scorer.tokens([row.encoded, {**row.encoded, **control}])
    logps = scorer.logps(tokens, scorer.policy)

    def phrase(number: int, cell: Cell) -> float:
        return float(logps[(tokens.row == number) & (tokens.cell == cell)].double().sum())

    found = {
        "clean": phrase(0, Cell.CLEAN_CHOSEN),
        "noised": phrase(0, Cell.NOISED_CHOSEN),
        "elsewhere": phrase(1, Cell.NOISED_CHOSEN),
    }
    detail |= {
        "log_probability": found,
        "phrase_tokens": len(row.encoded["chosen_phrase"]),
        "truncated": row.encoded["truncated"],
    }
    return Measured(row.id, "", sensitivity.drops(**found), detail=json.dumps(detail))


def _moved(row: "ReadRow", options: sensitivity.Options) -> tuple[list[Any], dict[str, Any]]:
    """The row's images with the noise elsewhere, and where.

    Raises:
        RejectedError: See `sensitivity.noise_elsewhere`.
    """
    clean, noised = open_images(row.aligned, row.media_dir)
    images: list[Any] = list(row.encoded["images"])
    places = {}
    for number, twins in enumerate(zip(clean, noised, strict=True)):
        before, after = (pixels_of(image) for image in twins)
        if np.array_equal(before, after):  # this one of the row's images is shown as it is
            continue
        found = sensitivity.noise_elsewhere(before, after, options.how, row.id, number)
        images[number] = Image.fromarray(found.image)
        places[str(number)] = {"moved": list(found.moved), "pixels": found.region}
    return images, {"places": places}


def _numbers(values: Tensor) -> Tensor:
    if not values.isfinite().all():
        raise RejectedError("the model gives it no number; its precision may be too low")
    return values


def pixels_of(image: Any) -> Pixels:
    """[H, W, 3]."""
    pixels: Pixels = np.asarray(image.convert("RGB"))
    return pixels


class ReadRow(NamedTuple):
    """A row of a data set.

    Attributes:
        id: Its place in the data.
        aligned, encoded: As training has it before and after the tokeniser.
        problem: Why training could not use it; "" where it could.
        media_dir: For messages about its images.
    """

    id: str
    aligned: dict[str, Any]
    encoded: dict[str, Any]
    problem: str
    media_dir: str

    @property
    def image(self) -> str:
        """What its first image is known by; "" where it has none."""
        for image in self.aligned["_images"]:
            place = image if isinstance(image, str) else image["bytes"] or image["path"]
            return known_by(place)
        return ""


@contextmanager
def rows_of(
    arguments: dict[str, Any], dataset: str, dataset_dir: str, known: Collection[str], *, most: int | None = None
) -> Iterator[Iterator[ReadRow]]:
    """The rows of data sets of dataset_info.json whose ids are not known, in order, read as training reads them.

    Args:
        arguments: Of the model.
        dataset: Names, with a comma between them.
        dataset_dir: The folder of dataset_info.json.
        known: Ids.
        most: So many of the rows, spread evenly over each data set, or all where there are fewer; None: all.

    Raises:
        UserError: The data set cannot be read; with the words of training.
    """
    from llamafactory.data import loader

    with TemporaryDirectory() as scratch:
        run = validate.start(training_arguments(arguments, dataset, dataset_dir), scratch)
        loaded = load_all(loader, run.data_args.dataset, run.model_args, run.data_args, run.training_args)

        counts = shared_out(most, {name: len(part) for name, part in loaded.items()})

        def rows() -> Iterator[ReadRow]:
            for name, part in loaded.items():
                encoder = row_encoder(part, run.data_args, run.template, **run.tokens)
                fewer = counts[name]
                for aligned in (part[number * len(part) // fewer] for number in range(fewer)):
                    encoded = encoder(aligned)
                    if encoded["source"] not in known:
                        yield ReadRow(encoded["source"], aligned, encoded, encoded["problem"], encoder.media_dir)

        yield rows()


def shared_out(most: int | None, there: Mapping[str, int]) -> dict[str, int]:
    """How many rows of each data set make so many, as evenly as the small ones allow; None: all of them."""
    left = sum(there.values()) if most is None else most
    counts = {}
    for behind, name in enumerate(sorted(there, key=lambda name: there[name])):
        counts[name] = min(there[name], left // (len(there) - behind))
        left -= counts[name]
    return counts


class Tokens(NamedTuple):
    """The scored tokens of rows: [M] each, and the collator's batch of which they come."""

    row: Tensor
    cell: Tensor
    in_phrase: Tensor
    batch: Batch


class Scorer:
    """log pi of the tokens of responses, as training computes it, without gradients.

    Args:
        model: Loaded, with or without an adapter.
        started: What it was loaded with.
        term: Which cells of a row are scored, and which of their tokens.
    """

    def __init__(self, model: Any, started: Start, term: PreferenceTerm) -> None:
        objective = Objective(term.name, "", (term,), "", "Fine-grained text", "")
        settings = Settings(objective, 1.0, 0.0, 0.0, 0.0, "phrase", 0.0)
        self.policy = Runner.of(model, model)
        self._device = model.device
        self._family = FAMILIES.get(model.config.model_type)
        self._tree_masks = TreeMasks.of(model)
        self._collate = FireCollator.of(model, started.template, settings, started.tokens, None)

    def tokens(self, rows: list[dict[str, Any]]) -> Tokens:
        """What is to be scored of encoded rows."""
        batch = self._collate(rows)[BATCH]
        (each,) = batch.passes
        return Tokens(each.scoring.row, each.scoring.cell, each.scoring.in_phrase, batch.to(self._device))

    def margins(self, rows: list[dict[str, Any]]) -> list[dict[Cell, float]]:
        """log pi of chosen minus that of rejected, summed over phrase tokens, of each row by the cell of chosen."""
        tokens = self.tokens(rows)
        logps = self.logps(tokens, self.policy).double()

        def phrase(row: int, cell: Cell) -> float:
            return float(logps[(tokens.row == row) & (tokens.cell == cell)].sum())

        twins = ((Cell.CLEAN_CHOSEN, Cell.CLEAN_REJECTED), (Cell.NOISED_CHOSEN, Cell.NOISED_REJECTED))
        return [
            {chosen: phrase(row, chosen) - phrase(row, rejected) for chosen, rejected in twins}
            for row in range(len(rows))
        ]

    def logps(self, tokens: Tokens, runner: Runner) -> Tensor:
        """log pi of the tokens under a model: [M] float32 on the CPU.

        Raises:
            RejectedError: One is no number, of which ranks and signs would be made all the same.
        """
        (each,) = tokens.batch.passes
        return _numbers(token_logps(self.logits(tokens, runner), each.scoring.token).cpu())

    def logits(self, tokens: Tokens, runner: Runner) -> Tensor:
        """What predicts the tokens under a model: [M, V]."""
        (each,) = tokens.batch.passes
        inputs, scoring = tokens.batch.inputs_of(each, self._tree_masks), each.scoring
        images = None
        if self._family is not None and each.image_index is not None and each.has_images:
            # Made anew for every model: an adapter may reach into the vision tower.
            features = SharedImageFeatures(self._family, frozen=True, pieces=tokens.batch.images.pieces)
            images = Images(features, each.image_index)
        with torch.no_grad():
            logits, _ = scored_logits(runner, inputs, scoring, images)
            return logits
