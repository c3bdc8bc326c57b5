"""What the `firempo` subcommands of the pair builder do. Each returns an exit code."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..endpoint.failures import CallFailedError, StopRunError
from ..respond.respond import ChatEngine
from ..store.engine import Executor
from ..store.halt import DONE, FAILED, STOPPED, halted_by_signals
from ..store.workspace import Workspace
from ..terminal import say
from . import config as configuration
from .actors import executor_of
from .build import run
from .config import BuildConfig
from .left import left
from .progress import Progress, summary
from .quotas import Quotas

Engine = Callable[[dict[str, Any]], ChatEngine]


def build(path: Path, overrides: list[str], *, only: str | None = None, engine: Engine | None = None) -> int:
    """Runs all steps and exports, or one of them over what is there.

    Returns:
        0; 1 where all is done and no pair came of it; 3 where the run stopped early or something waits, so that the
        same command goes on later.
    """
    config = configuration.load(path, overrides)
    # Ray takes SIGTERM to itself when it starts; from within on it means what it means without.
    with executor_of(config, only) as executor:
        return _build(config, only, engine, executor)


def _build(config: BuildConfig, only: str | None, engine: Engine | None, executor: Executor) -> int:
    workspace = Workspace(Path(config.workspace))
    try:
        with halted_by_signals() as halt:
            make = only != "export"
            progress = run(config, workspace, only=only, engine=engine, make=make, halt=halt, executor=executor)
        print(summary(progress))
        for line in progress.handed_in:
            say(line)
        if progress.stopped:
            say("", f"Stopped: {progress.stopped}", file=sys.stderr)
            if progress.pairs:
                print(f"{len(progress.pairs)} pairs are there; firempo export writes them", file=sys.stderr)
            return STOPPED
        if only in (None, "export"):
            _export(config, workspace, progress)
        steps = [progress.steps[only]] if only in progress.steps else list(progress.steps.values())
        still_open = sum(step.pending + len(step.failed) for step in steps)
        if progress.made == 0 and not still_open:
            print("\nNothing was left to do.")
        if still_open and only != "export":
            print(f"\n{still_open} items are not done; run the same command again to go on.")
            return STOPPED
        return DONE if progress.pairs or only not in (None, "export") else FAILED
    except (StopRunError, CallFailedError) as stop:
        say(f"Stopped: {stop}", file=sys.stderr)
        return STOPPED
    finally:
        workspace.close()


def _export(config: BuildConfig, workspace: Workspace, progress: Progress) -> None:
    from .exporters.export import export
    from .review import decisions

    if not progress.pairs:
        print("\nThere is no pair to export; the table above says why.", file=sys.stderr)
        return
    folder = Path(config.export.folder) if config.export.folder else workspace.folder / "export"
    result = export(
        config.export.format,
        progress.pairs,
        folder,
        name=config.export.name,
        root=workspace.folder,
        images=config.export.images,
        options=config.export.options,
        objective=config.objective,
        decisions=decisions.read(Path(config.export.decisions)) if config.export.decisions else None,
        quotas=Quotas(config.export.most, config.export.share),
    )
    print(f"\n{result.rows} pairs in {', '.join(str(file) for file in result.files)}")
    for name, reason in result.left_out.first.items():
        say(f"  left out: {name}: {reason}")
    for note in result.notes:
        say(f"  {note}")


def standing(config: BuildConfig) -> tuple[Progress, int | None]:
    """How far a build is, and the records of its source where that is as its last run left it; makes nothing.

    Raises:
        UserError: There is no build yet.
    """
    workspace = Workspace(Path(config.workspace), look=True)
    try:
        return left(config, workspace) or (run(config, workspace, make=False), None)
    finally:
        workspace.close()


def status(path: Path, overrides: list[str]) -> int:
    """Says how far a build is, and makes nothing."""
    config = configuration.load(path, overrides)
    progress, records = standing(config)
    print(summary(progress))
    if records is not None:
        whole = progress.tally.records == records
        print(f"As the last run left it{'' if whole else f', after {progress.tally.records} of {records} records'}.")
    for line in progress.handed_in:
        say(line)
    for name, step in progress.steps.items():
        for item, reason in list(step.rejected.first.items())[:10]:
            say(f"  {name}: {item}: {reason}")
    return DONE


def dry_run(path: Path, overrides: list[str]) -> int:
    """Counts the calls that a run would make, with their tokens and price, and shows the first prompt; makes none."""
    from .dry_run import forecast

    config = configuration.load(path, overrides)
    with _new_things_removed_on_refusal(Path(config.workspace)):
        workspace = Workspace(Path(config.workspace))
        try:
            print(forecast(config, workspace))
            return DONE
        finally:
            workspace.close()


@contextmanager
def _new_things_removed_on_refusal(folder: Path) -> Iterator[None]:
    """Where a folder was not there, neither is it, nor one above it, after a ValueError."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except ValueError:
        if missing:
            shutil.rmtree(missing[-1], ignore_errors=True)
        raise


def review(path: Path, overrides: list[str], page: Path | None) -> int:
    """Writes the review page of the pairs that are there."""
    from .review.page import write_page

    config = configuration.load(path, overrides)
    workspace = Workspace(Path(config.workspace), look=True)
    try:
        progress = run(config, workspace, make=False)
        pairs = list(progress.pairs)
        if not pairs:
            print("There is no pair to review; run `firempo build` first.", file=sys.stderr)
            return FAILED
        target = page or workspace.folder / "review.html"
        problems = write_page(pairs, target)
        many = "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"
        say(f"{many} in {target}; open it in a browser. The images lie beside it, in {target.stem}_files.")
        if waiting := sum(step.pending for step in progress.steps.values()):
            say(f"{waiting} more wait; `firempo build` with the same file and the same overrides goes on with them.")
        for name, problem in list(problems.items())[:20]:
            say(f"  {name}: {problem}")
        return DONE
    finally:
        workspace.close()


def audit(files: list[Path], plot: Path | None) -> int:
    """Prints the style-gap table of one preference file, or of two beside each other; draws it where asked."""
    from .audit import files as audit_files
    from .audit import report as audit_report
    from .audit import style as auditing

    reports = []
    for file in files:
        _, rows = audit_files.read(file)
        reports.append(auditing.audit(rows, file.name))
    say(*audit_report.table(*reports).split("\n"))
    if plot is not None:
        audit_report.plot(plot, *reports)
        say(f"Drawn in {plot}")
    return DONE
