"""What the steps of the pipeline hand to each other: record -> response -> edit -> target -> mask -> noised image.

Plain data that goes to JSON and back (`dataclasses.asdict`, and the class on a dict again).
"""

from dataclasses import dataclass
from typing import Literal

from .errors import UserError

Kind = Literal["vqa", "report"]
NoisePath = Literal["lesion", "no_target", "no_detection", "report", "ablation", "similar"]
"""Why an image was noised where it was; `ablation` is a corruption other than noise on the target, `similar` another
record's image."""


class RejectedError(UserError):
    """A record cannot go further; the message is the reason, for people. Never ends the run."""


@dataclass(frozen=True)
class Region:
    """Where a source says that something lies on one of the record's images.

    Attributes:
        name: What it is, as the source names it ("left lung").
        image: Index into the record's images.
        box: x0, y0, x1, y1 in pixels, x1 and y1 exclusive; None where there is a mask.
        mask: A mask image file; None where there is a box.
        values: The mask's pixel values that mean this region (grey levels, or R, G, B triples of a colour
            map); empty: every non-zero pixel.
    """

    name: str
    image: int = 0
    box: tuple[float, float, float, float] | None = None
    mask: str | None = None
    values: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Record:
    """A question about one or more images, or a request for a report, with its ground truth.

    Attributes:
        id: Unique in a run and stable over runs: the source's own id, prefixed by the source's name.
        images: Absolute paths.
        question: For a report, the instruction to write one.
        truth: Ground truth: an answer, or a report.
        kind: `vqa` or `report`.
        language: ISO 639-1, "en" or "zh".
        closed: Whether the answer is one of a known few (yes/no, a or b); None where the source does not say.
        response: The model's own answer, where the source brings one.
        regions: Masks and boxes that the source brings.
        weight: The share in the loss that the source gives it; None: 1.
        study: Whose or which examination's images they are, where the source says it: a patient, a study or a case.
    """

    id: str
    images: tuple[str, ...]
    question: str
    truth: str
    kind: Kind = "vqa"
    language: str = "en"
    closed: bool | None = None
    response: str | None = None
    regions: tuple[Region, ...] = ()
    weight: float | None = None
    study: str | None = None

    @property
    def cluster(self) -> str:
        """What a bootstrap draws it together with: its study, else its first image, else nothing but itself."""
        return self.study or (*self.images, self.id)[0]


@dataclass(frozen=True)
class Edit:
    """A response and its minimally edited counterpart, or two responses of which one is better.

    Attributes:
        chosen, rejected: Equal but for the edit; or two responses of the model.
        was_correct: Whether the model's response was right, and hence is `chosen`; None: both are the model's own.
        final_answer: The answer that the response gives, in as few words as possible; "" for a report.
        judge: Who decided: "rules", a model's name, or a score's.
    """

    chosen: str
    rejected: str
    was_correct: bool | None
    final_answer: str
    judge: str


@dataclass(frozen=True)
class Finding:
    """One statement of a report that an edit changes, wherever the report has it, as a preference of its own.

    Attributes:
        number: Of the changed statements, from 1.
        among: How many there are.
        right: Its sentence in chosen.
        wrong: The same sentence in rejected.
    """

    number: int
    among: int
    right: str
    wrong: str


@dataclass(frozen=True)
class Target:
    """What the noise should hide.

    Attributes:
        phrase: A short noun phrase for a segmenter, or None: no part of the image in particular.
        reason: Which rule, or whose word, chose it.
    """

    phrase: str | None
    reason: str


@dataclass(frozen=True)
class Segmentation:
    """The union of all detections of a target on one image.

    Attributes:
        mask: PNG file, 0 or 255, of the image's size; None: nothing was found.
        boxes: x0, y0, x1, y1 of each detection.
        scores: Of each detection, in [0, 1].
        segmenter: Who found it.
    """

    mask: str | None
    boxes: tuple[tuple[float, float, float, float], ...]
    scores: tuple[float, ...]
    segmenter: str


@dataclass(frozen=True)
class Noised:
    """A corrupted image.

    Attributes:
        file: The lossless file.
        clean: The lossless 8-bit file of the clean image that it is to be compared with.
        path: Which of METHOD's paths was taken.
        sigma: Of the corruption `noise`, 0-255 scale; 0 for the others.
        corruption: Its name among `images.corruptions`; "similar" for another record's image.
    """

    file: str
    clean: str
    path: NoisePath
    sigma: float
    corruption: str
