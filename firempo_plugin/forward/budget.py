"""How much memory a training step takes, counted from shapes: what fits a card, and what cannot. Imports nothing heavy.

Bytes that autograd keeps of a token in a decoder layer (d hidden, q and k the widths of all query and of all key heads,
f intermediate, r the adapter's rank, w bytes of a number, 4 where norms compute in float32):

    norms           2 * 4 d
    inputs          w * (5 d + q + f + 7 r), of adapters; in float32, where projections share theirs, 2 d instead of 5 d
    query, key      4 * (q + k) where they are normed
    attention       w * 4 q, with keys and values repeated to all heads; and its mask, or the weights that eager keeps
    MLP             w * 3 f

Counted so, what autograd keeps without checkpointing was within 3 % of the tensors that it saved (Qwen3-VL and
Qwen2.5-VL shapes, float32 and bf16, sdpa), and 26 % above them with eager attention. No GPU has confirmed a peak, so
the count chooses the size of passes and warns, and refuses nothing.
"""

from dataclasses import dataclass

USABLE = 0.9
"""Of free memory is counted on; the rest is for what the allocator cannot use."""
HEAD_BYTES = 31
"""A scored token and word of the vocabulary at once, backward included; measured."""
ADAMW = 8.0
STATES = {
    **dict.fromkeys(("lion_8bit", "rmsprop_bnb_8bit", "4bit"), 1.0),
    "ademamix_8bit": 3.0,
    "8bit": 2.0,
    "ademamix": 12.0,
    **dict.fromkeys(("lion", "adagrad", "rmsprop"), 4.0),
    **dict.fromkeys(("adafactor", "sgd", "lomo"), 0.0),
}
"""Bytes that an optimiser keeps of a trained number in float32, by a part of its name; the first that fits counts."""


def trained_bytes(optimiser: str, width: int = 4, *, autocast: bool = False) -> float:
    """Bytes that gradient and optimiser keep of a trained number.

    Args:
        optimiser: The host's `optim`; one that `STATES` does not name counts as AdamW.
        width: Bytes of the number itself.
        autocast: Whether a step computes with copies of the numbers in half precision.
    """
    states = next((states for name, states in STATES.items() if name in optimiser), ADAMW)
    return width + states * width / 4 + (2 if autocast and width == 4 else 0)


@dataclass(frozen=True)
class Shapes:
    """A decoder as it is trained, by the sizes that its memory depends on.

    Attributes:
        layers, hidden, intermediate, vocabulary: Of the language model.
        queries, keys: Widths of all query heads, and of all key heads, together.
        heads: Query heads.
        rank: Of the adapter; 0 for none.
        width: Bytes of a number: 2 in half precision, else 4.
        normed: Whether queries and keys are normed.
        eager: Whether attention keeps its weights.
        checkpointed: Whether layers are recomputed backward.
    """

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    queries: int
    keys: int
    heads: int
    rank: int
    width: int
    normed: bool
    eager: bool
    checkpointed: bool


def layer_bytes(shapes: Shapes, length: int) -> int:
    """Bytes that autograd keeps of one token in one layer.

    Args:
        shapes: The decoder.
        length: Tokens of the sequence that it attends within, padding included.
    """
    half = shapes.width < 4
    d, q, k, f = shapes.hidden, shapes.queries, shapes.keys, shapes.intermediate
    inputs = (5 * d if half else 2 * d) + q + f + 7 * shapes.rank
    pairs = length * (shapes.heads * (4 + shapes.width) if shapes.eager else shapes.width)
    normed = 4 * (q + k) if shapes.normed else 0
    return 2 * 4 * d + normed + shapes.width * (inputs + 4 * q + 3 * f) + pairs


def token_bytes(shapes: Shapes, length: int) -> int:
    """Bytes that a pass keeps of one token at its peak, the head left out."""
    layer = layer_bytes(shapes, length)
    if not shapes.checkpointed:
        return shapes.layers * layer
    return shapes.layers * shapes.hidden * shapes.width + layer


@dataclass(frozen=True)
class Pair:
    """The largest part of a batch that must be propagated back at once.

    Attributes:
        tokens: Padding included.
        length: Of its longest sequence.
        scored: Tokens that get logits at once.
    """

    tokens: int
    length: int
    scored: int


@dataclass(frozen=True)
class Budget:
    """A card's free memory beside what a run will put there.

    Attributes:
        free: Bytes, before anything below is there.
        weights: Bytes of weights that are yet to be moved there.
        trained: Numbers in training.
        optimiser: Bytes that gradient and optimiser keep of each.
        shapes: The decoder.
        largest: See `Pair`.
        head_rows: Scored tokens of a pass whose logits are made at once, at most.
    """

    free: int
    weights: int
    trained: int
    optimiser: float
    shapes: Shapes
    largest: Pair
    head_rows: int

    @property
    def states(self) -> int:
        """Bytes of gradients and optimiser."""
        return int(self.trained * self.optimiser)

    @property
    def fixed(self) -> int:
        """Bytes that do not grow with the tokens of a pass."""
        return self.weights + self.states

    def head(self, tokens: int) -> int:
        """Bytes of the logits of a pass, and of what comes of them: as many as of the largest pair by its tokens."""
        scored = min(self.head_rows, self.largest.scored * tokens / self.largest.tokens)
        return int(scored * self.shapes.vocabulary * HEAD_BYTES)

    def needed(self, tokens: int) -> int:
        """Bytes of a step whose passes hold as many tokens."""
        return self.fixed + self.head(tokens) + tokens * token_bytes(self.shapes, self.largest.length)

    @property
    def least(self) -> int:
        """Bytes of a step whose passes are as small as the data allow."""
        return self.needed(self.largest.tokens)

    @property
    def fits(self) -> bool:
        return self.least <= USABLE * self.free

    def pass_tokens(self, most: int) -> int:
        """Tokens of a pass that fit, at least those of the largest pair and at most `most` if they suffice."""
        left = USABLE * self.free - self.fixed
        each = token_bytes(self.shapes, self.largest.length)
        all_logits = self.head_rows * self.shapes.vocabulary * HEAD_BYTES
        own_logits = self.head(self.largest.tokens) / self.largest.tokens
        fitting = int(max((left - all_logits) // each, left // (each + own_logits)))
        return max(self.largest.tokens, min(most, fitting))
