"""`firempo check-noise`: what the noise of a training set hides from the model that is to be trained on it."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from ...errors import UserError
from ...evaluate.hiding import TRIALS, WHOLE, Hiding, Summary, grown, told
from ...evaluate.sensitivity import noise_elsewhere, region_of
from ...files import refuse_unwritable, write_text
from ...images.corruptions import Corruption
from ...images.noise import corrupt, seed_of
from ...objectives.terms import PHRASES, Cell, PreferenceTerm, Side, prefer
from ...records import RejectedError
from ...store.progress import progress
from ...terminal import say
from ..data.row_images import open_images
from ..validate import open_config, quiet_host
from .model import load, start
from .scoring import ReadRow, Scorer, pixels_of, rows_of

OF_DATA = ("template", "cutoff_len", "max_samples", "media_dir", "default_system", "enable_thinking", "tool_format")
"""The host's keys of a training YAML, besides those of the model, that decide what the model is asked."""
OWN = PreferenceTerm(
    "hiding",
    tuple(
        Side(sign, (cell,))
        for sign, cell in zip(
            (1.0, -1.0, 1.0, -1.0),
            (Cell.CLEAN_CHOSEN, Cell.CLEAN_REJECTED, Cell.NOISED_CHOSEN, Cell.NOISED_REJECTED),
            strict=True,
        )
    ),
    PHRASES,
)
OTHER = prefer("other noise", Cell.NOISED_CHOSEN, Cell.NOISED_REJECTED, tokens=PHRASES)


def check_noise(target: str, overrides: list[str], most: int, sigma: float, listing: Path | None) -> int:
    """Looks at rows of a training set under the model of a training YAML, and says what their noise hides.

    Args:
        target, overrides: As `validate.validate` takes them; a model must be named.
        most: Rows to look at, spread evenly over the data.
        sigma: Of the build's noise.
        listing: Where to list the rows, as JSON lines; None: nowhere.

    Returns:
        0.

    Raises:
        UserError: The configuration, the model or the data cannot be read, or the list not be written.
    """
    if listing is not None:
        refuse_unwritable(listing)
    with TemporaryDirectory() as scratch, quiet_host():
        config, builtin = open_config(target, overrides, Path(scratch))
        if builtin or not config.get("model_name_or_path"):
            raise UserError("no model is named: write model_name_or_path=... and template=... behind the data set")
        if not config.get("dataset"):
            raise UserError(f"{target}: dataset is missing")
        skipped: Counter[str] = Counter()
        found = list(_look(config, most, Corruption("noise", sigma), skipped))
    try:
        say(*told(Summary(found, sigma, skipped)))
    finally:  # neither is lost with the other: to a closed pipe, to a full disk
        if listing is not None:
            write_text(listing, "".join(json.dumps(row.as_line()) + "\n" for row in found))
    return 0


def _look(config: dict[str, Any], most: int, noise: Corruption, skipped: Counter[str]) -> Iterator[Hiding]:
    """The rows that can be looked at; the reasons of the others are counted."""
    from llamafactory.hparams import ModelArguments

    kept = {*(field.name for field in fields(ModelArguments)), *OF_DATA}
    arguments = {key: value for key, value in config.items() if key in kept}
    with (
        rows_of(arguments, config["dataset"], config.get("dataset_dir", "data"), (), most=most) as rows,
        progress("check-noise, at most", most) as tick,
    ):
        started = start(arguments)
        model = load(started, None)
        own, other = Scorer(model, started, OWN), Scorer(model, started, OTHER)
        for row in rows:
            tick(1)
            try:
                yield _hiding(row, own, other, noise)
            except RejectedError as reason:
                skipped[str(reason).partition(":")[0]] += 1


def _hiding(row: ReadRow, own: Scorer, other: Scorer, noise: Corruption) -> Hiding:
    """Raises RejectedError for a row that cannot be looked at."""
    encoded = row.encoded
    if row.problem:
        raise RejectedError("training could not use it; see `firempo validate`")
    if not encoded["rejected_images"]:
        raise RejectedError("it has no noised image")
    if not (encoded["chosen_phrase"] and encoded["rejected_phrase"]):
        raise RejectedError("one of its responses has no phrase of its own")
    margins = own.margins([encoded])[0]
    clean, noised = ([pixels_of(image) for image in images] for images in open_images(row.aligned, row.media_dir))
    differing = [n for n in range(len(clean)) if not np.array_equal(clean[n], noised[n])]
    regions = {n: region_of(clean[n], noised[n]) for n in differing}
    if not regions:
        raise RejectedError("its noised images are its images")
    share = max(float(region.mean()) for region in regions.values())
    others, why_not = [_with(encoded, {n: np.zeros_like(image) for n, image in enumerate(clean)})], ""
    try:
        moved = {n: noise_elsewhere(clean[n], noised[n], noise, row.id, n).image for n in regions}
        others.append(_with(encoded, moved))
    except RejectedError as reason:
        why_not = str(reason)
    compared = len(others) > 1
    for trial in TRIALS if share < WHOLE else ():
        how = Corruption("noise", trial.sigma * noise.sigma)
        others.append(
            _with(
                encoded,
                {
                    n: corrupt(clean[n], grown(region, trial.area), how, seed_of(row.id, n, how))
                    for n, region in regions.items()
                },
            )
        )
    found = [each[Cell.NOISED_CHOSEN] for each in other.margins(others)]
    return Hiding(
        row.id,
        margins[Cell.CLEAN_CHOSEN],
        margins[Cell.NOISED_CHOSEN],
        found[0],
        share,
        elsewhere=found[1] if compared else None,
        why_not=why_not,
        trials=tuple(found[1 + compared :]),
    )


def _with(encoded: dict[str, Any], noised: dict[int, Any]) -> dict[str, Any]:
    """The row with other noised images, by their place; of the clean ones' sizes."""
    images = [
        Image.fromarray(noised[number]) if number in noised else image for number, image in enumerate(encoded["images"])
    ]
    return {**encoded, "rejected_images": images, "noised_prompt_ids": encoded["prompt_ids"]}
