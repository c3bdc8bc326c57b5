"""A finished pair: what the exporters write and what a person reviews."""

import json
from dataclasses import dataclass
from typing import Self

from ..phrases import Span
from ..records import Finding, Kind, NoisePath
from ..store.workspace import dump

_decode = json.JSONDecoder().decode


@dataclass(frozen=True)
class Pair:
    """A record with everything that was made of it.

    Attributes:
        id: Unique in an export and stable over runs: the record's id, with the sample's number where a record makes
            several pairs, and the finding's where a response does.
        question: The prompt, without image placeholders.
        chosen, rejected: The two responses.
        chosen_spans, rejected_spans: The phrases, as [start, end) in code points; one side may have none.
        images: The clean images' files.
        rejected_images: Their noised twins in the same order; empty: the pair has none.
        weight: The pair's share in the loss; None: 1.
        truth: The ground truth.
        kind: `vqa` or `report`.
        language: ISO 639-1.
        was_correct: Whether the model's response is `chosen`; None: both are the model's own.
        judge: Who decided that.
        error_type: What kind of error sets the two apart; None: nobody said.
        target: What the noise should hide; None: no part in particular.
        noise_path: Which path the noise took; None: there is no noised image.
        sigma: Of the noise, 0-255 scale; None: there is none.
        masks: For each image the mask's file, or None; empty: there are none.
        note: For people: how it came about.
        sources: For each image the source's own file, which may have more bits; empty: nobody knows.
        finding: The statement of a report that it is about, where reports are split; None: all of the response.
    """

    id: str
    question: str
    chosen: str
    rejected: str
    chosen_spans: tuple[Span, ...]
    rejected_spans: tuple[Span, ...]
    images: tuple[str, ...] = ()
    rejected_images: tuple[str, ...] = ()
    weight: float | None = None
    truth: str = ""
    kind: Kind = "vqa"
    language: str = "en"
    was_correct: bool | None = True
    judge: str = "rules"
    error_type: str | None = None
    target: str | None = None
    noise_path: NoisePath | None = None
    sigma: float | None = None
    masks: tuple[str | None, ...] = ()
    note: str = ""
    sources: tuple[str, ...] = ()
    finding: Finding | None = None

    @property
    def response_id(self) -> str:
        """Names the response that it was made of; the pairs of a report that is split share it."""
        return self.id.removesuffix(f"#{self.finding.number}") if self.finding else self.id

    @property
    def told(self) -> dict[str, str]:
        """What rows say of it that only some pairs have, by column."""
        kind = {"error_type": self.error_type} if self.error_type else {}
        one = self.finding
        return kind | ({"finding": f"{one.number} of {one.among}", "statement": one.right} if one else {})

    def text(self) -> str:
        """As JSON."""
        return dump({**vars(self), "finding": vars(self.finding) if self.finding else None})

    @classmethod
    def read(cls, text: str) -> Self:
        """From `text`."""
        plain = _decode(text)
        for side in ("chosen_spans", "rejected_spans"):
            plain[side] = tuple([(start, end) for start, end in plain[side]])
        for files in ("images", "rejected_images", "masks", "sources"):
            plain[files] = tuple(plain[files])
        if plain["finding"]:
            plain["finding"] = Finding(**plain["finding"])
        pair = cls.__new__(cls)
        vars(pair).update(plain)  # a tenth of the time that setting the fields of a frozen one by one takes
        return pair
