"""Where a model looks, against where it should: the measures of the VGMED protocol as pure functions.

Symbols: q, g attention of the last prompt position to the image tokens, mean over heads, under the question and
under the generic prompt, [layers, tokens]; A their ratio; M the image tokens of the annotated region, [tokens], 0 or 1;
eps a small number. Logarithms are natural.

    (1)  A   = q / (g + eps), element by element
    (2)  AR  = sum(A * M) / (mean(A) * |M|)
    (3)  KL  = sum P * log((P + eps) / (Q + eps)),  P = M / sum(M),  Q = A / sum(A)
    (4)  JS  = KL(P || (P + Q) / 2) / 2 + KL(Q || (P + Q) / 2) / 2

AR is 1 where the region gets no more than its share. KL and JS are smaller the closer the map is to the region; JS
is at most log 2.
"""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UserError
from ..images.masks import is_box
from ..settings import config_key
from .measure import Column, Measure

if TYPE_CHECKING:  # the table of measures is read where no torch is wanted
    from torch import Tensor

Window = tuple[float, float, float, float]
"""x0, y0, x1, y1 of the part of an image that its tokens show, as shares of its width and height."""
WHOLE: Window = (0.0, 0.0, 1.0, 1.0)

FORMS = ("xyxy", "xywh")
"""How a box is written: as two corners, or as its first corner, width and height."""

TOUCH = 1e-9
"""Share of a token's area that counts as rounding, not as overlap."""

GENERIC_PROMPT = "Write a general description of the image."


@dataclass(frozen=True)
class Options:
    """How attention is compared with annotated regions."""

    records: str | list[Any] = config_key(
        MISSING,
        "JSON or JSON-lines file, or the list itself, of image, question, and boxes (in pixels) or mask (an image "
        "file, black outside); and, where there are any, id, kind and box_form",
    )
    folder: str = config_key("", "what paths in records are relative to; default: the folder of the records' file")
    box_form: Literal["xyxy", "xywh"] | None = config_key(None, "of records that do not say it: xyxy or xywh")
    generic_prompt: str = config_key(GENERIC_PROMPT, "the prompt whose attention the question's is divided by")
    prompt_suffix: str = config_key("", "put behind both prompts, after a space")
    epsilon: float = config_key(1e-8, "the small number in the ratio and inside the logarithms, as 1.0e-8", above=0)
    coverage: float = config_key(
        0.0, "a token is the region's where more than this share of its area lies in it", least=0, below=1
    )
    layers: tuple[int, ...] | None = config_key(None, "decoder layers, from 0, to take means over; null: all", least=0)

    def __post_init__(self) -> None:
        if not self.generic_prompt.strip():
            raise UserError(f"generic_prompt is empty; write for example {GENERIC_PROMPT!r}")
        if self.layers == ():
            raise UserError("layers is empty; write decoder layers, from 0, or null for all")


def corners(box: Sequence[float], form: str) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of a box.

    Args:
        box: Four numbers in pixels.
        form: One of `FORMS`.

    Raises:
        UserError: Not four numbers.
    """
    if not is_box(box):
        raise UserError(f"a box is four numbers, found {box!r}")
    x, y, third, fourth = box
    return (x, y, x + third, y + fourth) if form == "xywh" else (x, y, third, fourth)


def token_mask(region: "Tensor", grid: tuple[int, int], window: Window = WHOLE, coverage: float = 0.0) -> "Tensor":
    """M: the image tokens that show a region.

    Args:
        region: [H, W] bool, in the pixels of the image as it is on disk.
        grid: Rows and columns of the image tokens.
        window: The part of the image that the grid covers.
        coverage: A token belongs to M where more than this share of its area lies in the region; 0: any of it.

    Returns:
        [rows * columns] bool, row by row.
    """
    height, width = region.shape
    rows = _overlaps(grid[0], (window[1] * height, window[3] * height), height)
    columns = _overlaps(grid[1], (window[0] * width, window[2] * width), width)
    share = rows @ region.double() @ columns.T
    return (share > coverage + TOUCH).flatten()


def _overlaps(cells: int, span: tuple[float, float], pixels: int) -> "Tensor":
    """Which share of each of equal cells of a span lies on each pixel: [cells, pixels]."""
    import torch

    edges = torch.linspace(span[0], span[1], cells + 1, dtype=torch.float64)
    places = torch.arange(pixels + 1, dtype=torch.float64)
    ends = torch.minimum(edges[1:, None], places[None, 1:])
    starts = torch.maximum(edges[:-1, None], places[None, :-1])
    return (ends - starts).clamp(min=0) * cells / (span[1] - span[0])


def ratio_map(question: "Tensor", generic: "Tensor", epsilon: float) -> "Tensor":
    """(1) of attention [..., tokens] under the two prompts."""
    return question / (generic + epsilon)


def attention_ratio(ratio: "Tensor", mask: "Tensor") -> "Tensor":
    """(2) of each layer: A [..., tokens], M [tokens] -> [...]."""
    return (ratio * mask).sum(-1) / (ratio.mean(-1) * mask.sum())


def attention_kl(ratio: "Tensor", mask: "Tensor", epsilon: float) -> "Tensor":
    """(3) of each layer, in nats: A [..., tokens], M [tokens] -> [...]."""
    return _kl(mask / mask.sum(), ratio / ratio.sum(-1, keepdim=True), epsilon)


def attention_js(ratio: "Tensor", mask: "Tensor", epsilon: float) -> "Tensor":
    """(4) of each layer, in nats: A [..., tokens], M [tokens] -> [...]."""
    wanted, found = mask / mask.sum(), ratio / ratio.sum(-1, keepdim=True)
    middle = (wanted + found) / 2
    return (_kl(wanted, middle, epsilon) + _kl(found, middle, epsilon)) / 2


def _kl(p: "Tensor", q: "Tensor", epsilon: float) -> "Tensor":
    return (p * ((p + epsilon) / (q + epsilon)).log()).sum(-1)


def all_measures(ratio: "Tensor", mask: "Tensor", epsilon: float) -> "dict[str, Tensor]":
    """Every measure of each layer by its metric's name: A [layers, tokens], M [tokens] bool -> [layers]."""
    wide, numbers = ratio.double(), mask.double()
    return {
        "attention_ratio": attention_ratio(wide, numbers),
        "attention_kl": attention_kl(wide, numbers, epsilon),
        "attention_js": attention_js(wide, numbers, epsilon),
    }


GROUNDING = Measure(
    "grounding",
    2,  # the version: raised also when `attention`, or where the model is run, makes other values
    (
        Column("AR", "attention_ratio"),
        Column("KL", "attention_kl", higher_is_better=False),
        Column("JS", "attention_js", higher_is_better=False),
    ),
    options=Options,
    choices={
        "attention": "from the last prompt position to the image tokens, mean over heads, per decoder layer",
        "ratio": "q / (g + epsilon), of question and generic prompt",
        "attention_ratio": "sum(A * M) / (mean(A) * |M|); mean over layers",
        "attention_kl": "KL(M / sum M || A / sum A), epsilon added inside the logarithm's fraction; nats; mean over "
        "layers",
        "attention_js": "Jensen-Shannon divergence of the two, epsilon as there; nats; mean over layers",
        "prompt": "the image, then the question, in the template's user turn; its suffix follows after a space",
        "mask": "image tokens of whose area more than `coverage` lies in the region",
    },
    by_layer=True,
)
