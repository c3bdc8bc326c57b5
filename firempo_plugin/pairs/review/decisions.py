"""A reviewer's accept and reject marks, read back for the export.

Either the file that the review page saves, or Label Studio's own export (JSON) of the tasks that the format
`label_studio` wrote.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...errors import UserError
from ..pair import Pair

FORMAT = "firempo review 1"
Mark = Literal["accept", "reject"]
MARKS: tuple[Mark, ...] = ("accept", "reject")
CHOICE, REASON = "mark", "reason"
"""Names of the controls in Label Studio."""


@dataclass(frozen=True)
class Decision:
    """One mark.

    Attributes:
        mark: `accept` or `reject`.
        reason: In the reviewer's words; may be empty.
        digest: Of the pair that was looked at; see `digest`.
    """

    mark: Mark
    reason: str
    digest: str


@dataclass(frozen=True)
class Verdict:
    """What the decisions mean for a set of pairs.

    Attributes:
        kept: Pairs without a valid reject mark, in order.
        rejected: Reason by pair id.
        outdated: Ids of pairs that have changed since they were marked; their marks do not count.
    """

    kept: tuple[Pair, ...]
    rejected: dict[str, str]
    outdated: tuple[str, ...]


def digest(pair: Pair) -> str:
    """Names what a reviewer sees of a pair, so that a mark never speaks for a pair that has changed since."""
    noised = [Path(file).name for file in pair.rejected_images]  # a build names them by all that made them
    seen = (pair.question, pair.truth, pair.chosen, pair.rejected, pair.target, pair.noise_path, pair.sigma, noised)
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


def read(path: Path) -> dict[str, Decision]:
    """Reads the file that the review page saves, or Label Studio's export: decisions by pair id.

    Raises:
        UserError: The file is missing or is not one of the review page's; names the place.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; save it with the review page's Export button") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON: {error}; export it from the review page again") from error
    if isinstance(content, list) and content:
        return dict(found for number, task in enumerate(content) for found in _of_task(task, f"{path}, task {number}"))
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("marks"), dict):
        raise UserError(f'{path} is no file of the review page; expected {{"format": "{FORMAT}", "marks": {{...}}}}')
    return {name: _decision(value, f"{path}, marks, {name!r}") for name, value in content["marks"].items()}


def apply(pairs: Iterable[Pair], decisions: Mapping[str, Decision]) -> Verdict:
    """Leaves out what was rejected; pairs without a mark stay in."""
    kept: list[Pair] = []
    rejected: dict[str, str] = {}
    outdated: list[str] = []
    for pair in pairs:
        decision = decisions.get(pair.id)
        current = decision is not None and decision.digest == digest(pair)
        if decision is not None and not current:
            outdated.append(pair.id)
        if decision is not None and current and decision.mark == "reject":
            rejected[pair.id] = f"rejected in review: {decision.reason}" if decision.reason else "rejected in review"
        else:
            kept.append(pair)
    return Verdict(tuple(kept), rejected, tuple(outdated))


def _of_task(task: Any, where: str) -> Iterator[tuple[str, Decision]]:
    """The newest annotation of a task of Label Studio, by the id of its pair; nothing where there is none."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict) or not {"id", "digest"} <= data.keys():
        raise UserError(f"{where} is none of `export.format: label_studio`: its data has no id and digest of a pair")
    done = [one for one in task.get("annotations", ()) if one.get("result") and not one.get("was_cancelled")]
    if not done:
        return
    newest = max(done, key=lambda one: str(one.get("updated_at") or one.get("created_at") or ""))
    values = {one.get("from_name"): one.get("value", {}) for one in newest["result"]}
    mark = (values.get(CHOICE, {}).get("choices") or [None])[0]
    if mark is None:
        return
    reason = " ".join(values.get(REASON, {}).get("text") or [])
    yield data["id"], _decision({"mark": mark, "reason": reason, "digest": data["digest"]}, where)


def _decision(value: Any, where: str) -> Decision:
    if not isinstance(value, dict) or value.get("mark") not in MARKS:
        raise UserError(f'{where}: expected {{"mark": "accept" or "reject", ...}}, found {value!r}')
    reason, seen = value.get("reason", ""), value.get("digest", "")
    if not isinstance(reason, str) or not isinstance(seen, str):
        raise UserError(f"{where}: reason and digest must be text, found {value!r}")
    return Decision(value["mark"], reason, seen)
