"""What the `firempo` subcommands of the pair builder do. Each returns an exit code."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import config as configuration
from .build import Progress, run, summary
from .config import BuildConfig
from .endpoint.failures import CallFailedError, StopRunError
from .request_store import WorkspaceRequests
from .steps import ChatEngine
from .workspace import Workspace

Engine = Callable[[dict[str, Any]], ChatEngine]

DONE, FAILED, STOPPED = 0, 1, 3


def build(path: Path, overrides: list[str], *, only: str | None = None, engine: Engine | None = None) -> int:
    """Runs all steps and exports, or one of them over what is there.

    Returns:
        0; 3 where the run stopped early or something waits, so that the same command goes on later.
    """
    config = configuration.load(path, overrides)
    workspace = Workspace(Path(config.workspace))
    try:
        progress = run(config, workspace, only=only, engine=engine, make=only != "export")
        print(summary(progress, WorkspaceRequests(workspace).totals()))
        for line in progress.handed_in:
            print(line)
        if progress.stopped:
            print(f"\nStopped: {progress.stopped}", file=sys.stderr)
            return STOPPED
        if only in (None, "export"):
            _export(config, workspace, progress)
        if progress.made == 0 and not progress.open:
            print("\nNothing was left to do.")
        if progress.open and only is None:
            print(f"\n{progress.open} items are not done; run the same command again to go on.")
            return STOPPED
        return DONE
    except (StopRunError, CallFailedError) as stop:
        print(f"Stopped: {stop}", file=sys.stderr)
        return STOPPED
    finally:
        workspace.close()


def _export(config: BuildConfig, workspace: Workspace, progress: Progress) -> None:
    from . import decisions
    from .exporters import export

    if not progress.pairs:
        print("\nThere is no pair to export.")
        return
    folder = Path(config.export.folder) if config.export.folder else workspace.folder / "export"
    result = export(
        config.export.format,
        progress.pairs,
        folder,
        name=config.export.name,
        root=workspace.folder,
        options=config.export.options,
        decisions=decisions.read(Path(config.export.decisions)) if config.export.decisions else None,
    )
    print(f"\n{result.rows} pairs in {', '.join(str(file) for file in result.files)}")
    for name, reason in list(result.left_out.items())[:20]:
        print(f"  left out: {name}: {reason}")
    for note in result.notes:
        print(f"  {note}")


def status(path: Path, overrides: list[str]) -> int:
    """Says how far a build is, and makes nothing."""
    config = configuration.load(path, overrides)
    workspace = Workspace(Path(config.workspace))
    try:
        progress = run(config, workspace, make=False)
        print(summary(progress, WorkspaceRequests(workspace).totals()))
        for name, step in progress.advances.items():
            for item, reason in list(step.rejected.items())[:10]:
                print(f"  {name}: {item}: {reason}")
        return DONE
    finally:
        workspace.close()


def dry_run(path: Path, overrides: list[str]) -> int:
    """Counts the calls that a run would make, with their tokens and price, and shows the first prompt; makes none."""
    from .plan import plan

    config = configuration.load(path, overrides)
    workspace = Workspace(Path(config.workspace))
    try:
        print(plan(config, workspace))
        return DONE
    finally:
        workspace.close()


def review(path: Path, overrides: list[str], page: Path | None) -> int:
    """Writes the review page of the pairs that are there."""
    from .review import write_page

    config = configuration.load(path, overrides)
    workspace = Workspace(Path(config.workspace))
    try:
        pairs = run(config, workspace, make=False).pairs
        if not pairs:
            print("There is no pair to review; run `firempo build` first.", file=sys.stderr)
            return FAILED
        target = page or workspace.folder / "review.html"
        result = write_page(pairs, target)
        print(f"{result.pairs} pairs in {result.path} ({result.size / 1e6:.1f} MB); open it in a browser")
        for name, problem in list(result.problems.items())[:20]:
            print(f"  {name}: {problem}")
        return DONE
    finally:
        workspace.close()


def audit(files: list[Path], plot: Path | None) -> int:
    """Prints the style-gap table of one preference file, or of two beside each other; draws it where asked."""
    from . import audit as auditing
    from . import audit_files, audit_report

    reports = []
    for file in files:
        _, rows = audit_files.read(file)
        reports.append(auditing.audit(rows, file.name))
    print(audit_report.table(*reports))
    if plot is not None:
        audit_report.plot(plot, *reports)
        print(f"Drawn in {plot}")
    return DONE
