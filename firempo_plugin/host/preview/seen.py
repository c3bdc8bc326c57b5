"""A row as a person sees it. Light: standard library only."""

import json
from dataclasses import dataclass
from typing import Literal

Kind = Literal["phrase", "text", "template", "cut"]


@dataclass(frozen=True)
class Piece:
    """One token of a response; a character that is split over several tokens makes one piece of them.

    Attributes:
        text: What the token stands for. The pieces that are not `template` join to the response exactly.
        kind: `phrase` is scored, `text` is not, `template` is added by the template, `cut` is beyond `cutoff_len`.
        weight: What the row says that it counts.
    """

    text: str
    kind: Kind
    weight: float = 1.0


@dataclass(frozen=True)
class SeenRow:
    """A row of the data as the trainer sees it.

    Attributes:
        place: Data set and row, counting from 0: "pairs, row 12".
        problem: Why the row cannot be used; "" where it can.
        question: The last turn of the user, without image placeholders.
        earlier: System text and earlier turns; "" where there are none.
        prompt: What the template makes of the prompt, a run of image tokens collapsed; "" where there is a problem.
        chosen, rejected: The responses; a row with a problem has its raw text as one piece, as far as there is one.
        images, rejected_images: Paths.
        weight: The row's share in the loss.
        truncated: Whether `cutoff_len` shortens a response.
        prompt_tokens: Tokens of the prompt, images included.
        about: What the preprocessor notes of it for people, by column.
    """

    place: str
    problem: str
    question: str
    earlier: str
    prompt: str
    chosen: tuple[Piece, ...]
    rejected: tuple[Piece, ...]
    images: tuple[str, ...]
    rejected_images: tuple[str, ...]
    weight: float
    truncated: bool
    prompt_tokens: int
    about: dict[str, str]

    def to_json(self) -> str:
        """One line."""
        sides = {
            side: [(piece.text, piece.kind, piece.weight) for piece in vars(self)[side]]
            for side in ("chosen", "rejected")
        }
        return json.dumps({**vars(self), **sides})

    @classmethod
    def from_json(cls, line: str | bytes) -> "SeenRow":
        """The row of a line that `to_json` wrote."""
        entry = json.loads(line)
        for side in ("chosen", "rejected"):
            entry[side] = tuple(Piece(*piece) for piece in entry[side])
        for name in ("images", "rejected_images"):
            entry[name] = tuple(entry[name])
        return cls(**entry)
