"""Exact means of per-row quantities over micro-batches, steps and ranks, under one fixed set of names."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...objectives.losses import RowTerm
from ...objectives.settings import Settings, metrics_of


def metric_names(settings: Settings) -> tuple[str, ...]:
    """Every metric of a run besides the loss, in the order in which it is logged."""
    return (*metrics_of(settings), "phrase_tokens/chosen", "phrase_tokens/rejected", "noised_share")


class MeanByName:
    """Sums and counts by name. Names without a row so far have the mean NaN: undefined, not zero.

    Args:
        names: All names, fixed for the run, so that every rank reduces the same tensor.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._sums = torch.zeros(len(names), 2, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Adds rows as `stack` lays them out."""
        totals = rows.double().sum(0)
        self._sums = self._sums.to(totals.device) + totals

    def stack(self, report: dict[str, RowTerm]) -> Tensor:
        """[B, names, 2]: each row's value, 0 where it has none, and whether it has one."""
        values = [torch.where(report[name].applies, report[name].values.float(), 0.0) for name in self.names]
        applies = [report[name].applies.float() for name in self.names]
        return torch.stack((torch.stack(values, dim=1), torch.stack(applies, dim=1)), dim=2)

    def take(self, reduce: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, float]:
        """The mean of every name, of sums reduced over ranks if need be; starts anew."""
        sums = reduce(self._sums).tolist()
        self._sums = torch.zeros_like(self._sums)
        return {
            name: (total / count if count else math.nan) for name, (total, count) in zip(self.names, sums, strict=True)
        }
