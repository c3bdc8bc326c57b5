"""How far the build of a folder is, as HTML: what runs, the counts of its steps, why items go no further, what came."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from urllib.parse import quote

from ...align.children import last_lines
from ...errors import UserError
from ...pairs import config as configuration
from ...pairs.commands import standing
from ...pairs.config import BuildConfig
from ...pairs.exporters.common import Claims
from ...pairs.exporters.llamafactory import FORMAT
from ...pairs.progress import Progress
from ..preview.page import escaped
from .build_run import CONFIG, LOG, PAGE, Run, look
from .pairs_box import address_of
from .texts import labels, listing, say

SHOWN = 15
"""Lines of a log; of a dry run, whose log is its report, more."""
REPORT = 400
REST = 4
"""So many times as long as a look into the store took, the next one waits while a build runs."""
LOOK = """<style>
.firempo-build table { border-collapse: collapse; margin: 8px 0; }
.firempo-build :is(th, td) { padding: 2px 12px 2px 0; text-align: right; font-variant-numeric: tabular-nums; }
.firempo-build :is(th, td):first-child { text-align: left; }
.firempo-build pre { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 40vh; overflow-y: auto; }
.firempo-build a { text-decoration: underline; }
</style>"""


@dataclass(frozen=True)
class _Looked:
    """A look into a store: what was found, or why nothing could be; and when the next is due."""

    progress: Progress | str | None
    due: float


_LOCK = Lock()
_LOOKED: dict[Path, _Looked] = {}
_SERVED: set[Path] = set()


def state(folder: Path, language: str) -> tuple[str, bool]:
    """What is known of a folder, and whether something runs in it."""
    try:
        run = look(folder)
    except OSError as error:
        return f"<p>{escaped(f'{folder}: {error.strerror}')}</p>", False
    running = run is not None and run.running
    if run is None or not (folder / CONFIG).is_file():
        return f"<p>{say('build_none', language)}</p>", running
    told = "build_pausing" if running and run.pausing else "build_running" if running else "build_idle"
    parts = [
        LOOK,
        f"<p><b>{say(told, language, command=labels()[f'fire_build_{run.command}_btn'][language]['value'])}</b></p>",
    ]
    try:
        config = configuration.load(folder / CONFIG, [])
    except UserError as error:  # a person has changed it
        parts.append(f"<p>{escaped(str(error))}</p>")
    else:
        found = _looked(folder, config, anew=not running)
        parts.append(f"<p>{escaped(found)}</p>" if isinstance(found, str) else _counts(found, language))
        parts.append(_dataset(config, language))
    parts += [_page(folder, language), _log(folder, run, language)]
    return f'<div class="firempo-build">{"".join(parts)}</div>', running


def _looked(folder: Path, config: BuildConfig, *, anew: bool) -> Progress | str | None:
    """How far the build is; while it runs, looks cost no more than a fifth of a core."""
    with _LOCK:
        known = _LOOKED.get(folder)
        if known is None or anew or time.monotonic() >= known.due:
            start = time.monotonic()
            known = _LOOKED[folder] = _Looked(_found(config), (1 + REST) * time.monotonic() - REST * start)
        return known.progress


def _found(config: BuildConfig) -> Progress | str | None:
    if not Path(config.workspace, "store.sqlite").is_file():
        return None
    try:
        return standing(config)[0]
    except (UserError, OSError) as error:
        return str(error)


def _counts(progress: Progress | None, language: str) -> str:
    if progress is None:
        return ""
    tally = progress.tally
    head = "".join(f'<th scope="col">{name}</th>' for name in listing("build_columns", language))
    rows, reasons = [], [("", progress.problems), *((name, step.rejected) for name, step in progress.steps.items())]
    for name, step in progress.steps.items():
        cells = (step.through, len(step.rejected), step.pending, len(step.failed))
        rows.append(f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    reasons += [(name, step.failed) for name, step in progress.steps.items()] + [("", tally.unpaired)]
    lines = [f"{name}: {line.strip()}" if name else line.strip() for name, kinds in reasons for line in kinds.lines()]
    told = say("build_counts", language, records=tally.records, aside=len(progress.problems), pairs=tally.pairs)
    listed = "".join(f"<li>{escaped(line)}</li>" for line in lines)
    problems = f"<p>{say('build_problems', language)}</p><ul>{listed}</ul>" if lines else ""
    return f"<p>{told}</p><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{problems}"


def _dataset(config: BuildConfig, language: str) -> str:
    """Where the data set of this build is, which the host offers."""
    folder, name = Path(config.export.folder), config.export.name
    try:
        entry = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))[name]
        there = Claims(Path(config.workspace), FORMAT).has(folder / entry["file_name"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return (
        f"<p>{say('build_dataset', language, dataset=escaped(name), folder=escaped(str(folder)))}</p>" if there else ""
    )


def _page(folder: Path, language: str) -> str:
    """The way to the review page, which the board serves from then on, with its pictures and nothing beside them."""
    page = (folder / PAGE).absolute()
    if not page.is_file():
        return ""
    import gradio as gr

    if page.parent not in _SERVED:
        gr.set_static_paths(page.parent)
        _SERVED.add(page.parent)
    address = quote(address_of(str(page)))
    return f'<p><a href="{address}" target="_blank" rel="noopener">{say("build_page", language)}</a></p>'


def _log(folder: Path, run: Run, language: str) -> str:
    if not (folder / LOG).is_file():
        return ""
    lines = last_lines(folder / LOG, REPORT if run.command == "dry_run" else SHOWN)
    opened = " open" if run.command == "dry_run" or not run.running else ""
    return (
        f"<details{opened}><summary>{say('log', language)}</summary><pre>{escaped(chr(10).join(lines))}</pre></details>"
    )
