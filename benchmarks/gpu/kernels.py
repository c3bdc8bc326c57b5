"""Where the time of the default step goes: by kind of kernel, the longest kernels, and the host's launches."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from contestants import DEFAULT
from torch.profiler import ProfilerActivity, profile

from gpu.stage import Context
from gpu.steps import FOUR, bench

KINDS = (
    ("attention", re.compile(r"flash|fmha|attention|sdpa", re.IGNORECASE)),
    ("matrix products", re.compile(r"gemm|gemv|cutlass|nvjet|xmma|cublas|splitk|aten::(add|b)?mm", re.IGNORECASE)),
    ("copies", re.compile(r"memcpy|memset|copy|CatArray|index|gather|scatter", re.IGNORECASE)),
    ("elementwise and reductions", re.compile(r"elementwise|reduce|softmax|norm|triton|aten::", re.IGNORECASE)),
)
"""The first that fits; names on the device, and the CPU's operators in a rehearsal."""
LAUNCHES = re.compile(r"^cu(da)?LaunchKernel")
LONGEST = 10


@dataclass(frozen=True)
class Event:
    """Something that ran.

    Attributes:
        name: Of the kernel, or of the call.
        start, end: Nanoseconds.
    """

    name: str
    start: int
    end: int


def run(context: Context) -> None:
    """The stage."""
    loaded, runner, batches, _ = bench(context, FOUR).warm(DEFAULT, False)
    on_device = context.device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_device else [])]
    with profile(activities=activities) as profiler:
        runner.run(batches, lambda backward: backward)
        if on_device:
            torch.cuda.synchronize()
    loaded.model.zero_grad(set_to_none=True)
    events = profiler.profiler.kineto_results.events()
    wanted = torch.autograd.DeviceType.CUDA if on_device else torch.autograd.DeviceType.CPU
    ran = [_event(each) for each in events if each.device_type() == wanted and not each.is_user_annotation()]
    kernels = ran if on_device else [each for each in ran if each.name.startswith("aten::")]  # some within others
    if not kernels:
        raise RuntimeError(f"the profiler saw no kernel among {len(events)} events")
    _tell(context, kernels, [_event(each) for each in events if LAUNCHES.match(each.name())])


def _event(event: Any) -> Event:
    return Event(event.name(), event.start_ns(), event.start_ns() + event.duration_ns())


def _tell(context: Context, kernels: Sequence[Event], launches: Sequence[Event]) -> None:
    span = max(each.end for each in kernels) - min(each.start for each in kernels)
    idle = span - busy(kernels)
    kinds = context.result.table(f"default step of 4B shapes, {span / 1e6:.1f} ms from first to last kernel", "", "")
    for kind, (time, count) in by_kind(kernels).items():
        kinds.add(kind, f"{time / 1e6:.3g} ms, {time / span:.1%}, {count} kernels")
        context.result.value(f"profile/{kind}", time / span)
    kinds.add("idle", f"{idle / 1e6:.3g} ms, {idle / span:.1%}")
    context.result.value("profile/idle", idle / span)
    if launches:
        between = gaps(launches)
        kinds.add("host between launches", f"median {median(between) / 1e3:.3g} us, {len(launches)} launches")
    longest = context.result.table("", "longest kernels, by their sum", "kind", "ms", "times")
    total: dict[str, list[int]] = defaultdict(list)
    for each in kernels:
        total[each.name].append(each.end - each.start)
    for name, times in sorted(total.items(), key=lambda item: -sum(item[1]))[:LONGEST]:
        longest.add(name, kind_of(name), sum(times) / 1e6, len(times))


def kind_of(name: str) -> str:
    """What a kernel does, by its name."""
    return next((kind for kind, pattern in KINDS if pattern.search(name)), "other")


def by_kind(kernels: Iterable[Event]) -> dict[str, tuple[int, int]]:
    """Nanoseconds and number of kernels of each kind, the longest first."""
    found: dict[str, tuple[int, int]] = {}
    for each in kernels:
        time, count = found.get(kind_of(each.name), (0, 0))
        found[kind_of(each.name)] = (time + each.end - each.start, count + 1)
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def busy(kernels: Iterable[Event]) -> int:
    """Nanoseconds in which at least one kernel runs."""
    total, until = 0, 0
    for each in sorted(kernels, key=lambda event: event.start):
        total += max(0, each.end - max(each.start, until))
        until = max(until, each.end)
    return total


def gaps(launches: Sequence[Event]) -> list[int]:
    """Nanoseconds from the end of each launch to the next one's start; of one launch, none: 0."""
    ordered = sorted(launches, key=lambda event: event.start)
    return [max(0, after.start - before.end) for before, after in pairwise(ordered)] or [0]
