"""The tab of pairs, beside the training tab: from records to a data set that training offers."""

import os
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ...errors import UserError
from ..preview.page import escaped
from . import build_run
from .build_buttons import BUTTONS, COMMANDS, OF_PAIRS, updates
from .build_fields import (
    EXTRA,
    FIELDS,
    KEYS,
    OPTIONS,
    PLACE,
    ROWS,
    SOURCE,
    BuildField,
    given,
    is_proposed,
    key_of,
    key_trouble,
    name_after,
    place_of,
    problem,
    proposed,
    shown,
)
from .build_run import CONFIG
from .build_state import state, unreadable
from .build_upload import MARKS, RECORDS, keep, place
from .pairs_box import AT_ONCE
from .refusals import label_of, say_build_refusal
from .texts import labels, say

BUILDS = "pairs"
"""The folder of builds, beside the host's `saves`."""
FIRST = f"{BUILDS}/fire_mpo_pairs"
MARKS_KEY = "export.decisions"
LOOK = """<style>
#fire_build_tab {
  --button-primary-background-fill: #c2410c; --button-primary-background-fill-hover: #9a3412;
}
body:not(.dark) #fire_build_tab { --block-info-text-color: var(--neutral-600); }
#fire_build_tab [role=alert] { border: 2px solid #b91c1c; border-radius: 8px; padding: 12px 16px; }
#fire_build_tab [role=status] { border-left: 4px solid #b45309; padding-left: 8px; }
#fire_build_tab button:disabled {
  opacity: 1; background: var(--neutral-100); color: var(--neutral-600); font-weight: 400; cursor: not-allowed;
}
.dark #fire_build_tab button:disabled { background: var(--neutral-800); color: var(--neutral-300); }
#fire_build_again { display: none; }
</style>"""
"""Of the tab: help lines and reasons that can be read, as in the section; white on a darker orange than Gradio's."""
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
            if KEYS[-1] in row:
                keys = gr.HTML(padding=False, elem_id="fire_build_keys")
        with gr.Row():
            fields[EXTRA] = gr.Textbox(lines=2, interactive=True, scale=4)
            marks = gr.UploadButton(file_count="single", scale=1)
        with gr.Row():
            kinds = {button: "primary" if button == "build" else "secondary" for button in BUTTONS}
            buttons = {button: gr.Button(variant=kind) for button, kind in kinds.items()}  # type: ignore[arg-type]
            again = gr.Button(elem_id="fire_build_again")
        note, told = gr.HTML(padding=False), gr.HTML(padding=False, elem_id="fire_build_state")
        gr.HTML(LOOK, padding=False)
        # Of the page, not of the board's memory: that of one that is started anew is empty.
        opened, own = gr.Textbox(visible=False), gr.Textbox(visible=False)
        timer = gr.Timer(INTERVAL, active=False)
    train = tab.parent
    train.children.remove(tab)
    tab.parent = train.parent
    train.parent.children.insert(train.parent.children.index(train) + 1, tab)

    get = engine.manager.get_elem_by_id
    lang = get("top.lang")
    seen = [told, timer, *buttons.values()]
    place_of_records = [fields[SOURCE], fields[PLACE]]
    board = [lang, opened, dataset_dir, get("top.model_path"), get("top.template")]
    where = [folder, opened, own, lang, *fields.values()]
    _react_to_buttons(buttons, board, fields, where, [note, keys, *seen])
    _react_to_folder(where, [note, keys, *seen])
    _react_to_looks([tab.select, timer.tick, again.click], [opened, lang, *place_of_records], seen)
    lang.change(None, js=files(__package__).joinpath("build_tab.js").read_text(encoding="utf-8"), **AT_ONCE)
    for key in KEYS:
        fields[key].blur(warn_of_keys, [lang, *(fields[key] for key in KEYS)], [keys], **AT_ONCE)
    records = [*place_of_records, fields[OPTIONS]]
    _react_to_records(records, own, [folder, lang], list(buttons.values()))
    upload.upload(take_records, [upload, folder, fields[SOURCE], lang], [*records[1:], own, note], **AT_ONCE)
    marks.upload(take_marks, [marks, folder, lang], [fields[MARKS_KEY], note], **AT_ONCE)
    return {  # without the buttons, whose words are those of `see` alone
        "fire_build_tab": tab,
        "fire_build_folder": folder,
        "fire_build_upload": upload,
        "fire_build_marks": marks,
        **{names[key].name: element for key, element in fields.items()},
    }


def _input(field: BuildField) -> Any:
    import gradio as gr

    if field.kind == "choice":
        return gr.Dropdown(choices=list(field.choices), value=field.default, interactive=True)
    if field.kind == "switch":
        return gr.Checkbox(value=field.default, interactive=True)
    return gr.Textbox(value=field.default, lines=2 if field.kind == "keys" else 1, interactive=True)


def _react_to_buttons(
    buttons: dict[str, Any], board: list[Any], fields: dict[str, Any], where: list[Any], seen: list[Any]
) -> None:
    """`board` is what `run` takes before the fields, language and folder first; `where` is what `arrive` takes."""
    inputs = list(fields.values())
    for command in COMMANDS:
        arrived = buttons[command].click(arrive, where, [*_entered(where), *seen], show_progress="hidden", **AT_ONCE)
        arrived.success(partial(run, command), [*board, *inputs], [*inputs, *seen], **AT_ONCE)
    look_at = [board[1], board[0], fields[SOURCE], fields[PLACE]]
    buttons["pause"].click(stop, look_at, seen[2:], **AT_ONCE)


def _react_to_folder(where: list[Any], seen: list[Any]) -> None:
    """`where` is what `arrive` takes. A page is opened with a change of the language."""
    import gradio as gr

    quietly = {"show_progress": "hidden", **AT_ONCE}
    folder, opened, _, lang, *inputs = where
    for react in (lang.change, folder.input):
        react(enter, [folder, opened, lang, *inputs], [*_entered(where), *seen], **quietly)
    folder.focus(lambda: gr.Dropdown(choices=builds()), None, [folder], **quietly)


def _entered(where: list[Any]) -> list[Any]:
    """What `enter` fills in, before what is seen, of what `arrive` takes."""
    folder, opened, own, _, *inputs = where
    return [folder, opened, own, *inputs]


def _react_to_records(records: list[Any], own: Any, where: list[Any], buttons: list[Any]) -> None:
    """`records` are the fields that say what is read; `own` is what was proposed last for the options among them."""
    source, place, options = records
    source.input(propose, [source, place], [options, own], **AT_ONCE)
    place.blur(follow, [*records, own], [options, own], **AT_ONCE)
    for changed in (source, place):
        changed.change(can_do, [*where, source, place], buttons, show_progress="hidden", **AT_ONCE)


def _react_to_looks(looks: list[Any], look_at: list[Any], seen: list[Any]) -> None:
    """What was started in another window is seen when this one is looked at again; see `build_tab.js`."""
    for look in looks:
        look(look_again, look_at, seen, show_progress="hidden", **AT_ONCE)


def builds() -> list[str]:
    """The folders of builds, the one that was begun last first."""
    found = sorted(Path(BUILDS).glob(f"*/{CONFIG}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [str(path.parent) for path in found] or [FIRST]


def enter(folder: str, opened: str | None, language: str, *values: Any) -> list[Any]:
    """Shows a folder: what its build was given, and how far it is. A page that was just opened shows the last build."""
    import gradio as gr

    if not opened:
        folder = builds()[0]
    folder, own = folder.strip() or FIRST, gr.skip()
    held = dict(zip((field.key for field in FIELDS), values, strict=True))
    shown_now, note, config = dict.fromkeys(held, gr.skip()), "", Path(folder, CONFIG)
    if folder != opened and not os.path.isfile(config):  # the same again, under a name of its own
        shown_now["export.name"] = name_after(folder)
    elif folder != opened:
        try:
            shown_now = held = shown(_read(config))
            own = held[OPTIONS] if is_proposed(held[OPTIONS], held[SOURCE], Path(held[PLACE])) else ""
        except UserError as error:
            note = _alert(say_build_refusal(error, language))
    keys = warn_of_keys(language, *(held[key] for key in KEYS))
    return [folder, folder, own, *shown_now.values(), note, keys, *see(folder, language, held[SOURCE], held[PLACE])]


def arrive(folder: str, opened: str | None, own: str, language: str, *values: Any) -> list[Any]:
    """What a click still has to wait for: `enter` of a folder, or `follow` of records, that was typed just before it.

    Without it a folder would be given what the page shows of another one, and records the columns of others.
    """
    import gradio as gr

    if (folder.strip() or FIRST) != opened:
        return enter(folder, opened, language, *values)
    held = dict(zip((field.key for field in FIELDS), values, strict=True))
    options = held[OPTIONS]
    if os.path.exists(held[PLACE].strip()):  # what is not there is refused as it stands
        options, own = follow(held[SOURCE], held[PLACE], options, own)
    fields = dict.fromkeys(held, gr.skip()) | {OPTIONS: options}
    return [gr.skip(), gr.skip(), own, *fields.values(), *[gr.skip()] * (4 + len(BUTTONS))]


def warn_of_keys(language: str, *names: str) -> str:
    """What is wrong with the names of the keys' variables, as HTML; shows no name, which may be the key itself."""
    troubles = {key: key_trouble(name) for key, name in zip(KEYS, names, strict=True)}
    lines = (say(name, language, label=label_of(key, language)) for key, name in troubles.items() if name)
    return "".join(f'<p role="status">⚠️ {escaped(line)}</p>' for line in lines)


def _read(config: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{config} is not readable YAML: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{config} must hold keys and values")
    return found


def see(folder: str, language: str, source: str, where: str) -> list[Any]:
    """How far the build of a folder is, and what its buttons can do; `source`, `where`: see `build_buttons.updates`."""
    import gradio as gr

    found = state(Path(folder), language)
    running = found.run is not None and found.run.running
    return [found.told, gr.Timer(active=running), *updates(found, language, source, where)]


def look_again(opened: str | None, *rest: str) -> list[Any]:
    """`see` of the folder that is shown; nothing before a page shows one, whose answer might come after `enter`'s."""
    import gradio as gr

    return see(opened, *rest) if opened else [gr.skip()] * (2 + len(BUTTONS))


def can_do(folder: str, language: str, source: str, where: str) -> list[Any]:
    """What the buttons can do, while a field is being filled in."""
    return updates(state(Path(folder), language, anew=False), language, source, where)


def run(
    command: str, language: str, folder: str, dataset_dir: str, model: str, template: str, *values: Any
) -> list[Any]:
    """Starts a command of a folder, or says at the field why not."""
    held = asked = dict(zip((field.key for field in FIELDS), values, strict=True))
    board = {"workspace": folder, "export.folder": dataset_dir}
    board |= {"export.options.model": model} if model else {}
    board |= {"export.options.template": template} if template not in ("", "default") else {}
    file, refused, note = Path(folder, CONFIG), None, ""
    try:
        kept = _read(file) if os.path.isfile(file) else None  # one that a person has broken is not written over
        if command in OF_PAIRS and kept is None:
            note = _alert(say("build_none", language))
        else:
            if command in OF_PAIRS:  # of the pairs that are there, whatever was changed on the page since
                asked = shown(kept or {}) | {key: held[key] for key in held if key.startswith("export.")}
            config = given(asked, board)
            refused = problem(config)
            if refused is None and not build_run.start(Path(folder), command, _dumped(config)):
                note = _alert(say("build_busy", language))
    except UserError as error:
        refused = error, key_of(error)
    except OSError as error:  # of the folder, or of one that the build reads
        refused = unreadable(folder, error), "workspace"
    keys = warn_of_keys(language, *(held[key] for key in KEYS))
    now = see(folder, language, held[SOURCE], held[PLACE])
    return [*_said_at(refused, language), note or _refusal(refused, language), keys, *now]


def _dumped(config: dict[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _said_at(refused: tuple[UserError, str] | None, language: str) -> list[Any]:
    """All fields with their help lines; the one that was refused says why instead."""
    import gradio as gr

    kinds = {"choice": gr.Dropdown, "switch": gr.Checkbox}
    words = labels()
    updates = []
    for field in FIELDS:
        info = words[field.name][language]["info"]
        if refused and refused[1] == field.key:
            info = f"⚠️ {say_build_refusal(refused[0], language)}"
        updates.append(kinds.get(field.kind, gr.Textbox)(info=info))
    return updates


def _refusal(refused: tuple[UserError, str] | None, language: str) -> str:
    return _alert(say("build_refused", language, error=say_build_refusal(refused[0], language))) if refused else ""


def _alert(text: str) -> str:
    return f'<p role="alert">{escaped(text)}</p>'


def stop(folder: str, language: str, source: str, where: str) -> list[Any]:
    """Pauses what runs in a folder."""
    build_run.pause(Path(folder))
    return see(folder, language, source, where)


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
        return [gr.skip(), gr.skip(), gr.skip(), _alert(say_build_refusal(error, language))]
    found = place(kept, home, of_a_file=place_of(source).endswith(".file"))
    if found is None:
        return [gr.skip(), gr.skip(), gr.skip(), _alert(say("build_no_table", language, number=len(kept)))]
    note = f"<p>{say('build_uploaded', language, number=len(kept), folder=escaped(str(home)))}</p>"
    return [str(found), *propose(source, str(found)), note]


def take_marks(uploaded: str, folder: str, language: str) -> list[Any]:
    """Keeps the uploaded marks of a review."""
    import gradio as gr

    try:
        kept = keep([uploaded], Path(folder, MARKS))
        if len(kept) != 1:
            raise UserError(
                f"{Path(uploaded).name} holds {len(kept)} files; upload the one that the review page exports"
            )
    except UserError as error:
        return [gr.skip(), _alert(say_build_refusal(error, language))]
    return [str(kept[0]), ""]
