"""What a released model's folder says of itself, read and checked before anything is written."""

import json
from pathlib import Path
from typing import Any

from ..errors import UserError
from .kinds import CLIP, CLIP_VISION, KINDS, WHERE_PRESENT, Kind
from .names import VISION, is_kept
from .shards import Tensor, read, read_json

OF_CLIP_ALONE = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")
"""How tensors of a whole CLIP begin that its vision tower has not."""


def kind_of(folder: Path) -> tuple[Kind, dict[str, Any]]:
    """The kind of a model as first released, with its config.json.

    Raises:
        UserError: It is none that is known, or differs in a field.
    """
    file = folder / "config.json"
    config = read_json(file)
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and len(named) == 1 else None
    kind = KINDS.get(str(architecture))
    if kind is None:
        known = ", ".join(f"{name} ({kind.title})" for name, kind in KINDS.items())
        raise UserError(f"{file}: architectures is {named!r}; what can be converted is {known}")
    expected = {**kind.fields, **{name: value for name, value in WHERE_PRESENT.items() if name in config}}
    wrong = [
        f"{name} is {json.dumps(config[name]) if name in config else 'missing'}, expected {json.dumps(value)}"
        for name, value in expected.items()
        if name not in config or config[name] != value or isinstance(config[name], bool) != isinstance(value, bool)
    ]
    if wrong:
        raise UserError(f"{file} is not {kind.title}'s: {'; '.join(wrong)}")
    return kind, config


def vision_folder(folder: Path, config: dict[str, Any], given: Path | None) -> Path | None:
    """Where the vision tower's configuration is: the folder that was given, else the source's own; None: nowhere.

    Raises:
        UserError: The folder that was given is none, or the source names a tower that is neither its own nor CLIP's.
    """
    if given is not None:
        if not given.is_dir():
            raise UserError(f"--vision-tower: {given} is no folder")
        return given
    tower = str(config.get("mm_vision_tower", ""))
    name = Path(tower).name
    for own in (folder / tower, folder / "vit" / name):
        if name and own.is_dir() and own.resolve().is_relative_to(folder.resolve()):
            return own
    if name.replace("_", "-") != Path(CLIP).name:
        raise UserError(
            f"{folder / 'config.json'}: mm_vision_tower is {tower!r}, which is not a folder of the model; "
            "write --vision-tower and the folder of a local copy of it"
        )
    return None


def vision_config(tower: Path | None) -> dict[str, Any]:
    """The fields of a CLIPVisionConfig, out of the tower's folder, or CLIP's own.

    Raises:
        UserError: The folder holds another kind of model.
    """
    if tower is None:
        return dict(CLIP_VISION)
    config = read_json(tower / "config.json")
    fields = config.get("vision_config", config)
    if not isinstance(fields, dict) or "clip" not in str(config.get("model_type")):
        raise UserError(f"{tower / 'config.json'}: model_type is {config.get('model_type')!r}, expected a CLIP")
    return {name: fields[name] for name in CLIP_VISION if name in fields}


def tensors_of(folder: Path, tower: Path | None, config: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a released model by name, those of its vision tower from their own folder where it has none.

    Raises:
        UserError: There is no vision tower.
    """
    found = {name: tensor for name, tensor in read(folder).items() if is_kept(name)}
    if not any(name.startswith(VISION.original) for name in found):
        found |= tower_tensors(folder, tower, config)
    return found


def tower_tensors(folder: Path, tower: Path | None, config: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of the vision tower's own folder, under the names that they have inside of a released model.

    Raises:
        UserError: No folder is known.
    """
    if tower is None:
        raise UserError(
            f"the weights in {folder} hold no vision tower: write --vision-tower and the folder of a local copy of "
            f"{config.get('mm_vision_tower', CLIP)}"
        )
    start = VISION.original.removesuffix("vision_model.")
    return {
        start + name: tensor
        for name, tensor in read(tower).items()
        if is_kept(name) and not name.startswith(OF_CLIP_ALONE)
    }
