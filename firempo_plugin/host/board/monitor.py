"""What the board shows of a run: our curves, each with its verdict, and the warnings above the log."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..preview.page import escaped
from ..train.signs import RunWatch
from ..train.verdicts import verdict
from .texts import say, say_verdict

MARKS = {"good": "✓", "watch": "…", "warn": "⚠️"}
LOOK = """<style>
.firempo-curves figure { margin: 0 0 12px; }
.firempo-curves img { width: 100%; }
.firempo-curves figcaption { font-size: 14px; }
.firempo-curves .firempo-warn { border-left: 4px solid #b91c1c; padding-left: 8px; }
</style>"""


@dataclass
class Run:
    """A run of the stage that this board started.

    Attributes:
        log: The host's `trainer_log.jsonl` of it.
        skipped: Bytes that stood there before, of another run in the same folder.
        text: What the host's box held last of it.
    """

    log: Path
    skipped: int
    text: str = ""

    @classmethod
    def start(cls, log: Path) -> "Run":
        return cls(log, log.stat().st_size if log.is_file() else 0)

    def __post_init__(self) -> None:
        self._drawn: tuple[int, str] | None = None
        self._html = ""

    def curves(self, language: str) -> str:
        """Its curves as they stand, as HTML; "" before the first entry. An old run's are none of it."""
        size = self.log.stat().st_size if self.log.is_file() else 0
        if size <= self.skipped:
            return ""
        if self._drawn != (size, language):
            self._html = curves_html(entries(self.log), language)
            self._drawn = (size, language)
        return self._html


def entries(trainer_log: Path) -> list[dict[str, Any]]:
    """The log of the last run that wrote into a file, to which the host appends.

    One that starts anew, or goes on at a checkpoint, replaces what it repeats.
    """
    log: list[dict[str, Any]] = []
    if not trainer_log.is_file():
        return log
    for line in trainer_log.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            break  # the run is writing it
        entry = json.loads(line)
        if log and entry["current_steps"] < log[-1]["current_steps"]:
            log = [earlier for earlier in log if earlier["current_steps"] < entry["current_steps"]]
        log.append(entry)
    return log


def curves_html(log: list[dict[str, Any]], language: str) -> str:
    """A log's curves, each a picture with its verdict below it; "" where the log is not of this stage."""
    from ..train.curves import live_groups, live_picture

    shown = []
    for title, names in live_groups(log).items():
        found = verdict(title, log)
        said = escaped(say_verdict(found, language))
        picture = base64.b64encode(live_picture(log, names, warned=found.level == "warn")).decode()
        shown.append(
            f'<figure><b>{title}</b><img src="data:image/png;base64,{picture}" alt="{title}: {said}">'
            f'<figcaption class="firempo-{found.level}">{MARKS[found.level]} {said}</figcaption></figure>'
        )
    return f'{LOOK}<div class="firempo-curves">{"".join(shown)}</div>' if shown else ""


def extend_control(module: Any) -> None:
    """Puts the warnings above the log of a run."""
    get_trainer_info = module.get_trainer_info

    def get_info(lang: str, output_path: str, do_train: bool) -> tuple[str, Any, dict[str, Any]]:
        log, progress, info = get_trainer_info(lang, output_path, do_train)
        return (warning(lang, Path(output_path, module.TRAINER_LOG)) + log if do_train else log), progress, info

    module.get_trainer_info = get_info


def warning(language: str, trainer_log: Path) -> str:
    """The warnings of a run's log; "" where there is none."""
    watch = RunWatch()
    for entry in entries(trainer_log):
        watch.see(entry)
    return "".join(f"⚠️ {say(sign.name, language, **sign.values)}\n\n" for sign in watch.found)
