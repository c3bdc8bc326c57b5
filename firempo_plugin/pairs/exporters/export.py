"""Writes pairs in a format of the registry.

Left out are those that a reviewer rejected, that a trainer cannot use, or that are more than a quota takes.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from itertools import compress
from operator import not_
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...settings import checked
from ...store.reasons import Reasons
from ..pair import Pair
from ..quotas import Quotas
from ..review import decisions as review_decisions
from .common import Checks, ExportResult, Kept, refuse_name
from .registry import FORMATS


def export(
    format_name: str,
    pairs: Collection[Pair],
    folder: Path,
    *,
    name: str,
    root: Path | None = None,
    images: str = "copy",
    options: Mapping[str, Any] | None = None,
    objective: str = "fire_mpo",
    decisions: Mapping[str, review_decisions.Decision] | None = None,
    quotas: Quotas | None = None,
) -> ExportResult:
    """Writes pairs in a format of FORMATS.

    Args:
        format_name: Key of FORMATS.
        pairs: In the order of the rows; they are gone through several times.
        folder: Where the dataset file goes; made if need be.
        name: Of the dataset and its files.
        root: The build's folder, which knows the files that it has exported. Default: `folder`.
        images: copy, link or absolute: whether image files are placed below `folder`, and named relative to it.
        options: Of the format.
        objective: That the pairs are made for, where the format has such an option and `options` does not say it.
        decisions: A reviewer's; rejected pairs are left out.
        quotas: Of kinds of error, among the pairs that nothing else leaves out.

    Raises:
        UserError: The name, an option or an existing file is in the way, or no pair is left.
    """
    refuse_name(name)
    chosen = FORMATS.load(format_name)
    good, left_out, outdated = _usable(pairs, decisions or {})
    taken, counted = (quotas or Quotas()).take(good)
    if len(taken) > sum(taken):
        for pair in compress(good, map(not_, taken)):
            left_out.add(pair.id, f"the quota of {pair.error_type} is full")
        good = Kept(good, taken)
    if not good:
        reasons = "; ".join(sorted(set(left_out.first.values()))[:3])
        raise UserError(f"no pair to export: {len(left_out)} left out{': ' if reasons else ''}{reasons}")
    made_for = {"objective": objective} if any(f.name == "objective" for f in fields(chosen.options)) else {}
    settings = checked(chosen.options, made_for | dict(options or {}), "export.options.")
    result = chosen.write(good, folder, name, root or folder, images, settings)
    notes = (*result.notes, *counted)
    if outdated:
        notes += (f"Marks that are not used because their pair has changed since: {outdated}.",)
    return replace(result, left_out=left_out, notes=notes)


def _usable(pairs: Collection[Pair], decisions: Mapping[str, review_decisions.Decision]) -> tuple[Kept, Reasons, int]:
    """Pairs that a trainer can use and nobody rejected; why others are left out; and how many marks are outdated."""
    mask = bytearray()
    rejected, unusable, outdated = Reasons(), Reasons(), 0
    checks, told = Checks(), dict[str, None]()
    for pair in pairs:
        verdict = review_decisions.apply((pair,) if pair.id in decisions else (), decisions)
        for name, reason in verdict.rejected.items():
            rejected.add(name, reason)
        problems = "" if verdict.rejected else checks.problems(pair)
        if problems:
            unusable.add(pair.id, problems)
        outdated += len(verdict.outdated)
        mask.append(not (verdict.rejected or problems))
        if mask[-1]:
            told |= dict.fromkeys(pair.told)
    rejected.update(unusable)
    return Kept(pairs, mask, told), rejected, outdated
