"""`firempo convert`: a model as first released to a LLaVA of transformers, and a trained one back."""

import shutil
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..terminal import say
from . import checks, source, target
from .names import VISION, is_kept, original_name, target_name
from .place import new_folder
from .shards import (
    Entry,
    Tensor,
    check_sum,
    mean_row,
    read,
    read_json,
    some,
    write,
)

ROWS = ("lm_head.weight", "model.embed_tokens.weight")
"""The tensors with a row for each word, as first released."""
WEIGHTS = (".safetensors", ".bin", ".index.json", ".pt", ".pth", ".msgpack", ".h5", ".gguf")


def convert(folder: Path, to: Path, tower: Path | None) -> int:
    """Converts a model as first released.

    Args:
        folder: Its folder.
        to: The target's, which must not exist or be empty.
        tower: A local copy of its vision tower; needed where the model's folder has none.

    Returns:
        0.

    Raises:
        UserError: The source is unknown, incomplete, or not as expected; nothing is written.
        OSError: The target cannot be written; nothing is left of it.
    """
    kind, config = source.kind_of(folder)
    tower = source.vision_folder(folder, config, tower)
    model = target.model_config(kind, config, source.vision_config(tower))
    target.check_images(tower, model.vision_config.image_size)
    tensors = source.tensors_of(folder, tower, config)
    _same_tensors(folder, tensors, _longer(target.expected_shapes(model), -kind.appended_rows))
    entries = [_with_image(name, tensor, kind.appended_rows) for name, tensor in tensors.items()]
    with new_folder(to, sum(entry.size for entry in entries)) as part:
        target.write_processor(part, folder, kind, model)
        target.copy_generation(part, folder)
        write(part, _shards(entries))
        target.write_config(part, model, config)
        checks.check(part, folder, kind, model, read(part))
    say(
        f"{kind.title}: {len(entries)} tensors written to {to}, and read again as transformers reads them.",
        f"Train it with `template: {kind.template}`, `image_max_pixels: 16777216` and `use_fast_tokenizer: false`.",
    )
    return 0


def back(folder: Path, to: Path, original: Path, tower: Path | None) -> int:
    """Converts a trained model back to the form in which its original was released.

    Args:
        folder: The trained model, whole: an adapter is merged before.
        to: The target's folder, which must not exist or be empty.
        original: The folder of the model as first released; all but the weights is taken from it.
        tower: A local copy of the vision tower; needed where the original has none.

    Returns:
        0.

    Raises:
        UserError: The model is not a conversion of the original; nothing is written.
        OSError: The target cannot be written; nothing is left of it.
    """
    kind, config = source.kind_of(original)
    tower = source.vision_folder(original, config, tower)
    if (folder / "adapter_config.json").is_file():
        raise UserError(f"{folder} holds an adapter: merge it with `llamafactory-cli export` first, and convert that")
    read_json(folder / "config.json")
    released = read(original)
    tensors = _by_original_name(folder)
    if not any(name.startswith(VISION.original) for name in released):
        _same_tower(folder, tensors, source.tower_tensors(original, tower, config))
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(VISION.original)}
    shapes = {name: tensor.shape for name, tensor in released.items() if is_kept(name)}
    _same_tensors(folder, tensors, _longer(shapes, kind.appended_rows))
    entries = [Entry(name, tensor, shapes[name][0] if name in ROWS else None) for name, tensor in tensors.items()]
    shards = _shards(entries)
    shards[0] += [Entry(name, tensor) for name, tensor in released.items() if not is_kept(name)]
    with new_folder(to, sum(entry.size for entry in entries)) as part:
        write(part, shards)
        shutil.copytree(original, part, dirs_exist_ok=True, ignore=_weights_in(original))
    say(f"{kind.title}: {len(entries)} trained tensors written to {to}, with everything else of {original}.")
    return 0


def _longer(shapes: dict[str, tuple[int, ...]], rows: int) -> dict[str, tuple[int, ...]]:
    """Shapes of which those with a row for each word have more rows, or fewer."""
    return {name: (shape[0] + rows, *shape[1:]) if name in ROWS else shape for name, shape in shapes.items()}


def _with_image(name: str, tensor: Tensor, rows: int) -> Entry:
    if not rows or name not in ROWS:
        return Entry(target_name(name), tensor)
    return Entry(target_name(name), tensor, tensor.shape[0] + rows, mean_row(tensor) * rows)


def _same_tensors(folder: Path, found: dict[str, Tensor], expected: dict[str, tuple[int, ...]]) -> None:
    """Accounts for every tensor by name and shape.

    Raises:
        UserError: One is missing, unknown, or of another shape.
    """
    wrong = [
        f"{name} is {list(tensor.shape)}, expected {list(expected[name])}"
        for name, tensor in found.items()
        if name in expected and tensor.shape != expected[name]
    ]
    missing, unknown = [n for n in expected if n not in found], [n for n in found if n not in expected]
    told = (
        ("missing", missing),
        ("unknown", [found[name].name for name in unknown]),
        ("of another shape", wrong),
    )
    problems = [f"{what}: {some(names)}" for what, names in told if names]
    if problems:
        raise UserError(f"the weights in {folder} are not as expected; {'; '.join(problems)}. Nothing was written")


def _by_original_name(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for tensor in read(folder).values():
        name = original_name(tensor.name)
        if name in found:
            raise UserError(f"{folder} holds {name} twice, as {found[name].name} and {tensor.name}")
        if is_kept(name):
            found[name] = tensor
    return found


def _same_tower(folder: Path, tensors: dict[str, Tensor], tower: dict[str, Tensor]) -> None:
    """Holds a trained model's vision tower against the one that the original takes from elsewhere.

    Raises:
        UserError: It was changed, and would be lost.
    """
    _same_tensors(folder, {n: t for n, t in tensors.items() if n in tower}, {n: t.shape for n, t in tower.items()})
    changed = [name for name, tensor in tower.items() if not _equal(tensors[name], tensor)]
    if changed:
        raise UserError(
            f"the vision tower in {folder} was trained, and the original takes its tower from elsewhere; what would be "
            f"lost: {some(changed)}"
        )


def _equal(trained: Tensor, first: Tensor) -> bool:
    if trained.dtype == first.dtype:
        return check_sum(trained.pieces()) == check_sum(first.pieces())
    now = trained.load()
    return bool((now == first.load().to(now.dtype)).all())


def _shards(entries: list[Entry]) -> list[list[Entry]]:
    """A shard for each file that they come from."""
    shards: dict[Path, list[Entry]] = {}
    for entry in entries:
        shards.setdefault(entry.source.file, []).append(entry)
    return list(shards.values())


def _weights_in(original: Path) -> Any:
    """For `copytree`: what to leave out of the original's folder, weights of every form and what is hidden."""

    def left_out(folder: str, files: list[str]) -> set[str]:
        return {name for name in files if (Path(folder) == original and name.endswith(WEIGHTS)) or name.startswith(".")}

    return left_out
