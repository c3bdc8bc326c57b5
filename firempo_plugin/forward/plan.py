"""Which sequences a batch of rows needs, and which of their tokens are scored (no torch, no model)."""

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import Any

from ..objectives import Settings

Image = Any
"""Whatever names or holds one image: a path, encoded bytes, an image object."""


@dataclass(frozen=True)
class Row:
    """A pair under one template.

    Attributes:
        prompt_ids: The prompt with the clean image's placeholder tokens.
        noised_prompt_ids: The same with the noised image's; empty where the row has no noised image.
        chosen_ids, rejected_ids: The responses, end-of-turn included.
        chosen_phrase, rejected_phrase: Phrase positions, counted from the response's first token.
        images, rejected_images: The clean images and their noised twins.
        weight: The row's share in the loss.
    """

    prompt_ids: SequenceOf[int]
    noised_prompt_ids: SequenceOf[int]
    chosen_ids: SequenceOf[int]
    rejected_ids: SequenceOf[int]
    chosen_phrase: SequenceOf[int]
    rejected_phrase: SequenceOf[int]
    images: SequenceOf[Image]
    rejected_images: SequenceOf[Image]
    weight: float

    @property
    def has_noised(self) -> bool:
        return len(self.rejected_images) > 0


@dataclass(frozen=True)
class Sequence:
    """Token ids to run, with the images that their placeholders stand for."""

    input_ids: tuple[int, ...]
    images: SequenceOf[Image]


@dataclass
class Plan:
    """The distinct sequences of a batch and, in parallel lists, its M scored tokens.

    Attributes:
        sequences: Each is run once.
        sequence, position: Where the hidden state is that predicts the token.
        token: The token's id.
        row, cell: Whose it is.
        in_phrase: Whether it lies in a phrase.
    """

    sequences: list[Sequence] = field(default_factory=list)
    sequence: list[int] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    token: list[int] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    cell: list[int] = field(default_factory=list)
    in_phrase: list[bool] = field(default_factory=list)


def make_plan(rows: SequenceOf[Row], settings: Settings) -> Plan:
    """Lists the sequences that the settings need of the rows, each once.

    A sequence ends with the token before its last scored one: nothing later reaches the loss. Two cells
    whose sequences are then equal, as for answers that differ in their first word, share one. A cell
    without scored tokens needs none.
    """
    plan = Plan()
    for number, row in enumerate(rows):
        known: dict[tuple[str, tuple[int, ...]], int] = {}
        for cell, scope in settings.cells(row.has_noised).items():
            prompt = row.prompt_ids if cell.image == "clean" else row.noised_prompt_ids
            response, phrase = (
                (row.chosen_ids, row.chosen_phrase)
                if cell.response == "chosen"
                else (row.rejected_ids, row.rejected_phrase)
            )
            scored = range(len(response)) if scope == "response" else phrase
            if not scored:
                continue
            key = (cell.image, (*prompt, *response[: scored[-1]]))
            if key not in known:
                known[key] = len(plan.sequences)
                images = row.images if cell.image == "clean" else row.rejected_images
                plan.sequences.append(Sequence(key[1], images))
            in_phrase = set(phrase)
            for place in scored:
                plan.sequence.append(known[key])
                plan.position.append(len(prompt) + place - 1)
                plan.token.append(response[place])
                plan.row.append(number)
                plan.cell.append(int(cell))
                plan.in_phrase.append(place in in_phrase)
    return plan
