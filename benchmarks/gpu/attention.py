"""Ways to attend in token trees, at the true shapes of a layer, each held against float32 before it is timed."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from firempo_plugin.forward.masks import TreeMasks
from firempo_plugin.forward.tree import TreeBuilder
from gpu.clock import failure, release, seconds_of
from gpu.stage import Context

HEADS, KEY_HEADS, HEAD_SIZE = 32, 8, 128
RUNS = 20
TOLERANCE = 2e-2
"""Largest relative difference of bf16 results and gradients to float32."""
SECONDS = 6.0
"""Of one way with its compiling."""


@dataclass(frozen=True)
class Trees:
    """Trees of one pass.

    Attributes:
        title: In words.
        end: [N, T] first place after each token's subtree.
        prefix: Places that every later place of its tree sees, in all trees.
    """

    title: str
    end: Tensor
    prefix: int


def trees(title: str, count: int, prefix: int, branches: int, common: int, tail: int, device: str) -> Trees:
    """Equal trees: a prompt, and branches from its end with pairs of tails.

    Args:
        title: In words.
        count: Trees.
        prefix: Tokens of image and prompt.
        branches: Pairs that share them.
        common: Tokens that the two responses of a pair have in common.
        tail: Tokens of each response after that.
        device: Where `end` is.
    """
    builder = TreeBuilder(prefix, ())
    for branch in range(branches):
        for side in (0, 1):
            shared = [1000 + branch] * (branches > 1) + [1] * common
            builder.add([0] * prefix + shared + [2 + side] * tail)
    tree, _ = builder.build()
    length = len(tree)
    stem = next(place for place in range(length) if tree.end[place] < length)
    end = torch.tensor(tree.end, device=device).repeat(count, 1)
    return Trees(f"{title}: {count} x {length} places, {stem} before the first branch", end, stem)


Way = Callable[[Tensor, Tensor, Tensor], Tensor]


def dense(found: Trees) -> Way:
    """As the trees are run today: the library's SDPA with a boolean mask [N, 1, T, T]."""
    mask = TreeMasks()(found.end)
    layer = SimpleNamespace(num_key_value_groups=HEADS // KEY_HEADS, is_causal=True)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # The library leaves the heads behind the places.
        return sdpa_attention_forward(layer, query, key, value, mask)[0].transpose(1, 2)

    return attend


def flash(found: Trees) -> Way:
    """The ceiling: flash attention, causal, with no mask. Not the same result."""
    backends = [SDPBackend.FLASH_ATTENTION] + [SDPBackend.MATH] * (found.end.device.type == "cpu")

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        with sdpa_kernel(backends):
            return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)

    return attend


def flex(found: Trees) -> Way:
    """FlexAttention with a block mask of the trees; compiled where there is a GPU."""
    end = found.end
    count, length = end.shape

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < end[batch, key])

    mask = create_block_mask(sees, count, None, length, length, device=str(end.device))
    attend = torch.compile(flex_attention, dynamic=False) if end.device.type == "cuda" else flex_attention
    return lambda query, key, value: attend(query, key, value, block_mask=mask, enable_gqa=True)


def merged(found: Trees) -> Way:
    """The common prefix through flash, the rest densely among itself, merged by their log-sum-exps."""
    prefix, mask = found.prefix, TreeMasks()(found.end[:, found.prefix :] - found.prefix)
    causal = flash(found)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        first = causal(*(each[:, :, :prefix] for each in (query, key, value)))
        rest = _Merged.apply(query[:, :, prefix:].contiguous(), key, value, mask, prefix)
        return torch.cat((first, rest), dim=2)

    return attend


class _Merged(torch.autograd.Function):
    """Attention of the places after a prefix to all of it, and among themselves under a mask.

    Each part's softmax is over its own keys; the two are weighed by their share of the whole sum. Backward, flash
    attention is handed the merged result and log-sum-exp: its probabilities are then those of the whole.
    """

    @staticmethod
    def forward(context, query, key, value, mask, prefix):  # type: ignore[no-untyped-def]
        old_key, new_key = key[:, :, :prefix].contiguous(), key[:, :, prefix:]
        old_value, new_value = value[:, :, :prefix].contiguous(), value[:, :, prefix:]
        old, old_sum, state = _flash_forward(query, old_key, old_value)
        scores = _scores(query, new_key, mask)
        new_sum = scores.logsumexp(-1)
        total = torch.logaddexp(old_sum, new_sum)
        new = _by_group((scores - total[..., None]).exp(), new_value, HEADS)
        out = (old.float() * (old_sum - total).exp()[..., None] + new).to(query.dtype)
        context.save_for_backward(query, old_key, old_value, new_key, new_value, mask, out, total)
        context.state = state
        return out

    @staticmethod
    def backward(context, gradient):  # type: ignore[no-untyped-def]
        query, old_key, old_value, new_key, new_value, mask, out, total = context.saved_tensors
        gradient = gradient.contiguous()
        old = _flash_backward(gradient, query, old_key, old_value, out, total, context.state)
        weights = (_scores(query, new_key, mask) - total[..., None]).exp()
        inner = (gradient.float() * out.float()).sum(-1, keepdim=True)
        towards = weights * (_by_group(gradient.float(), new_value.transpose(-1, -2), HEADS) - inner)
        towards = towards / math.sqrt(query.shape[-1])
        for_query = old[0].float() + _by_group(towards, new_key, HEADS)
        for_key = _over_group(towards.transpose(-1, -2) @ query.float(), new_key.shape[1])
        for_value = _over_group(weights.transpose(-1, -2) @ gradient.float(), new_key.shape[1])
        keys = torch.cat((old[1], for_key.to(query.dtype)), dim=2)
        values = torch.cat((old[2], for_value.to(query.dtype)), dim=2)
        return for_query.to(query.dtype), keys, values, None, None


def _scores(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """[N, heads, R, R] in float32."""
    scores = _by_group(query.float(), key.transpose(-1, -2), query.shape[1]) / math.sqrt(query.shape[-1])
    return scores.masked_fill(~mask, -math.inf)


def _by_group(left: Tensor, right: Tensor, heads: int) -> Tensor:
    """A product of [N, heads, ., .] with what several heads share, in float32."""
    return left @ right.float().repeat_interleave(left.shape[1] // right.shape[1], dim=1)


def _over_group(gradient: Tensor, heads: int) -> Tensor:
    """Sums the gradients of the heads that share a key head."""
    return gradient.unflatten(1, (heads, -1)).sum(2)


def _flash_forward(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, tuple[object, ...]]:
    if query.device.type == "cpu":
        out, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)
        return out, total, ()
    out, total, *state = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)
    return out, total, tuple(state[:6])


def _flash_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, total: Tensor, state: tuple[object, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    if query.device.type == "cpu":
        operator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        many = [each.repeat_interleave(query.shape[1] // each.shape[1], dim=1) for each in (key, value)]
        for_query, *others = operator(gradient, query, *many, out, total, 0.0, False)
        return (for_query, *(_over_group(each, key.shape[1]) for each in others))
    operator = torch.ops.aten._scaled_dot_product_flash_attention_backward
    queries, keys, most_queries, most_keys, seed, offset = state
    arguments = (out, total, queries, keys, most_queries, most_keys, 0.0, False, seed, offset)
    return operator(gradient, query, key, value, *arguments)


WAYS = {
    "dense mask (as today)": dense,
    "flash, causal (ceiling)": flash,
    "FlexAttention": flex,
    "prefix merged": merged,
}


def results(way: Way, inputs: list[Tensor], gradient: Tensor | None) -> list[Tensor]:
    """What a way gives, and the gradients of its inputs if one of the result is given."""
    out = way(*inputs)
    if gradient is None:
        return [out]
    return [out, *torch.autograd.grad(out, inputs, gradient)]


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest relative difference, by norms, among results."""
    pairs = [(mine.detach().float(), other.detach()) for mine, other in zip(found, expected, strict=True)]
    return max(float((mine - other).norm() / other.norm()) for mine, other in pairs)


def run(context: Context) -> None:
    """The stage."""
    table = context.result.table(
        f"{HEADS} heads, {KEY_HEADS} of keys, {HEAD_SIZE} wide, bf16", "trees", "way", "forward ms", "and backward ms",
        "difference", "peak MB",
    )  # fmt: skip
    device = context.device
    shapes = (("one pair an image", 3, 1054, 1, 100, 15), ("four pairs an image", 2, 1060, 4, 100, 15))
    if context.rehearse:
        shapes = (("one pair an image", 2, 30, 1, 7, 5), ("four pairs an image", 1, 30, 4, 7, 5))
    for title, *shape in shapes:
        found = trees(title, *shape, device)
        inputs, gradient = draw(found, torch.float32 if context.rehearse else torch.bfloat16)
        wide = [each.detach().float().requires_grad_() for each in inputs]
        expected = results(dense(found), wide, gradient.float())
        for name, build in WAYS.items():
            if context.may_start(f"{name}, {title}", SECONDS):
                try:
                    table.add(found.title, name, *_checked(context, build, found, inputs, gradient, expected))
                except Exception as error:  # one way may not run here
                    if context.rehearse:
                        raise
                    table.add(found.title, name, failure(error))
                release()


def _checked(
    context: Context,
    build: Callable[[Trees], Way],
    found: Trees,
    inputs: list[Tensor],
    gradient: Tensor,
    expected: list[Tensor],
) -> tuple[float, float | None, float, float | None]:
    """The figures of a way, which is to give what float32 gives.

    Raises:
        ValueError: It does not.
    """
    forward_only = build is flex and context.rehearse
    figures = measure(build(found), inputs, gradient, expected, forward_only)
    if build is not flash and not figures[2] <= TOLERANCE:
        raise ValueError(f"WRONG: differs from float32 by {figures[2]:.2g}")
    return figures


def draw(found: Trees, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    """Random query, key and value, and a gradient of the result."""
    torch.manual_seed(0)
    count, length = found.end.shape
    sizes = [(count, heads, length, HEAD_SIZE) for heads in (HEADS, KEY_HEADS, KEY_HEADS, HEADS)]
    drawn = [torch.randn(size, device=found.end.device).to(dtype) for size in sizes]
    return [each.requires_grad_() for each in drawn[:3]], drawn[3]


def measure(
    way: Way, inputs: list[Tensor], gradient: Tensor, expected: list[Tensor], forward_only: bool
) -> tuple[float, float | None, float, float | None]:
    """Milliseconds forward, and forward and backward; the largest difference to float32; the peak in MB."""
    device = gradient.device.type
    plain = [each.detach() for each in inputs]
    if forward_only:  # FlexAttention has no backward on the CPU
        with torch.no_grad():
            found = results(way, plain, None)
        return 1e3 * seconds_of(lambda: way(*plain), device, 2), None, difference(found, expected[:1]), None
    off = difference(results(way, inputs, gradient), expected)
    runs = RUNS if device == "cuda" else 2
    with torch.no_grad():
        forward = seconds_of(lambda: way(*plain), device, runs)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    both = seconds_of(lambda: results(way, inputs, gradient), device, runs)
    peak = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else None
    return 1e3 * forward, 1e3 * both, off, peak
