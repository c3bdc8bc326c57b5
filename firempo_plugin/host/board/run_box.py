"""What stands beside a run of the stage: its curves, and the card of one that failed, with its buttons."""

from importlib.resources import files
from typing import Any

from .failure import ROWS
from .pairs_box import AT_ONCE

LOOK = """<style>
.firempo-card { border: 2px solid #b91c1c; border-radius: 8px; padding: 12px 16px; }
.firempo-card p { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 40vh; overflow-y: auto; }
.firempo-card pre { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 40vh; overflow-y: auto; }
.firempo-card summary { cursor: pointer; }
</style>"""


def create_run_box(engine: Any, elems: dict[str, Any]) -> dict[str, Any]:
    """Builds card and curves, hidden, behind all else of the training tab; they follow the host's box of the log.

    Args:
        engine: The board's.
        elems: Of the host's training tab, by name.

    Returns:
        Our elements by name: those that have words, the card itself and the curves.
    """
    import gradio as gr

    box = elems["output_box"]
    with gr.Column(visible=False, elem_id="fire_card") as card:
        what = gr.HTML(padding=False)
        with gr.Row():
            rows = gr.Button(visible=False, elem_id="fire_rows_btn")
            field = gr.Button(visible=False, elem_id="fire_field_btn")
    curves = gr.HTML(visible=False, elem_id="fire_curves", padding=False)
    lang = engine.manager.get_elem_by_id("top.lang")
    seen, shown = [box, lang], [card, what, rows, field, curves]
    for changed in seen:  # every two seconds of a run, hence without a sign of loading over what is there
        changed.change(lambda *now: show(engine, *now), seen, shown, show_progress="hidden", **AT_ONCE)
    field.click(None, js=files(__package__).joinpath("run_box.js").read_text(encoding="utf-8"), **AT_ONCE)
    return {"fire_card": card, "fire_curves": curves, "fire_rows_btn": rows, "fire_field_btn": field}


def show(engine: Any, text: str, language: str) -> list[Any]:
    """What is to be seen while the host's box holds a text: of a failure its card, of a run its curves.

    Args:
        engine: The board's.
        text: What the host's box holds.
        language: Of the board.
    """
    import gradio as gr

    failure, run = engine.runner.failure, engine.runner.run
    of_a_run = run is not None and _same(run.text, text)
    drawn = run.curves(language) if of_a_run else ""
    refused = failure is not None and failure.kind == "refused" and _same(failure.text, text)
    curves = gr.HTML(drawn, visible=bool(drawn)) if of_a_run or refused else gr.skip()
    if failure is None or not _same(failure.text, text):
        return [gr.Column(visible=False), "", gr.Button(visible=False), gr.Button(visible=False), curves]
    known = failure.target not in (None, ROWS)
    field = page_id(engine.manager.get_elem_by_id(failure.target)) if known else None
    box = page_id(engine.manager.get_elem_by_id("train.output_box"))
    return [
        gr.Column(visible=True),
        LOOK + failure.card(language, field, box),
        gr.Button(visible=failure.target == ROWS),
        gr.Button(visible=known),
        curves,
    ]


def _same(one: str, other: str) -> bool:
    """Whether texts are the same, one of them out of the page: Gradio indents it otherwise."""
    return one.split() == other.split()


def page_id(element: Any) -> str:
    """The id that Gradio gives an element in the page."""
    return str(element.elem_id or f"component-{element._id}")
