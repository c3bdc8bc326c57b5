"""The buttons of the tab of pairs: grey where they can do nothing, and then they say why."""

from typing import Any

from .build_fields import needs_place
from .build_state import State
from .texts import labels, say

COMMANDS = ("dry_run", "build", "export", "review")
BUTTONS = (*COMMANDS, "pause")
OF_PAIRS = ("export", "review")
"""Commands over the pairs that are there."""


def reason(button: str, found: State, *, records: bool) -> str | None:
    """Why a button can do nothing, as the name of a message; None where it can.

    Args:
        button: Of BUTTONS.
        found: What is known of the folder.
        records: Whether it is said what the source is to read.
    """
    running = found.run is not None and found.run.running
    if button == "pause":
        if not running:
            return "build_nothing_runs"
        return "build_ends" if found.run and found.run.pausing else None
    if running:
        return "build_runs"
    if button in OF_PAIRS:
        return "build_no_pairs" if found.pairs == 0 else None
    return None if records else "build_no_records"


def updates(found: State, language: str, source: str, where: str) -> list[Any]:
    """The buttons in their order; `source` and `where` are what the fields of the records hold."""
    import gradio as gr

    records = bool(where.strip()) or not needs_place(source)
    buttons = []
    for button in BUTTONS:
        name, why = labels()[f"fire_build_{button}_btn"][language]["value"], reason(button, found, records=records)
        buttons.append(gr.Button(f"{name}: {say(why, language)}" if why else name, interactive=why is None))
    return buttons
