"""Stops a run before a loss or a gradient that is not finite reaches the weights."""

import math
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from ...errors import UserError

SHOWN = 5
ADVICE = (
    "Look at these rows with `firempo preview`; if they are sound, go on from an earlier checkpoint with a lower "
    "learning_rate, with max_grad_norm: 1.0, or with bf16 in the place of fp16."
)


class FiniteGuard:
    """Collects the losses of a step's rows, and looks at them together once, on all ranks alike.

    Args:
        accelerator: Of the trainer.
        settings: What the sentence names besides step and rows, by key.
    """

    def __init__(self, accelerator: Any, settings: dict[str, Any]) -> None:
        self._accelerator = accelerator
        self._settings = settings
        self._losses: list[Tensor] = []
        self._sources: list[str] = []

    def add(self, losses: Tensor, sources: list[str]) -> None:
        """Takes note of the losses [B] of rows, which come from `sources`; waits for no device."""
        self._losses.append(losses.detach().float())
        self._sources += sources

    def check(self, step: int, grad_norm: Any = None) -> None:
        """Ends the step.

        Args:
            step: Its number, from 1.
            grad_norm: Of the gradient before clipping; None where it is not to be looked at.

        Raises:
            UserError: On every rank, where a loss or the norm is not finite on any; says step, rows and settings.
        """
        losses, sources = torch.cat(self._losses) if self._losses else torch.zeros(0), self._sources
        self._losses, self._sources = [], []
        bad_norm = grad_norm is not None and not math.isfinite(float(grad_norm))
        found = torch.zeros(2, device=self._accelerator.device)
        found[0] = (~torch.isfinite(losses)).any()
        found[1] = bad_norm
        bad_losses, bad_norms = self._accelerator.reduce(found, "sum").tolist()
        if not bad_losses and not bad_norms:
            return
        rows = list(zip(sources, losses.tolist(), strict=True))
        rows = gather_object([(source, loss) for source, loss in rows if not bad_losses or not math.isfinite(loss)])
        what = f"the loss of {len(rows)} row(s)" if bad_losses else f"the gradient (its norm is {float(grad_norm):g})"
        shown = [f"{source} ({loss:g})" for source, loss in rows[:SHOWN]]
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        raise UserError(
            f"Step {step} has been stopped: {what} is not finite. Rows and their losses: {'; '.join(shown)}{more}. "
            f"Settings: {', '.join(f'{key}: {value}' for key, value in self._settings.items())}. {ADVICE}"
        )
