"""The model of a round: where it is, how a round is trained from it, and what training makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Mode = Literal["stack", "continue", "merge"]


@dataclass(frozen=True)
class Policy:
    """A model.

    Attributes:
        checkpoint: A folder or a name, as the host's model_name_or_path.
        adapter: A folder with an adapter on it; None for none.
    """

    checkpoint: str
    adapter: str | None = None

    @property
    def arguments(self) -> dict[str, str]:
        """As the host takes it."""
        adapter = {"adapter_name_or_path": self.adapter} if self.adapter else {}
        return {"model_name_or_path": self.checkpoint} | adapter


def training_keys(
    train: Mapping[str, Any], mode: Mode, start: Policy, reference: Policy, output: Path
) -> dict[str, Any]:
    """The keys of a round's `llamafactory-cli train`, but for its data.

    Args:
        train: What the user wrote.
        mode: What becomes of adapters.
        start: The policy at the start of the round.
        reference: The model that the rewards are relative to.
        output: The folder of the run.
    """
    # The host logs each 500th step if nothing is said, and a round may have fewer: none would be watched.
    given = {"logging_steps": 1} | {key: value for key, value in train.items() if key != "adapter_name_or_path"}
    own = {"stage": "fire_mpo", "do_train": True, "output_dir": str(output), "overwrite_output_dir": False}
    keys = {**given, **start.arguments, **own}
    if mode != "continue" and start.adapter:
        keys["create_new_adapter"] = True  # the host merges the one that is there: the start is its own reference
    free = Policy(start.checkpoint) if mode == "continue" else start
    if reference != free:
        keys["ref_model"] = reference.checkpoint
        if reference.adapter:
            keys["ref_model_adapters"] = reference.adapter
    return keys


def is_its_own_reference(keys: Mapping[str, Any]) -> bool:
    """Whether a run begins with rewards of 0: no other model is named, and no adapter of before is trained on."""
    return "ref_model" not in keys and ("create_new_adapter" in keys or "adapter_name_or_path" not in keys)
