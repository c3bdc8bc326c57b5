"""The rounds: what each is made of lies in its folder, and what is finished is found there again."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ..checkpoints import ADAPTER, fingerprint
from ..endpoint.failures import StopRunError
from ..errors import UserError
from ..evaluate import config as evaluating
from ..evaluate.models import digest_of
from ..evaluate.store import ItemFile
from ..files import read_object, write_text
from ..pairs import build
from ..pairs import config as building
from ..pairs.pair import Pair
from ..pairs.review import decisions
from ..store.halt import FAILED, STOPPED
from ..store.workspace import Workspace
from .adapters import stack
from .children import Children, last_lines
from .config import PAIRS, AlignConfig, build_keys, evaluate_keys, row_of
from .policy import Policy, training_keys
from .split import Split, content_of

SETTINGS = ("build", "train", "adapter", "reference", "drop_margin")
"""What a round is made by; it cannot change behind it."""
COSTS = re.compile(
    r"build\.(?:max_cost|\w+\.endpoint\.(?:base_url|key_env|timeout|concurrency|\w+_per_minute|retries|backoff|price_\w+))"
)
"""Settings that say what the calls may cost and how fast they go, and decide no reply: a build that stopped at a limit
goes on under another one."""
MODEL, RECORDS = "model", "records"
"""Beside them, what is in the model that a round begins with, and in the records that it is made of."""


class NothingToLearnError(Exception):
    """No pair came of a round; the message is why."""


@dataclass(frozen=True)
class Built:
    """What a round is trained on.

    Attributes:
        pairs: Rows of its data set.
        from_wrong: Those whose answer was wrong.
        dropped: Pairs that were left out because the model knows them.
    """

    pairs: int
    from_wrong: int
    dropped: int


class Rounds:
    """The work of the rounds.

    Args:
        config: What is wanted.
        split: The records of both sides.
        children: Starts the commands.
    """

    def __init__(self, config: AlignConfig, split: Split, children: Children) -> None:
        self._config = config
        self._split = split
        self._children = children
        self._content_of = cache(lambda place: fingerprint(Path(place)) if Path(place).is_dir() else place)
        self.folder = Path(config.folder)

    def place(self, number: int) -> Path:
        """The folder of a round."""
        return self.folder / "rounds" / str(number)

    def claim(self, number: int, policy: Policy) -> None:
        """Begins a round, or goes on with it.

        Raises:
            UserError: It was begun with other settings, or from a model that is another one now.
        """
        file, own = self.place(number) / "settings.json", {key: vars(self._config)[key] for key in SETTINGS}
        own |= {MODEL: self._content(policy), RECORDS: content_of(self._split.training)}
        if not file.is_file():
            write_text(file, json.dumps(own, indent=1) + "\n")
            return
        before, now = _flat(read_object(file, f"delete {self.place(number)}")), _flat(json.loads(json.dumps(own)))
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key) and not COSTS.fullmatch(key):
                what = {
                    MODEL: f"another model than {policy.adapter or policy.checkpoint} is",
                    RECORDS: "other records than build.source gives",
                }.get(key, f"{key} {before.get(key)!r}, and it is {now.get(key)!r}")
                raise UserError(
                    f"round {number} was made with {what} now; use another folder, or delete {self.place(number)} and "
                    "the rounds behind it (answers and edits are found again in the build)"
                )

    def _content(self, policy: Policy) -> list[str]:
        """What tells a model from another one in its place; of what is no folder, its name."""
        return [self._content_of(place) for place in (policy.checkpoint, policy.adapter) if place]

    def build(self, number: int, policy: Policy) -> Built:
        """Makes the pairs of a round: answers of its model, edits, noise.

        Raises:
            NothingToLearnError: None came of it.
            StopRunError: The build stopped, or something of it waits.
            UserError: It failed.
        """
        place, note = self.place(number), self.place(number) / "built.json"
        if note.is_file():
            return Built(**read_object(note, "delete it: what the build has stored is found again"))
        file, log = place / "build.yaml", place / "build.log"
        keys = build_keys(self._config, number, policy)
        _write_yaml(file, keys)
        code = self._children.firempo("build", str(file), log=log, fine=(0, FAILED, STOPPED))
        if code == STOPPED:
            raise StopRunError(_words(f"the pairs of round {number} are not all made", log))
        pairs = self._pairs(file)
        if code == FAILED and pairs is None:
            raise UserError(_words(f"the pairs of round {number} could not be made", log))
        if not pairs:
            raise NothingToLearnError(_words(f"round {number} has no pair", log))
        known = self._known(number, policy, pairs)
        if len(known) == len(self.rows(number)):
            raise NothingToLearnError(f"round {number}: the model knows all of its {len(known)} pairs")
        if known:
            marks, again = place / "decisions.json", place / "export.yaml"
            _write_marks(marks, pairs, known)
            _write_yaml(again, {**keys, "export": {**keys["export"], "decisions": str(marks)}})
            self._children.firempo("export", str(again), log=log)
        rows = [pairs[row["id"]] for row in self.rows(number)]
        built = Built(len(rows), sum(pair.was_correct is False for pair in rows), len(known))
        write_text(note, json.dumps(asdict(built)) + "\n", lasting=True)
        return built

    def rows(self, number: int) -> list[dict[str, Any]]:
        """The rows of a round's data set."""
        file = self.place(number) / PAIRS / f"{PAIRS}.json"
        rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        return rows

    def _pairs(self, file: Path) -> dict[str, Pair] | None:
        """The pairs that are there; None where not all was made that could be."""
        config = building.load(file, [])
        if not (Path(config.workspace) / "store.sqlite").is_file():
            return None
        workspace = Workspace(Path(config.workspace), look=True)
        try:
            progress = build.run(config, workspace, make=False)
            if any(step.pending for step in progress.steps.values()):
                return None
            return {pair.id: pair for pair in progress.pairs}
        finally:
            workspace.close()

    def _known(self, number: int, policy: Policy, pairs: Mapping[str, Pair]) -> dict[str, float]:
        """Margins of pairs whose answer was right, and whose phrases the model prefers by more than is asked for."""
        least = self._config.drop_margin
        if least is None:
            return {}
        place = self.place(number)
        file, listing = place / "margins.yaml", place / "margins.jsonl"
        _write_yaml(file, self._training(number, policy, self._config.base))
        rows = self.rows(number)
        words = ("check-noise", str(file), "--rows", str(len(rows)), "--list", str(listing))
        self._children.firempo(*words, log=place / "margins.log")
        margins = {}
        for line in listing.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            pair = pairs[rows[int(found["id"].rpartition(" ")[2])]["id"]]
            if pair.was_correct and found["clean"] > least:
                margins[pair.id] = found["clean"]
        return margins

    def train(self, number: int, policy: Policy) -> Policy:
        """Trains a round and returns the policy after it.

        Raises:
            UserError: Training failed.
        """
        place = self.place(number)
        output, file = place / "train", place / "train.yaml"
        reference = self._config.base if self._config.reference == "base" else policy
        if not _is_json(output / "trainer_state.json"):  # which the trainer writes last
            shutil.rmtree(place / "adapter", ignore_errors=True)  # made of what was trained here before
            resumable = any(output.glob("checkpoint-*")) and not self._config.train.get("save_only_model")
            if not resumable:
                shutil.rmtree(output, ignore_errors=True)
            _write_yaml(file, self._training(number, policy, reference))
            self._children.host("train", str(file), log=place / "train.log")
        return self._after(place, policy, output)

    def _training(self, number: int, policy: Policy, reference: Policy) -> dict[str, Any]:
        place = self.place(number)
        keys = training_keys(self._config.train, self._config.adapter, policy, reference, place / "train")
        return {**keys, "dataset": PAIRS, "dataset_dir": str(place / PAIRS)}

    def _after(self, place: Path, policy: Policy, output: Path) -> Policy:
        if self._config.adapter == "continue":
            return Policy(policy.checkpoint, str(output))
        if self._config.adapter == "merge":
            return self._merged(place, policy, output)
        if policy.adapter is None:
            return Policy(policy.checkpoint, str(output))
        together = place / "adapter"
        if not together.is_dir():
            stack([Path(policy.adapter), output], together)
        return Policy(policy.checkpoint, str(together))

    def _merged(self, place: Path, policy: Policy, output: Path) -> Policy:
        """The checkpoint with the adapter in it; of training in full, the output itself by a name of its own."""
        # Answers are kept under a checkpoint's place: what is trained anew there must have another.
        merged = place / f"merged-{fingerprint(output)[:8]}"
        if not (output / ADAPTER).is_file():
            if not merged.is_symlink():
                merged.symlink_to(output.name, target_is_directory=True)
        elif not merged.is_dir():
            partial = place / "merged.partial"
            shutil.rmtree(partial, ignore_errors=True)
            adapters = ",".join(filter(None, [policy.adapter, str(output)]))
            own = {"model_name_or_path": policy.checkpoint, "adapter_name_or_path": adapters}
            file = place / "merge.yaml"
            _write_yaml(file, {**self._config.inference, **own, "export_dir": str(partial), "export_device": "cpu"})
            self._children.host("export", str(file), log=place / "merge.log")
            partial.rename(merged)
        return Policy(str(merged))

    def evaluate(self, policies: list[Policy]) -> Path:
        """Measures the newest policy on the validation split; the others are there already.

        Returns:
            The configuration that `firempo evaluate` was given.

        Raises:
            StopRunError: Not all items were measured.
            UserError: It failed.
        """
        place = self.place(max(1, len(policies) - 1))
        name = "evaluate" if len(policies) > 1 else "evaluate_base"
        file, note = place / f"{name}.yaml", place / f"{name}.done"
        keys = evaluate_keys(self._config, policies)
        made_of = digest_of([keys, self._content(policies[-1]), content_of(self._split.validation)])
        if note.is_file() and note.read_text(encoding="utf-8") == made_of:
            return file
        note.unlink(missing_ok=True)
        _write_yaml(file, keys)
        log = place / f"{name}.log"
        # Where a package for one of several metrics is missing, `firempo evaluate` says so and ends with 3, too.
        self._children.firempo("evaluate", str(file), log=log, fine=(0, STOPPED))
        for measure in evaluating.load(file, []).measures:
            found = ItemFile(Path(keys["workspace"]), measure, row_of(len(policies) - 1)).read()
            if not found.complete and not found.missing:
                raise StopRunError(_words(f"{row_of(len(policies) - 1)} is not wholly measured", log))
        write_text(note, made_of)
        return file


def _write_yaml(file: Path, keys: Mapping[str, Any]) -> None:
    write_text(file, yaml.safe_dump(dict(keys), allow_unicode=True, sort_keys=False))


def _is_json(file: Path) -> bool:
    """Whether a file is there, and whole: a full disk leaves half of one."""
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _write_marks(file: Path, pairs: Mapping[str, Pair], margins: Mapping[str, float]) -> None:
    marks = {
        name: {
            "mark": "reject",
            "reason": f"answered rightly, and preferred by {margin:.2f} nats",
            "digest": decisions.digest(pairs[name]),
        }
        for name, margin in margins.items()
    }
    write_text(file, json.dumps({"format": decisions.FORMAT, "marks": marks}, indent=1) + "\n")


def _words(what: str, log: Path) -> str:
    return "\n".join([f"{what}; the end of {log}:", *(f"  {line}" for line in last_lines(log, 8))])


def _flat(values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Settings by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{place}{key}.") if isinstance(value, Mapping) and value else {place + key: value}
    return found
