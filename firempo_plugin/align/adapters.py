"""Several LoRA adapters of one model as one.

    W + s_1 B_1 A_1 + s_2 B_2 A_2 = W + [s_1 B_1, s_2 B_2] [A_1; A_2]

so that the ranks add up, and nothing is rounded but the products s B, which are kept in float32.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoints import ADAPTER
from ..errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
A, B = ".lora_A.weight", ".lora_B.weight"
PLAIN: Mapping[str, Any] = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "lora_bias": False,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "rank_pattern": None,
    "alpha_pattern": None,
    "layers_to_transform": None,
    "layer_replication": None,
    "trainable_token_indices": None,
}
"""What the settings of an adapter must be, where they say anything, for its weights to be all that it is."""


@dataclass(frozen=True)
class Adapter:
    """An adapter as it was saved.

    Attributes:
        settings: Of adapter_config.json.
        modules: A [r, ...] and s B [..., r] of every module, float32.
    """

    settings: dict[str, Any]
    modules: "dict[str, tuple[Tensor, Tensor]]"


def stack(folders: Sequence[Path], target: Path) -> None:
    """Writes the sum of adapters as one; the folder is whole whenever it exists.

    Raises:
        UserError: One is no plain LoRA adapter.
    """
    import torch
    from safetensors.torch import save_file

    parts = [read(folder) for folder in folders]
    ranks = [max(a.shape[0] for a, _ in part.modules.values()) for part in parts]
    tensors: dict[str, Tensor] = {}
    modules = sorted({name for part in parts for name in part.modules})
    for name in modules:
        shapes = next(part.modules[name] for part in parts if name in part.modules)
        padded = [
            _padded(part.modules.get(name), rank, *(side.shape for side in shapes))
            for part, rank in zip(parts, ranks, strict=True)
        ]
        tensors[PREFIX + name + A] = torch.cat([a for a, _ in padded], dim=0).contiguous()
        tensors[PREFIX + name + B] = torch.cat([b for _, b in padded], dim=1).contiguous()
    rank = sum(ranks)
    own = {"r": rank, "lora_alpha": rank, "use_rslora": False, "target_modules": modules, "init_lora_weights": True}
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
    (partial / ADAPTER).write_text(json.dumps(parts[0].settings | own, indent=2), encoding="utf-8")
    partial.rename(target)


def read(folder: Path) -> Adapter:
    """Reads a plain LoRA adapter.

    Raises:
        UserError: It is another kind, or holds other weights, too.
    """
    from safetensors.torch import load_file

    for name in (ADAPTER, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder} holds no {name}; expected an adapter that training wrote")
    settings = plain_settings(folder)
    tensors = {name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()}
    names = [name.removeprefix(PREFIX).removesuffix(A) for name in tensors if name.endswith(A)]
    strange = set(tensors) - {PREFIX + name + side for name in names for side in (A, B)}
    if strange or 2 * len(names) != len(tensors):
        raise UserError(
            f"{folder}: {sorted(strange)[:3]} are no LoRA weights that can be stacked: write adapter: merge"
        )
    modules = {}
    for name in names:
        a, b = tensors[PREFIX + name + A], tensors[PREFIX + name + B]
        rank = a.shape[0]
        modules[name] = a, settings["lora_alpha"] / (sqrt(rank) if settings.get("use_rslora") else rank) * b
    return Adapter(settings, modules)


def plain_settings(folder: Path) -> dict[str, Any]:
    """What an adapter says of itself.

    Raises:
        UserError: It is another kind than plain LoRA.
    """
    settings: dict[str, Any] = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    for key, plain in PLAIN.items():
        if key in settings and (settings[key] or None) != (plain or None):
            raise UserError(f"{folder}: {key} is {settings[key]!r}; only plain LoRA is stacked: write adapter: merge")
    return settings


def _padded(
    found: "tuple[Tensor, Tensor] | None", rank: int, of_a: Sequence[int], of_b: Sequence[int]
) -> "tuple[Tensor, Tensor]":
    """A and B of a rank, with zeros for what an adapter has not."""
    import torch

    a, b = torch.zeros(rank, *of_a[1:]), torch.zeros(of_b[0], rank, *of_b[2:])
    if found is not None:
        a[: found[0].shape[0]], b[:, : found[1].shape[1]] = found
    return a, b
