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
from .refusals import say_build_refusal
from .texts import labels, listing, say

SHOWN = 15
"""Lines of a log; of a dry run, whose log is its report, more."""
REPORT = 400
REST = 4
"""So many times as long as a look into the store took, the next one waits while a build runs."""
LOOK = """<style>
.firempo-build { overflow-x: auto; }
.firempo-build table { border-collapse: collapse; margin: 8px 0; }
.firempo-build :is(th, td) { padding: 2px 12px 2px 0; text-align: right; font-variant-numeric: tabular-nums; }
.firempo-build :is(th, td):first-child { text-align: left; }
.firempo-build pre { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 40vh; overflow-y: auto; }
.firempo-build a { text-decoration: underline; }
</style>"""


@dataclass(frozen=True)
class _Looked:
    """A look into a store: what was found, or why nothing could be; and when the next is due."""

    progress: Progress | UserError | None
    due: float


@dataclass(frozen=True)
class State:
    """What is known of a folder.

    Attributes:
        told: As HTML.
        run: The last command in it; None where there was none, or it cannot be read.
        pairs: That are there; None where it is not known.
    """

    told: str
    run: Run | None = None
    pairs: int | None = 0


_LOCKS: dict[Path, Lock] = {}
"""One for each folder: a store that answers slowly holds up the looks into it alone."""
_LOOKED: dict[Path, _Looked] = {}
_SERVED: set[Path] = set()


def state(folder: Path, language: str, *, anew: bool = True) -> State:
    """What is known of a folder; `anew` or not, while something runs there counts may be some seconds old."""
    try:
        run = look(folder)
        if run is None or not (folder / CONFIG).is_file():
            return State(f"<p>{say('build_none', language)}</p>", run)
    except OSError as error:
        return State(f"<p>{escaped(say_build_refusal(unreadable(folder, error), language))}</p>")
    pairs = None
    parts = [LOOK, _standing(run, language)]
    try:
        config = configuration.load(folder / CONFIG, [])
    except UserError as error:  # a person has changed it
        found = UserError(str(error).removeprefix(f"{folder / CONFIG}: "))
        parts.append(f"<p>{escaped(say_build_refusal(found, language))}</p>")
    else:
        progress = _looked(folder, config, anew=anew and not run.running)
        if isinstance(progress, UserError):
            parts.append(f"<p>{escaped(say_build_refusal(progress, language))}</p>")
        else:
            pairs = progress.tally.pairs if progress else 0
            parts.append(_counts(progress, language))
        parts.append(_dataset(config, language))
    parts += [_page(folder, language), _log(folder, run, language)]
    return State(f'<div class="firempo-build">{"".join(parts)}</div>', run, pairs)


def unreadable(place: object, error: OSError) -> UserError:
    """What the system refuses of a file, in a sentence."""
    return UserError(f"{error.filename or place} cannot be read or written: {error.strerror}")


def _standing(run: Run, language: str) -> str:
    """Whether it runs, and if not, whether it ended."""
    command = labels()[f"fire_build_{run.command}_btn"][language]["value"]
    if run.killed:
        return f'<p role="alert">{say("build_killed", language, command=command)}</p>'
    told = "build_pausing" if run.running and run.pausing else "build_running" if run.running else "build_idle"
    return f"<p><b>{say(told, language, command=command)}</b></p>"


def _looked(folder: Path, config: BuildConfig, *, anew: bool) -> Progress | UserError | None:
    """How far the build is; unless `anew`, looks cost no more than a fifth of a core."""
    with _LOCKS.setdefault(folder, Lock()):
        known = _LOOKED.get(folder)
        if known is None or anew or time.monotonic() >= known.due:
            start = time.monotonic()
            known = _LOOKED[folder] = _Looked(_found(config), (1 + REST) * time.monotonic() - REST * start)
        return known.progress


def _found(config: BuildConfig) -> Progress | UserError | None:
    if not Path(config.workspace, "store.sqlite").is_file():
        return None
    try:
        return standing(config)[0]
    except UserError as error:
        return error
    except OSError as error:
        return unreadable(config.workspace, error)


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
    shown = escaped("\n".join(lines))
    summary = say("build_log", language)
    return f'<details{opened}><summary>{summary}</summary><pre lang="en">{shown}</pre></details>'
