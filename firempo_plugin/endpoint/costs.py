"""What calls cost: prices, cheap token counts before a call, and a budget that is never passed."""

import math
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from threading import Condition

from ..errors import UserError
from ..records import RejectedError
from .failures import StopRunError
from .replies import RequestStore
from .requests import ChatRequest
from .settings import EndpointSettings

TYPICAL_COMPLETION = 150
"""Tokens of a reply in an estimate, where `max_tokens` allows as many."""
BATCH_PRICE = 0.5
"""What the Batch API charges, as a share of the price of single calls."""


@dataclass(frozen=True)
class Price:
    """Per million tokens."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What a call costs."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


PRICES = {
    "gpt-4o-mini": Price(0.15, 0.60),
    "gemini-2.0-flash": Price(0.10, 0.40),
    "gemini-2.5-flash": Price(0.30, 2.50),
}
"""US dollars, for single calls, as of November 2026; the settings' own prices go first."""

_VERSION = re.compile(r"(-\d{4}-\d{2}-\d{2}|-\d{3}|-latest)$")
_IDEOGRAPHS = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")


def price_of(settings: EndpointSettings) -> Price | None:
    """The settings' own price, else the table's; None: unknown."""
    if settings.price_in is not None and settings.price_out is not None:
        return Price(settings.price_in, settings.price_out)
    return PRICES.get(_family(settings.model))


def _family(model: str) -> str:
    """A model's name without provider and version: "google/gemini-2.0-flash-001" -> "gemini-2.0-flash"."""
    return _VERSION.sub("", model.rsplit("/", 1)[-1].lower())


@dataclass(frozen=True)
class Tokens:
    """Before a call: how many tokens it will probably take, and how many it can take at most."""

    prompt: int
    completion: int
    most_prompt: int
    most_completion: int

    def most_cost(self, price: Price | None) -> float:
        """What the call can cost at most; 0 where the price is unknown."""
        return 0.0 if price is None else price.of(self.most_prompt, self.most_completion)


def count_tokens(request: ChatRequest, settings: EndpointSettings) -> Tokens:
    """Counts without a tokeniser: 4 characters a token, 1.5 tokens an ideograph; at most one token a byte."""
    texts = [message.text for message in request.messages]
    if request.schema is not None:
        texts.append(str(dict(request.schema.body)))
    images = sum(_image_tokens(path, settings.model) for path in request.images)
    frame = 4 * len(request.messages) + 3
    most = settings.most_completion_tokens
    return Tokens(
        prompt=frame + images + sum(text_tokens(text) for text in texts),
        completion=TYPICAL_COMPLETION if most is None else min(TYPICAL_COMPLETION, most),
        most_prompt=4 * frame + images + sum(len(text.encode()) for text in texts),
        most_completion=TYPICAL_COMPLETION if most is None else most,
    )


def text_tokens(text: str) -> int:
    """About how many tokens a text has."""
    ideographs = len(_IDEOGRAPHS.findall(text))
    return math.ceil((len(text) - ideographs) / 4 + 1.5 * ideographs)


def _image_tokens(path: str, model: str) -> int:
    """How many prompt tokens an image makes, by the rule of the model's family."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise RejectedError(f"the image {path} cannot be read: {error}") from None
    family = _family(model)
    rule = next((rule for start, rule in _IMAGE_RULES.items() if family.startswith(start)), _patches)
    return rule(width, height)


def _openai_tiles(base: int, per_tile: int) -> Callable[[int, int], int]:
    """Fit into 2048 x 2048, shorter side to 768 at most, then tiles of 512 x 512 (OpenAI's vision guide)."""

    def rule(width: int, height: int) -> int:
        scale = min(1.0, 2048 / max(width, height))
        scale *= min(1.0, 768 / (min(width, height) * scale))
        return base + per_tile * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)

    return rule


def _gemini_tiles(width: int, height: int) -> int:
    """258 for a small image, else for each tile, whose side follows the image (Gemini's token guide)."""
    if max(width, height) <= 384:
        return 258
    side = min(768, max(256, math.floor(min(width, height) / 1.5)))
    return 258 * math.ceil(width / side) * math.ceil(height / side)


def _patches(width: int, height: int) -> int:
    """A token for 28 x 28 pixels, as Qwen2-VL and its kin make; few open models make more."""
    return math.ceil(width / 28) * math.ceil(height / 28)


_IMAGE_RULES: dict[str, Callable[[int, int], int]] = {
    "gpt-4o-mini": _openai_tiles(2833, 5667),
    "gpt-4o": _openai_tiles(85, 170),
    "gemini": _gemini_tiles,
}


class Budget:
    """A limit on what calls cost, shared by all threads and endpoints of a run, and kept before it is passed."""

    def __init__(self, max_cost: float | None = None, spent: float = 0.0) -> None:
        """A budget.

        Args:
            max_cost: None: no limit.
            spent: What earlier runs have spent of it, `batch.open_cost` included.
        """
        self.max_cost = max_cost
        self._spent = spent
        self._reserved = 0.0
        self._open = 0
        self._excess = 1.0
        self._changed = Condition()

    @property
    def spent(self) -> float:
        """What calls have cost, unanswered ones that may be billed included, and what open batches can cost."""
        with self._changed:
            return self._spent

    @property
    def room(self) -> float:
        """What is neither spent nor reserved."""
        with self._changed:
            return math.inf if self.max_cost is None else self.max_cost - self._spent - self._reserved * self._excess

    def reserve(self, most: float) -> None:
        """Sets aside what a call can cost, waiting for calls under way where those may leave enough; then `settle`.

        Raises:
            StopRunError: The call could pass the limit.
        """
        with self._changed:
            while True:
                # A server that once counted more than the bound may do so again.
                amount = most * self._excess
                fits = self.max_cost is None or self._spent + self._reserved * self._excess + amount <= self.max_cost
                if fits:
                    self._open += 1
                    self._reserved += most
                    return
                if not self._open:
                    raise StopRunError(
                        f"max_cost {self.max_cost} would be passed: {self._spent:.4f} is spent and the next call can "
                        f"cost {amount:.4f}; raise max_cost and run again, no answered request is repeated"
                    )
                self._changed.wait()

    def settle(self, most: float, cost: float) -> None:
        """Replaces what was reserved for a call by what it has cost."""
        with self._changed:
            self._open -= 1
            self._reserved = self._reserved - most if self._open else 0.0
            self._spent += cost
            if most > 0:
                self._excess = max(self._excess, cost / most)
            self._changed.notify_all()

    def add(self, cost: float) -> None:
        """Adds what a batch may cost, or below 0, takes back what it did not."""
        with self._changed:
            self._spent += cost


def check_bounded(settings: EndpointSettings, budget: Budget) -> None:
    """Makes sure that the budget's limit can be kept.

    Raises:
        UserError: There is a limit, but a price or `max_tokens` is missing.
    """
    if budget.max_cost is None:
        return
    if price_of(settings) is None:
        raise UserError(
            f"max_cost needs price_in and price_out: the price of {settings.model!r} is unknown (0 if it costs nothing)"
        )
    if settings.most_completion_tokens is None:
        raise UserError("max_cost needs max_tokens: without it a reply can cost any amount")


@dataclass(frozen=True)
class Estimate:
    """What requests would take, without a call.

    Attributes:
        calls: To be made.
        cached: Requests that are answered already, refused for good, in an open batch, or asked for twice.
        rejected: Requests with an image that cannot be sent.
        prompt_tokens, completion_tokens: Of the calls, about.
        cost: About; None where the model's price is unknown.
        most_cost: If every reply is as long as `max_tokens` allows.
    """

    calls: int
    cached: int
    rejected: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    most_cost: float | None


def estimate(
    requests: Iterable[ChatRequest],
    settings: EndpointSettings,
    store: RequestStore,
    *,
    batch: bool = False,
    handed_in: Collection[str] = (),
) -> Estimate:
    """Counts calls, tokens and price; makes no call.

    Args:
        requests: All that a run would ask for.
        settings: Where.
        store: Knows what is answered.
        batch: Whether they would go through the Batch API.
        handed_in: Keys of requests that an open batch answers.
    """
    cached = rejected = 0
    due: dict[str, Tokens] = {}
    for request in requests:
        try:
            key = request.key(settings)
            if key in due or key in handed_in or store.get(key) is not None:
                cached += 1
            else:
                due[key] = count_tokens(request, settings)
        except RejectedError:
            rejected += 1
    price, share = price_of(settings), BATCH_PRICE if batch else 1.0
    prompt, completion = sum(t.prompt for t in due.values()), sum(t.completion for t in due.values())
    return Estimate(
        calls=len(due),
        cached=cached,
        rejected=rejected,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=None if price is None else share * price.of(prompt, completion),
        most_cost=None if price is None else share * sum(t.most_cost(price) for t in due.values()),
    )
