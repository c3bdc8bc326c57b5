"""Quotas: how many pairs of each kind of error an export takes, and which."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from .pair import Pair


@dataclass(frozen=True)
class Quotas:
    """How many pairs of a kind of error there may be.

    Attributes:
        most: Most pairs, by kind.
        share: Largest share among the pairs that are taken, by kind; below 1.
    """

    most: Mapping[str, int] = field(default_factory=dict)
    share: Mapping[str, float] = field(default_factory=dict)

    def take(self, pairs: Sequence[Pair]) -> tuple[list[Pair], dict[str, str], tuple[str, ...]]:
        """Takes as many pairs as keep all quotas.

        A hash of a pair's id decides which ones of a kind: the same ones in every run, whatever their order, and a
        smaller quota takes some of those that a larger one takes.

        Returns:
            The pairs that are taken, in their order; the reason of each other one by its id; and how many of a kind.
        """
        there = Counter(pair.error_type for pair in pairs)
        counts = self._counts(there)
        ranked = sorted(pairs, key=lambda pair: hashlib.sha256(pair.id.encode(errors="surrogatepass")).digest())
        taken: set[str] = set()
        for kind, count in counts.items():
            taken |= {pair.id for pair in [pair for pair in ranked if pair.error_type == kind][:count]}
        reasons = {pair.id: f"the quota of {pair.error_type} is full" for pair in pairs if pair.id not in taken}
        notes = (f"{count} of {there[kind]} pairs with an error of {kind}." for kind, count in counts.items() if kind)
        return [pair for pair in pairs if pair.id in taken], reasons, tuple(notes if reasons else ())

    def _counts(self, there: Mapping[str | None, int]) -> dict[str | None, int]:
        """The largest numbers by kind that keep all quotas."""
        counts = {kind: min(count, self.most.get(kind or "", count)) for kind, count in there.items()}
        while True:
            total = sum(counts.values())
            most = {kind: int(Fraction(str(self.share.get(kind or "", 1))) * total) for kind in counts}
            if all(count <= most[kind] for kind, count in counts.items()):
                return counts
            counts = {kind: min(count, most[kind]) for kind, count in counts.items()}
