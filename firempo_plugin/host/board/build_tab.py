"""The tab of pairs, beside the training tab: from records to a data set that training offers."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ...errors import UserError
from ...files import write_text
from ..preview.page import escaped
from . import build_run
from .build_fields import (
    EXTRA,
    FIELDS,
    OPTIONS,
    PLACE,
    ROWS,
    SOURCE,
    BuildField,
    given,
    key_of,
    place_of,
    problem,
    proposed,
    shown,
)
from .build_run import CONFIG
from .build_state import state
from .build_upload import MARKS, RECORDS, keep, place
from .pairs_box import AT_ONCE
from .texts import labels, say, say_refusal

BUILDS = "pairs"
"""The folder of builds, beside the host's `saves`."""
FIRST = f"{BUILDS}/fire_mpo_pairs"
COMMANDS = ("dry_run", "build", "export", "review")
MARKS_KEY = "export.decisions"
LOOK = """<style>
#fire_build_tab {
  --button-primary-background-fill: #c2410c; --button-primary-background-fill-hover: #9a3412;
}
body:not(.dark) #fire_build_tab { --block-info-text-color: var(--neutral-600); }
#fire_build_tab [role=alert] { border: 2px solid #b91c1c; border-radius: 8px; padding: 12px 16px; }
</style>"""
"""Of the tab: help lines that can be read, as in the section, and white on a darker orange than Gradio's."""
INTERVAL = 1.0
"""Seconds between two looks while something runs."""


def create_build_tab(engine: Any, dataset_dir: Any) -> dict[str, Any]:
    """Builds the tab and puts it behind the one that is being built.

    Args:
        engine: The board's.
        dataset_dir: The training tab's field of the folder of data sets.

    Returns:
        Its elements that have words, by name.
    """
    import gradio as gr

    fields: dict[str, Any] = {}
    names = {field.key: field for field in FIELDS}
    with gr.Tab("Pairs", elem_id="fire_build_tab") as tab:
        with gr.Row():
            folder = gr.Dropdown(choices=builds(), value=FIRST, allow_custom_value=True, interactive=True, scale=4)
            upload = gr.UploadButton(file_count="multiple", scale=1)
        for row in ROWS:
            with gr.Row():
                fields |= {key: _input(names[key]) for key in row}
        with gr.Row():
            fields[EXTRA] = gr.Textbox(lines=2, interactive=True, scale=4)
            marks = gr.UploadButton(file_count="single", scale=1)
        with gr.Row():
            kinds = {command: "primary" if command == "build" else "secondary" for command in (*COMMANDS, "pause")}
            buttons = {command: gr.Button(variant=kind) for command, kind in kinds.items()}  # type: ignore[arg-type]
        note, told = gr.HTML(padding=False), gr.HTML(padding=False, elem_id="fire_build_state")
        gr.HTML(LOOK, padding=False)
        opened, own, timer = gr.State(None), gr.State(""), gr.Timer(INTERVAL, active=False)
    train = tab.parent
    train.children.remove(tab)
    tab.parent = train.parent
    train.parent.children.insert(train.parent.children.index(train) + 1, tab)

    get = engine.manager.get_elem_by_id
    lang = get("top.lang")
    seen = [note, told, timer]
    board = [lang, folder, dataset_dir, get("top.model_path"), get("top.template")]
    _react_to_buttons(buttons, board, fields, seen)
    _react_to_folder([folder, opened, lang], list(fields.values()), seen)
    records = [fields[SOURCE], fields[PLACE], fields[OPTIONS]]
    fields[SOURCE].input(propose, records[:2], [records[2], own], **AT_ONCE)
    fields[PLACE].blur(follow, [*records, own], [records[2], own], **AT_ONCE)
    upload.upload(take_records, [upload, folder, fields[SOURCE], lang], [*records[1:], own, note], **AT_ONCE)
    marks.upload(take_marks, [marks, folder], [fields[MARKS_KEY], note], **AT_ONCE)
    return {
        "fire_build_tab": tab,
        "fire_build_folder": folder,
        "fire_build_upload": upload,
        "fire_build_marks": marks,
        **{names[key].name: element for key, element in fields.items()},
        **{f"fire_build_{command}_btn": button for command, button in buttons.items()},
    }


def _input(field: BuildField) -> Any:
    import gradio as gr

    if field.kind == "choice":
        return gr.Dropdown(choices=list(field.choices), value=field.default, interactive=True)
    if field.kind == "switch":
        return gr.Checkbox(value=field.default, interactive=True)
    return gr.Textbox(value=field.default, lines=2 if field.kind == "keys" else 1, interactive=True)


def _react_to_buttons(buttons: dict[str, Any], board: list[Any], fields: dict[str, Any], seen: list[Any]) -> None:
    """`board` is what `run` takes before the fields, language and folder first."""
    inputs = list(fields.values())
    for command in COMMANDS:
        buttons[command].click(partial(run, command), [*board, *inputs], [*inputs, *seen], **AT_ONCE)
    buttons["pause"].click(stop, [board[1], board[0]], seen[1:], **AT_ONCE)


def _react_to_folder(where: list[Any], inputs: list[Any], seen: list[Any]) -> None:
    """`where` is what `enter` takes. A page is opened with a change of the language."""
    import gradio as gr

    quietly = {"show_progress": "hidden", **AT_ONCE}
    folder, opened, lang = where
    for react in (lang.change, folder.input):
        react(enter, where, [folder, opened, *inputs, *seen], **quietly)
    folder.focus(lambda: gr.Dropdown(choices=builds()), None, [folder], **quietly)
    seen[-1].tick(see, [folder, lang], seen[1:], **quietly)


def builds() -> list[str]:
    """The folders of builds, the one that was begun last first."""
    found = sorted(Path(BUILDS).glob(f"*/{CONFIG}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [str(path.parent) for path in found] or [FIRST]


def enter(folder: str, opened: str | None, language: str) -> list[Any]:
    """Shows a folder: what its build was given, and how far it is. A page that was just opened shows the last build."""
    import gradio as gr

    if opened is None:
        folder = builds()[0]
    folder = folder.strip() or FIRST
    values, note, config = [gr.skip()] * len(FIELDS), "", Path(folder, CONFIG)
    if folder == opened:
        return [folder, folder, *values, note, *see(folder, language)]
    if not os.path.isfile(config):  # the same again, under a name of its own
        values[[field.key for field in FIELDS].index("export.name")] = Path(folder).name
    else:
        try:
            loaded = shown(_read(config))
            values = [loaded[field.key] for field in FIELDS]
        except UserError as error:
            note = _alert(str(error))
    return [folder, folder, *values, note, *see(folder, language)]


def _read(config: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{config} is not readable YAML: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{config} must hold keys and values")
    return found


def see(folder: str, language: str) -> list[Any]:
    """How far the build of a folder is."""
    import gradio as gr

    told, running = state(Path(folder), language)
    return [told, gr.Timer(active=running)]


def run(
    command: str, language: str, folder: str, dataset_dir: str, model: str, template: str, *values: Any
) -> list[Any]:
    """Starts a command of a folder, or says at the field why not."""
    held = dict(zip((field.key for field in FIELDS), values, strict=True))
    board = {"workspace": folder, "export.folder": dataset_dir}
    board |= {"export.options.model": model} if model else {}
    board |= {"export.options.template": template} if template not in ("", "default") else {}
    file, refused, note = Path(folder, CONFIG), None, ""
    if command in ("export", "review") and not os.path.isfile(file):
        return [*_said_at(None, language), _alert(say("build_none", language)), *see(folder, language)]
    try:
        if command in ("export", "review"):  # of the pairs that are there, whatever was changed on the page since
            before = shown(_read(file))
            held = before | {key: held[key] for key in held if key.startswith("export.")}
        config = given(held, board)
        refused = problem(config)
        if refused is None and not _started(command, file, config):
            note = _alert(say("build_busy", language))
    except UserError as error:
        refused = error, key_of(error)
    except OSError as error:  # of the folder, or of one that the build reads
        refused = UserError(f"{error.filename or folder}: {error.strerror}"), "workspace"
    return [*_said_at(refused, language), note or _refusal(refused, language), *see(folder, language)]


def _started(command: str, file: Path, config: dict[str, Any]) -> bool:
    """Writes the configuration and starts a command over it; False where one is running."""
    if (now := build_run.look(file.parent)) is None or not now.running:
        write_text(file, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    return build_run.start(file.parent, command)


def _said_at(refused: tuple[UserError, str] | None, language: str) -> list[Any]:
    """All fields with their help lines; the one that was refused says why instead."""
    import gradio as gr

    kinds = {"choice": gr.Dropdown, "switch": gr.Checkbox}
    words = labels()
    updates = []
    for field in FIELDS:
        info = words[field.name][language]["info"]
        if refused and refused[1] == field.key:
            info = f"⚠️ {say_refusal(refused[0], language)}"
        updates.append(kinds.get(field.kind, gr.Textbox)(info=info))
    return updates


def _refusal(refused: tuple[UserError, str] | None, language: str) -> str:
    return _alert(say("build_refused", language, error=say_refusal(refused[0], language))) if refused else ""


def _alert(text: str) -> str:
    return f'<p role="alert">{escaped(text)}</p>'


def stop(folder: str, language: str) -> list[Any]:
    """Pauses what runs in a folder."""
    build_run.pause(Path(folder))
    return see(folder, language)


def propose(source: str, where: str) -> list[str]:
    """Options for a source and what it reads, for their field and for what is remembered of it."""
    return [proposed(source, Path(where.strip())) if where.strip() else ""] * 2


def follow(source: str, where: str, options: str, own: str) -> list[str]:
    """Options for another file, unless a person has changed those that were proposed last, `own`."""
    return propose(source, where) if options.strip() in ("", own.strip()) else [options, own]


def take_records(uploaded: list[str], folder: str, source: str, language: str) -> list[Any]:
    """Keeps uploaded records, and fills in what says where they are."""
    import gradio as gr

    home = Path(folder, RECORDS)
    try:
        kept = keep(uploaded, home)
    except UserError as error:
        return [gr.skip(), gr.skip(), gr.skip(), _alert(str(error))]
    found = place(kept, home, of_a_file=place_of(source).endswith(".file"))
    if found is None:
        return [gr.skip(), gr.skip(), gr.skip(), _alert(say("build_no_table", language, number=len(kept)))]
    note = f"<p>{say('build_uploaded', language, number=len(kept), folder=escaped(str(home)))}</p>"
    return [str(found), *propose(source, str(found)), note]


def take_marks(uploaded: str, folder: str) -> list[Any]:
    """Keeps the uploaded marks of a review."""
    import gradio as gr

    try:
        kept = keep([uploaded], Path(folder, MARKS))
        if len(kept) != 1:
            raise UserError(
                f"{Path(uploaded).name} holds {len(kept)} files; upload the one that the review page exports"
            )
    except UserError as error:
        return [gr.skip(), _alert(str(error))]
    return [str(kept[0]), ""]
