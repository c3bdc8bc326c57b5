"""Rows of `relatives` as the forward passes hand them on to the losses, and what comes back to them."""

import torch

from firempo_plugin.objectives.losses import ScoredTokens

CELLS = ("cc", "cr", "nc", "nr", "bc", "br")


def scored(found, settings):
    """The tokens of rows as the forward passes hand them on."""
    flat = [(row, CELLS.index(name), cell) for row, cells in enumerate(found) for name, cell in cells.items()]
    number = torch.cat([torch.full((len(cell.policy),), number) for _, number, cell in flat])
    summed = torch.zeros(len(number), dtype=torch.bool)
    for cell in settings.kl_scopes(has_noised=True):
        summed |= number == cell
    forward_kl, reverse_kl = (
        torch.cat([vars(cell)[name] for *_, cell in flat])[summed] for name in ("kls", "reverse_kls")
    )
    return ScoredTokens(
        row=torch.cat([torch.full((len(cell.policy),), row) for row, _, cell in flat]),
        cell=number,
        in_phrase=torch.cat([cell.phrase for *_, cell in flat]),
        weight=torch.cat([cell.weight for *_, cell in flat]),
        policy_logps=torch.cat([cell.policy for *_, cell in flat]),
        reference_logps=torch.cat([cell.reference for *_, cell in flat]) if settings.needs_reference else None,
        kl=summed.nonzero().flatten(),
        forward_kl=forward_kl,
        reverse_kl=reverse_kl,
        terms=torch.tensor([[len(term.cells("nc" in cells)) > 0 for cells in found] for term in settings.terms]),
    )


def gradients(found):
    """Of every leaf of rows, in log pi and in both KLs; 0 where there is none."""
    leaves = [leaf for cells in found for cell in cells.values() for leaf in (cell.policy, cell.kls, cell.reverse_kls)]
    return [torch.zeros_like(each) if each.grad is None else each.grad for each in leaves]
