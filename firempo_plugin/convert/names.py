"""The names of tensors: as first released, in the target, and as the modules of transformers have and write them.

Those of the target are those of the LLaVA checkpoints on the hub. transformers 5 renames them as it loads
(`transformers/conversion_mapping.py`, "llava"), so does transformers 4.52 and later; before, and in vLLM, they are the
modules' own names.
"""

from dataclasses import dataclass

NOT_KEPT = (".position_ids", ".inv_freq")
"""Endings of tensors that are counted anew from the configuration, wherever they are."""


@dataclass(frozen=True)
class Part:
    """A part of the model: how the names of its tensors begin.

    Attributes:
        original: As first released.
        target: In the target.
        others: As the modules of transformers are named, and as its `save_pretrained` writes them.
    """

    original: str
    target: str
    others: tuple[str, ...]


PARTS = (
    Part(
        "model.vision_tower.vision_tower.vision_model.",
        "vision_tower.vision_model.",
        ("model.vision_tower.vision_model.", "model.vision_tower."),
    ),
    Part("model.mm_projector.0.", "multi_modal_projector.linear_1.", ("model.multi_modal_projector.linear_1.",)),
    Part("model.mm_projector.2.", "multi_modal_projector.linear_2.", ("model.multi_modal_projector.linear_2.",)),
    Part("lm_head.", "language_model.lm_head.", ("lm_head.", "model.language_model.lm_head.")),
    Part("model.", "language_model.model.", ("model.language_model.model.", "model.language_model.")),
)
VISION = PARTS[0]

_TO_TARGET = {part.original: part.target for part in PARTS}
_TO_ORIGINAL = {start: part.original for part in PARTS for start in (part.target, *part.others)}


def target_name(original: str) -> str:
    """The target's name of a tensor as first released."""
    return _renamed(original, _TO_TARGET)


def original_name(name: str) -> str:
    """The name as first released of a tensor that the target, a module or `save_pretrained` names."""
    return _renamed(name, _TO_ORIGINAL)


def is_kept(name: str) -> bool:
    """Whether a tensor holds something that was learnt."""
    return not name.endswith(NOT_KEPT)


def _renamed(name: str, starts: dict[str, str]) -> str:
    for start in sorted(starts, key=len, reverse=True):
        if name.startswith(start):
            return starts[start] + name.removeprefix(start)
    return name
