"""How far the last run came, as it leaves it for `firempo status`: of a million records nobody wants to walk again."""

from ..endpoint.batch import open_keys
from ..store.workspace import Workspace
from .asks import open_batches
from .config import BuildConfig
from .decided import config_digest
from .progress import Progress

_NOTE = "progress"


def leave(config: BuildConfig, workspace: Workspace, progress: Progress, records: int) -> None:
    """Keeps the counts of a run, until now, over a source of so many records."""
    workspace.note(_NOTE, {"config": _config(config, workspace), "records": records, **progress.plain()})


def left(config: BuildConfig, workspace: Workspace) -> tuple[Progress, int] | None:
    """The counts that the last run left, and the records of its source; None where it had other settings."""
    note = workspace.noted(_NOTE)
    try:
        if note["config"] != _config(config, workspace):
            return None
        progress, records = Progress.of(note), int(note["records"])
    except (LookupError, TypeError, ValueError):  # there is none, or it was changed by another hand
        return None
    progress.handed_in = open_batches(config, len(open_keys(workspace.folder / "batches")))
    return progress, records


def _config(config: BuildConfig, workspace: Workspace) -> str:
    return f"{config_digest(config, workspace)} {workspace.noted('touched')}"
