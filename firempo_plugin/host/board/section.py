"""The section of the training tab: built with it, shown where the stage is chosen."""

from collections.abc import Callable
from typing import Any

from ..arguments import STAGE, STAGE_TITLE
from .build_tab import create_build_tab
from .fields import FIELDS, OBJECTIVE, ROWS, Field, changing, has_effect
from .pairs_box import AT_ONCE, create_pairs_box
from .run_box import create_run_box
from .texts import about

LOOK = """<style>
#fire_tab :is(input, textarea):disabled { opacity: 0.35; cursor: not-allowed; }
body:not(.dark) #fire_tab { --block-info-text-color: var(--neutral-600); }
</style>"""
"""Of the section: Gradio's own help lines have a contrast of 1.9 on white, where 4.5 can be read."""


def extend_train_tab(module: Any) -> None:
    """Adds the section and the look at pairs to the host's training tab, and the tab of pairs beside it."""
    create = module.create_train_tab

    def create_train_tab(engine: Any) -> dict[str, Any]:
        tab, fields, note = create_section(engine.manager.get_elem_by_id("top.lang"))
        inputs = engine.manager.get_base_elems() | set(fields.values())
        engine.manager.get_base_elems = lambda: inputs  # the tab adds its own inputs to this very set
        try:
            elems: dict[str, Any] = create(engine)
        finally:
            del engine.manager.get_base_elems
        run_box = create_run_box(engine, elems)
        pairs_box = create_pairs_box(engine, elems, inputs, run_box["fire_rows_btn"])
        put_before(tab, elems["extra_tab"])
        put_before(run_box["fire_card"], elems["output_box"].parent)
        put_before(run_box["fire_curves"], elems["loss_viewer"])
        put_before(pairs_box["fire_preview_btn"], elems["data_preview_btn"])
        elems["training_stage"].change(
            show_stage,
            [elems["training_stage"]],
            [tab, elems["rlhf_tab"], elems["data_preview_btn"], pairs_box["fire_preview_btn"], elems["loss_viewer"]],
            **AT_ONCE,
        )
        engine.manager.add_elems("pairs", create_build_tab(engine, elems["dataset_dir"]))
        return {**elems, "fire_tab": tab, "fire_note": note, **fields, **pairs_box, **run_box}

    module.create_train_tab = create_train_tab


def create_section(lang: Any) -> tuple[Any, dict[str, Any], Any]:
    """Builds the section, hidden: the accordion, its fields by name, and its note.

    Args:
        lang: The board's choice of a language, in which it is said what the chosen objective is.
    """
    import gradio as gr

    def text(field: Field) -> Any:
        return gr.Textbox(value=field.default, interactive=has_effect(field, STAGE))

    make: dict[str, Callable[[Field], Any]] = {
        "number": text,
        "count": text,
        "text": text,
        "choice": lambda field: gr.Dropdown(choices=list(field.choices), value=field.default, interactive=True),
        "switch": lambda field: gr.Checkbox(value=field.default, interactive=True),
    }
    fields = {}
    with gr.Accordion(visible=False, open=True, elem_id="fire_tab") as tab:
        note = gr.Markdown()
        with gr.Row():
            objective = fields[OBJECTIVE.name] = make[OBJECTIVE.kind](OBJECTIVE)
            with gr.Column(scale=2):
                told = gr.Markdown(elem_id="fire_about")
        for row in ROWS:
            with gr.Row():
                for field in row:
                    fields[field.name] = make[field.kind](field)
        gr.HTML(LOOK, padding=False)
    owned = [field for field in FIELDS if field.setting is not None or field.of_reference]
    objective.change(
        lambda objective: [type(fields[f.name])(interactive=has_effect(f, objective)) for f in owned],
        [objective],
        [fields[field.name] for field in owned],
        **AT_ONCE,
    )
    lang.change(None, [lang], js="language => { document.documentElement.lang = language; }", **AT_ONCE)
    for changed in (objective, lang):
        changed.change(about, [objective, lang], [told], **AT_ONCE)
    objective.input(  # a person's choice: loaded arguments keep their numbers
        lambda objective: {fields[name]: value for name, value in changing(objective).items()},
        [objective],
        [fields[name] for name in changing(STAGE)],
        **AT_ONCE,
    )
    return tab, fields, note


def show_stage(training_stage: str) -> list[Any]:
    """Shows the section and the look at pairs for our stage; else the host's own two, and its curve of the loss."""
    import gradio as gr

    ours = training_stage == STAGE_TITLE
    return [
        gr.Accordion(visible=ours),
        gr.Accordion(visible=not ours),
        gr.Button(visible=not ours),
        gr.Button(visible=ours),
        gr.Plot(visible=not ours),
    ]


def put_before(block: Any, other: Any) -> None:
    """Moves a block of the page to the place before another."""
    block.parent.children.remove(block)
    block.parent = other.parent
    other.parent.children.insert(other.parent.children.index(other), block)
