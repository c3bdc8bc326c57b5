"""MedSAM3's released LoRA weights as an adapter in PEFT's format, for `segment.by: sam3`.

The file is what torch saves of a dictionary: of every adapted module of Meta's SAM 3 two matrices, `NAME.lora.lora_A`
[in, rank] and `NAME.lora.lora_B` [rank, out], which add x @ A @ B * alpha / rank to its output. Alpha is not in it.
Source: github.com/Joey-S-Liu/MedSAM3 (lora_layers.py, configs/full_lora_config.yaml).
"""

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..terminal import say
from .place import new_folder
from .sam3_names import ONLY_META, PROJECTIONS, kind_of, original_module
from .shards import DAMAGED, load_bin, read_json, some

RELEASED = "best_lora_weights.pt"
RANK, ALPHA = 16, 32
"""Of the released file. MedSAM3's other configurations have other ranks, each with an alpha of its own."""
HALVES = (".lora.lora_A", ".lora.lora_B")
MODEL_TYPES = ("sam3", "sam3_video")
"""Of a checkpoint that Sam3Model reads: its own, and that of the whole SAM 3, as Meta releases it."""
OTHER_SIZE = "For a Sam3Model of another size than the released one, write --checkpoint and its folder"
WEIGHTS = "adapter_model.safetensors"

Pair = tuple[Any, Any]
"""A module's lora_A [in, rank] and lora_B [rank, out]."""


@dataclass(frozen=True)
class Linear:
    """A linear module of Sam3Model.

    Attributes:
        name: Its name there.
        inputs, outputs: Its sizes.
    """

    name: str
    inputs: int
    outputs: int


def file_of(source: Path) -> Path | None:
    """The file of LoRA weights that a source is or, under the name of the released one, holds; None: it is a model."""
    if source.is_file():
        return source
    released = source / RELEASED
    return released if released.is_file() else None


def convert(file: Path, to: Path, alpha: int | None, checkpoint: Path | None) -> int:
    """Converts a file of LoRA weights.

    Args:
        file: The file.
        to: The target's folder, which must not exist or be empty.
        alpha: What the weights were trained with; None: as the released ones.
        checkpoint: The folder of the Sam3Model that they are for; None: SAM 3 as released.

    Returns:
        0.

    Raises:
        UserError: The file is not as expected, or for a model of another size; nothing is written.
        OSError: The target cannot be written; nothing is left of it.
    """
    pairs = _pairs(file)
    model = _empty_model(checkpoint)
    linears = _linears(model)
    rank = _check(file, pairs, linears, "" if checkpoint else f". {OTHER_SIZE}")
    if alpha is None and rank != RANK:
        raise UserError(
            f"{file} is of rank {rank}, and only of MedSAM3's released file, of rank {RANK}, alpha is known ({ALPHA}): "
            "write --alpha and the number that these weights were trained with. Nothing was written"
        )
    alpha = ALPHA if alpha is None else alpha
    tensors = _peft_tensors(pairs, linears)
    with new_folder(to, sum(tensor.nbytes for tensor in tensors.values())) as part:
        _write(part, tensors, rank, alpha)
        _read_again(part, tensors, model)
    idle = sorted({kind_of(name) for name in linears} - {kind_of(name) for name in pairs})
    left_out = [name for name in ONLY_META if name in pairs]
    say(
        f"MedSAM3: {len(pairs) - len(left_out)} of {len(pairs)} pairs, of rank {rank} with alpha {alpha}, written to "
        f"{to} for {len(tensors) // 2} modules of Sam3Model, and read again as PEFT reads them.",
        *([f"Left out are {some(left_out)}: Sam3Model takes no points as prompts."] if left_out else []),
        *([f"The file has no pair for {some(idle)}, which stay as in SAM 3."] if idle else []),
        f"Segment with `segment.by: sam3` and `segment.options.adapter: {to}`.",
    )
    return 0


def _pairs(file: Path) -> dict[str, Pair]:
    """Both matrices of every module by Meta's name of it.

    Raises:
        UserError: There are none, one lacks the other, something else is among them, or the file is damaged.
    """
    _require_sums(file)
    found = {str(name): value for name, value in load_bin(file).items()}
    modules = dict.fromkeys(name.removesuffix(half) for name in found for half in HALVES if name.endswith(half))
    halves = [module + half for module in modules for half in HALVES]
    there = [name for name in halves if name in found]
    no_matrix = [name for name in there if not _is_matrix(found[name])]
    _refuse(
        file,
        {
            "missing": [name for name in halves if name not in found] or ([] if halves else [f"NAME{HALVES[0]}"]),
            "unknown": [name for name in found if name not in halves],
            "no matrix of floating point": no_matrix,
            "not finite": [name for name in there if name not in no_matrix and not found[name].isfinite().all()],
        },
    )
    return {module: (found[module + HALVES[0]].detach(), found[module + HALVES[1]].detach()) for module in modules}


def _require_sums(file: Path) -> None:
    """Raises UserError where the file's content has not its own check sums, which torch does not look at."""
    try:
        if not zipfile.is_zipfile(file):
            return  # torch's old format, which has none
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except DAMAGED as error:
        damaged = f"its directory ({error or type(error).__name__})"
    if damaged is not None:
        raise UserError(f"{file} is damaged in {damaged}: download it anew")


def _is_matrix(value: Any) -> bool:
    import torch

    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_meta:
        return False
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return value.dtype in floats and value.dim() == 2 and value.numel() > 0


def _check(file: Path, pairs: Mapping[str, Pair], linears: Mapping[str, list[Linear]], hint: str) -> int:
    """Holds the pairs against the model, and gives the rank of all.

    A file may leave out kinds of modules, as MedSAM3's smaller configurations do, but no single layers of a kind.

    Raises:
        UserError: One is missing, unknown, or of another shape or rank.
    """
    kinds = {kind_of(name) for name in pairs}
    ranks = [second.shape[0] for _, second in pairs.values()]
    rank = max(ranks, key=ranks.count)
    shapes = {}
    for name, (first, second) in pairs.items():
        group = linears.get(name)
        inputs, outputs = (
            (group[0].inputs, sum(one.outputs for one in group)) if group else (len(first), second.shape[1])
        )
        shapes[name + HALVES[0]] = list(first.shape), [inputs, rank]
        shapes[name + HALVES[1]] = list(second.shape), [rank, outputs]
    _refuse(
        file,
        {
            "missing": [name for name in linears if name not in pairs and kind_of(name) in kinds]
            or ([] if any(name in linears for name in pairs) else ["a module of Sam3Model"]),
            "unknown": [name for name in pairs if name not in linears and name not in ONLY_META],
            "of another shape": [
                f"{name} is {found}, expected {expected}"
                for name, (found, expected) in shapes.items()
                if found != expected
            ],
        },
        hint,
    )
    return rank


def _refuse(file: Path, problems: Mapping[str, list[str]], hint: str = "") -> None:
    told = [f"{what}: {some(names)}" for what, names in problems.items() if names]
    if told:
        raise UserError(f"the LoRA weights in {file} are not as expected; {'; '.join(told)}. Nothing was written{hint}")


def _empty_model(checkpoint: Path | None) -> Any:
    """A Sam3Model of the checkpoint's size without weights.

    Raises:
        UserError: The folder holds another kind of model.
    """
    import torch
    from transformers import Sam3Config, Sam3Model

    config = Sam3Config()
    if checkpoint is not None:
        kind = read_json(checkpoint / "config.json").get("model_type")
        if kind not in MODEL_TYPES:
            place = checkpoint / "config.json"
            raise UserError(f"{place}: model_type is {kind!r}, expected one of {', '.join(MODEL_TYPES)}")
        config = Sam3Config.from_pretrained(checkpoint, local_files_only=True)
    with torch.device("meta"):
        return Sam3Model(config)


def _linears(model: Any) -> dict[str, list[Linear]]:
    """Linear modules of a Sam3Model by Meta's names: one each, or those of queries, keys and values of a fused one."""
    from torch import nn

    found: dict[str, list[Linear]] = {}
    for name, module in model.named_modules():
        original = original_module(name) if isinstance(module, nn.Linear) else None
        if original is not None:
            found.setdefault(original, []).append(Linear(name, module.in_features, module.out_features))
    for group in found.values():
        if len(group) > 1:
            group.sort(key=lambda one: PROJECTIONS.index(one.name.rpartition(".")[2]))
    return found


def _peft_tensors(pairs: Mapping[str, Pair], linears: Mapping[str, list[Linear]]) -> dict[str, Any]:
    """The matrices as PEFT has them, [rank, in] and [out, rank], by the names under which it saves them."""
    tensors = {}
    for name, group in linears.items():
        if name not in pairs:
            continue
        first, second = pairs[name]
        for one, cut in zip(group, second.split([one.outputs for one in group], dim=1), strict=True):
            tensors[f"base_model.model.{one.name}.lora_A.weight"] = first.T.contiguous()
            tensors[f"base_model.model.{one.name}.lora_B.weight"] = cut.T.contiguous()
    return tensors


def _write(folder: Path, tensors: Mapping[str, Any], rank: int, alpha: int) -> None:
    from peft import LoraConfig
    from safetensors.torch import save

    modules = {name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in tensors}
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(modules), inference_mode=True).to_dict()
    text = json.dumps({**config, "target_modules": sorted(modules)}, indent=2, sort_keys=True)
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
    with (folder / WEIGHTS).open("xb") as out:
        out.write(save(dict(tensors), metadata={"format": "pt"}))
        out.flush()
        os.fsync(out.fileno())


def _read_again(folder: Path, tensors: Mapping[str, Any], model: Any) -> None:
    """Reads a target as PEFT does, into the model without weights.

    Raises:
        RuntimeError: A module or a tensor is not what was meant: this release of PEFT works otherwise.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    adapted = get_peft_model_state_dict(
        PeftModel.from_pretrained(model, str(folder), low_cpu_mem_usage=True), save_embedding_layers=False
    )
    wrong = [name for name in {**adapted, **tensors} if name not in tensors or name not in adapted]
    with safe_open(folder / WEIGHTS, "pt") as written:
        wrong += [name for name, tensor in tensors.items() if not written.get_tensor(name).equal(tensor)]
    if wrong:
        raise RuntimeError(f"PEFT would not read the target as it was meant: {some(wrong)}")
