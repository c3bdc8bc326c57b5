"""FiRe-MPO as published (arXiv 2606.12590): four cells under two models, eight full forwards, full logits.

Written plainly from the equations, and without the package's code for layouts and losses, so that it can serve as
the reference of every other contestant. It keeps nothing longer than autograd does.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

BETA, ALPHA, GAMMA, LAMBDA = 0.1, 0.01, 0.1, 0.5
CELLS = (("clean", "chosen"), ("clean", "rejected"), ("noised", "chosen"), ("noised", "rejected"))

Cell = tuple[str, str]


@dataclass
class CellBatch:
    """The sequences of one cell, right-padded, and where their phrase tokens are.

    Attributes:
        inputs: Keyword arguments of the model's forward.
        row, position: [P] where the logits of each phrase token are.
        token: [P] its id.
    """

    inputs: dict[str, Tensor]
    row: Tensor
    position: Tensor
    token: Tensor

    def to(self, device: torch.device) -> "CellBatch":
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        return CellBatch(inputs, self.row.to(device), self.position.to(device), self.token.to(device))


def collate(rows: list[dict[str, Any]], processor: Any, image_token: int, padding: int) -> dict[Cell, CellBatch]:
    """The four cells of encoded rows, all of which have one image and one noised image."""
    return {cell: _collate_cell(rows, *cell, processor, image_token, padding) for cell in CELLS}


def _collate_cell(
    rows: list[dict[str, Any]], image: str, response: str, processor: Any, image_token: int, padding: int
) -> CellBatch:
    clean = image == "clean"
    prompts = [row["prompt_ids" if clean else "noised_prompt_ids"] for row in rows]
    ids = [torch.tensor([*prompt, *row[f"{response}_ids"]]) for prompt, row in zip(prompts, rows, strict=True)]
    lengths = torch.tensor([len(each) for each in ids])
    input_ids = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=padding)
    files = [row["images" if clean else "rejected_images"][0] for row in rows]
    pixels = processor.image_processor(images=[Image.open(file).convert("RGB") for file in files], return_tensors="pt")
    inputs = {
        "input_ids": input_ids,
        "attention_mask": (torch.arange(input_ids.shape[1]) < lengths[:, None]).long(),
        "mm_token_type_ids": (input_ids == image_token).int(),
        "pixel_values": pixels["pixel_values"],
        "image_grid_thw": pixels["image_grid_thw"],
    }
    places = [
        (number, len(prompts[number]) + place) for number, row in enumerate(rows) for place in _phrase(row, response)
    ]
    row_of, place_of = torch.tensor(places).T
    return CellBatch(inputs, row_of, place_of - 1, input_ids[row_of, place_of])


def _phrase(row: dict[str, Any], response: str) -> list[int]:
    return list(row[f"{response}_phrase"])


def step(
    model: Any, cells: dict[Cell, CellBatch], rows: int, micro_batches: int, backward: Callable[[Tensor], None]
) -> float:
    """Forward and backward of one micro-batch.

    Args:
        model: The policy, a PEFT model; the reference is the policy with its adapter switched off.
        cells: Of the micro-batch, on the model's device.
        rows: Of the micro-batch.
        micro_batches: Of the step.
        backward: Propagates a loss back.

    Returns:
        The micro-batch's share of the step's loss.
    """
    policy = {name: phrase_log_probs(model, cell, grad=True) for name, cell in cells.items()}
    reference = {name: phrase_log_probs(model, cell, grad=False) for name, cell in cells.items()}
    ratios = {name: _log_ratios(cell, policy[name], reference[name], rows) for name, cell in cells.items()}
    rank = -F.logsigmoid(ratios["clean", "chosen"] - ratios["clean", "rejected"])
    visual = -F.logsigmoid(ratios["noised", "rejected"] - ratios["noised", "chosen"])
    pi, ref = policy["clean", "chosen"], reference["clean", "chosen"]
    kl = LAMBDA * (ref.exp() * (ref - pi)).sum() + (1 - LAMBDA) * (pi.exp() * (pi - ref)).sum()
    loss = ((rank + GAMMA * visual).sum() + ALPHA * kl) / (rows * micro_batches)
    backward(loss)
    return loss.item()


def phrase_log_probs(model: Any, cell: CellBatch, *, grad: bool) -> Tensor:
    """A full forward; the log-distributions that predict the phrase tokens, [P, V]."""
    with nullcontext() if grad else torch.no_grad(), nullcontext() if grad else model.disable_adapter():
        logits = model(**cell.inputs, use_cache=False).logits
        log_probs = F.log_softmax(logits.float(), dim=-1)
        return log_probs[cell.row, cell.position]


def _log_ratios(cell: CellBatch, policy: Tensor, reference: Tensor, rows: int) -> Tensor:
    """beta * sum over phrase tokens of [log pi - log ref] of each row, [B]."""
    ratios = (policy - reference).gather(1, cell.token[:, None])[:, 0]
    return BETA * ratios.new_zeros(rows).index_add(0, cell.row, ratios)
