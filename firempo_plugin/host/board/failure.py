"""Why a run of the stage was not started, or what ended it: a card with the way to what is to be changed."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..data.admission import UnusableRowsError
from ..preview.page import escaped
from ..sentences import ENDED_FILE
from .fields import FIELDS
from .texts import say

ROWS = "rows"
"""The target of rows that cannot be used: they are seen in the window of pairs."""
ELSEWHERE = {
    "model_name_or_path": "top.model_path",
    "adapter_name_or_path": "top.checkpoint_path",
    "per_device_train_batch_size": "train.batch_size",
    "neftune_noise_alpha": "train.neftune_alpha",
    "bf16": "train.compute_type",
    "fp16": "train.compute_type",
    "pure_bf16": "train.compute_type",
    "deepspeed": "train.ds_stage",
    "dataset_info.json": "train.dataset_dir",
    **{field.key: f"train.{field.name}" for field in FIELDS},
}
"""Elements of the board by the key that each writes, where that is not its name."""
ALERTS = {
    "err_no_model": "top.model_name",
    "err_no_path": "top.model_path",
    "err_no_dataset": "train.dataset",
    "err_no_output_dir": "train.output_dir",
    "err_json_schema": "train.extra_args",
}
"""What the host refuses before a start, by its name in the host's table, with the element that it means."""
_EXCEPTION = re.compile(r"^[\w.]*(?:Error|Exception|Exit)(?:: .*)?$", re.M)
_OUT_OF_MEMORY = re.compile(r"OutOfMemoryError|CUDA out of memory")


@dataclass(frozen=True)
class Failure:
    """What is wrong.

    Attributes:
        kind: `refused`: nothing was started. `ended`: the run ended by an error.
        sentence: What was found, and what to do; plain text.
        target: The element of the board in which it can be changed; ROWS; None where it is not known.
        text: What the host's box holds meanwhile, Markdown.
        log: What the process wrote to its standard error; "" where none was started.
    """

    kind: Literal["refused", "ended"]
    sentence: str
    target: str | None
    text: str
    log: str = ""

    def card(self, language: str, field: str | None, box: str) -> str:
        """The card as HTML; all text of the run in it is escaped.

        Args:
            language: Of the board.
            field: The target's id in the page, which the card's button goes to; None where it has none.
            box: The id of the host's box, in whose place it stands.
        """
        log = f"<details><summary>{say('log', language)}</summary><pre>{escaped(self.log)}</pre></details>"
        goal = f' data-field="{escaped(field)}"' if field else ""
        return (
            f"<style>#{box} {{ display: none; }}</style>"
            f'<div class="firempo-card" role="alert"{goal}><h3>{say(self.kind, language)}</h3>'
            f"<p>{escaped(self.sentence)}</p>{log if self.log else ''}</div>"
        )


def alerted(found: str, language: str) -> str | None:
    """The element that a refusal of the host means."""
    from llamafactory.webui.locales import ALERTS as WORDS

    return next((element for name, element in ALERTS.items() if WORDS[name][language] == found), None)


def of_run(folder: Path, returncode: int, text: str, language: str, elements: Collection[str], extra: str) -> Failure:
    """What ended a run.

    Args:
        folder: Of the run, where its process may have written down what ended it.
        returncode: Of that process; negative for a signal.
        text: What the host shows: what the process wrote to its standard error.
        language: Of the page.
        elements: The names of the board's elements.
        extra: The board's extra arguments, as JSON.
    """
    try:
        noted: dict[str, Any] = json.loads((folder / ENDED_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        noted = {}
    if noted.get("kind") == "CalledProcessError":  # the launcher's, of processes that ended without a word
        noted = {}
    sentence, target = _ending(noted, returncode, text, language)
    short = text.splitlines()[0]
    return Failure("ended", sentence, target or target_of(sentence, elements, extra), short, text)


def _ending(noted: dict[str, Any], returncode: int, text: str, language: str) -> tuple[str, str | None]:
    """What is said of an end, and the target where the sentence does not name it."""
    if noted.get("kind") == UnusableRowsError.__name__:
        return noted["sentence"], ROWS
    if noted.get("spoken"):
        return noted["sentence"], None
    if not noted and (returncode == -9 or "SIGKILL" in text):
        return say("killed", language), None
    said = "{kind}: {sentence}".format(**noted) if noted else _last_words(text)
    if _OUT_OF_MEMORY.search(said):
        return say("out_of_memory", language, error=said), "train.fire_pass_tokens"
    return said, None


def _last_words(text: str) -> str:
    """The last exception in what a process wrote; where there is none, its last line."""
    found = _EXCEPTION.findall(text)
    lines = [line for line in text.splitlines() if line.strip("` ")]
    return str(found[-1] if found else lines[-1])


def target_of(sentence: str, elements: Collection[str], extra: str) -> str | None:
    """The element whose key a sentence names first; a key that is also a word must be written as a key.

    Args:
        sentence: Of training, which names keys.
        elements: The names of the board's elements.
        extra: Extra arguments as JSON; a key that is written there is changed there.
    """
    keys = {
        element.split(".")[1]: element for element in elements if element.startswith(("top.", "train."))
    } | ELSEWHERE
    keys |= dict.fromkeys(re.findall(r'"(\w+)" *:', extra), "train.extra_args")
    del keys["training_stage"]
    found = {}
    for key, element in keys.items():
        written = rf"(?<![\w.]){re.escape(key)}(?![\w])" if re.search(r"[_\d.]", key) else rf"\b{key}: |`{key}`"
        if (place := re.search(written, sentence)) and element in elements:
            found[place.start()] = element
    return found[min(found)] if found else None
