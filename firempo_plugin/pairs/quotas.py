"""Quotas: how many pairs of each kind of error an export takes, and which."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
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

    def take(self, pairs: Collection[Pair]) -> tuple[bytearray, tuple[str, ...]]:
        """Takes as many pairs as keep all quotas.

        A hash of a pair's id decides which ones of a kind: the same ones in every run, whatever their order, and a
        smaller quota takes some of those that a larger one takes.

        Returns:
            For each pair whether it is taken; and how many of a kind.
        """
        if not self.most and not self.share:
            return bytearray(b"\1") * len(pairs), ()
        import numpy as np

        kinds = np.empty(len(pairs), dtype=np.int32)
        hashes = np.empty((len(pairs), 4), dtype=">u8")
        numbers: dict[str | None, int] = {}
        for place, pair in enumerate(pairs):
            kinds[place] = numbers.setdefault(pair.error_type, len(numbers))
            content = hashlib.sha256(pair.id.encode(errors="surrogatepass")).digest()
            hashes[place] = np.frombuffer(content, dtype=">u8")
        there = Counter({kind: int((kinds == number).sum()) for kind, number in numbers.items()})
        taken = np.zeros(len(pairs), dtype=np.uint8)
        counts = self._counts(there)
        for kind, count in counts.items():
            places = np.flatnonzero(kinds == numbers[kind])
            ranked = np.lexsort(hashes[places].T[::-1])
            taken[places[ranked[:count]]] = 1
        notes = (f"{count} of {there[kind]} pairs with an error of {kind}." for kind, count in counts.items() if kind)
        return bytearray(taken.tobytes()), tuple(notes if not taken.all() else ())

    def _counts(self, there: Mapping[str | None, int]) -> dict[str | None, int]:
        """The largest numbers by kind that keep all quotas."""
        counts = {kind: min(count, self.most.get(kind or "", count)) for kind, count in there.items()}
        while True:
            total = sum(counts.values())
            most = {kind: int(Fraction(str(self.share.get(kind or "", 1))) * total) for kind in counts}
            if all(count <= most[kind] for kind, count in counts.items()):
                return counts
            counts = {kind: min(count, most[kind]) for kind, count in counts.items()}
