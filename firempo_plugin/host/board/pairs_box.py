"""The look at the pairs before training: a window over the board that pages through every row of the data sets.

The rows are read in a process of their own, the way training reads them; the window follows it.
"""

import os
import re
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...pages import viewer
from ..arguments import STAGE
from ..preview.look import ANY_PROBLEM, PREFIX, Look, Standing, sweep
from ..preview.page import rows_html
from ..preview.pictures import picture
from .refusals import say_refusal
from .runner import section_arguments
from .texts import say

AT_ONCE: dict[str, Any] = {"queue": False, "api_name": False}
"""A reaction that does not wait for a run, and is none of the board's programming interface."""
PAGE_SIZE = 5
OF_THE_TEMPLATE = re.compile("`template`|AttributeError")
"""In what kinds of rows say whose template takes no images, or is not their model's: the host's words, or its fall."""
ALL = "all"
FRAME = f"""<style>{viewer.style()}</style><style>
.firempo-box {{ max-width: 1400px !important; width: 94vw; max-height: 94vh !important; }}
.firempo-box > * {{ flex-shrink: 0; }}
#fire_rows {{ min-height: 60vh; }}
</style>"""


@dataclass
class Window:
    """A look that is open in one browser tab.

    Attributes:
        look: At the rows.
        template: The name of the template that the rows are read with.
        images: Where those of the rows that were drawn lie in full resolution; the board serves it.
        drawn: What stands on the page: which rows, page and how many of its rows.
    """

    look: Look
    template: str
    images: "TemporaryDirectory[str]"
    drawn: tuple[str, int, int] | None = None

    def __post_init__(self) -> None:
        self._picture_of = partial(
            picture, folder=viewer.Folder(Path(self.images.name), f"{address_of(self.images.name)}/")
        )

    def close(self) -> None:
        self.look.close()
        self.images.cleanup()

    def draw(self, language: str, shown: str, page: int, *, anew: bool) -> Any:
        """The page's rows as HTML; left as it is where it has not changed, unless `anew`. Pages count from 1."""
        import gradio as gr

        rows = self.look.rows(None if shown == ALL else shown, (page - 1) * PAGE_SIZE, PAGE_SIZE)
        drawn = (shown, page, len(rows))
        if drawn == self.drawn and not anew:
            return gr.skip()
        self.drawn = drawn
        return FRAME + rows_html(rows, self._picture_of, language)

    def pages(self, shown: str) -> int:
        """At least one."""
        return max(1, -(-self.look.count(None if shown == ALL else shown) // PAGE_SIZE))


def _served() -> "TemporaryDirectory[str]":
    """A folder that the board serves, for this process alone."""
    from gradio.utils import get_upload_folder

    place = Path(get_upload_folder())
    place.mkdir(parents=True, exist_ok=True)
    sweep(place)
    return TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=place, ignore_cleanup_errors=True)


def address_of(path: str) -> str:
    """Where a browser finds a file or folder that the board serves, seen from the board's page."""
    import gradio as gr

    prefix = "gradio_api/" if int(gr.__version__.split(".")[0]) >= 5 else ""
    return f"{prefix}file={path}"


def script() -> str:
    """What the browser runs when the window is opened: the viewer of images, and the keys of the window."""
    own = files(__package__).joinpath("pairs_box.js").read_text(encoding="utf-8")
    return f"""() => {{
if (!window.firempoOpenBox) {{
{viewer.script()}
{own}
document.addEventListener("keydown", pressInBox, true);
window.firempoOpenBox = openBox;
}}
window.firempoOpenBox(document.getElementById("fire_preview_btn").textContent.trim());
}}"""


def create_pairs_box(engine: Any, elems: dict[str, Any], inputs: set[Any], rows_button: Any) -> dict[str, Any]:
    """Builds the window and its button, both hidden.

    Args:
        engine: The board's.
        elems: Of the host's training tab, by name.
        inputs: All that a training command is made of.
        rows_button: A button that opens it, too, on the rows that cannot be used.

    Returns:
        Our elements that have words, by name.
    """
    import gradio as gr

    button = gr.Button(interactive=False, visible=False, scale=1, elem_id="fire_preview_btn")
    with gr.Column(visible=False, elem_id="fire_pairs", elem_classes=["modal-box", "firempo-box"]) as box:
        state = gr.State(None, delete_callback=lambda window: window and window.close())
        timer = gr.Timer(1.0, active=False)
        status = gr.Markdown(elem_id="fire_status")
        with gr.Row():
            shown = gr.Dropdown(choices=[ALL], value=ALL, interactive=True, scale=4)
            page = gr.Number(value=1, precision=0, minimum=1, interactive=True, scale=1)
            previous, following, close = gr.Button(), gr.Button(), gr.Button(elem_id="fire_close_btn")
        rows = gr.HTML(FRAME, elem_id="fire_rows")

    lang = engine.manager.get_elem_by_id("top.lang")
    look_at = [state, lang, shown, page]
    for changed in (elems["dataset"], lang):
        changed.change(preview_button, [elems["dataset_dir"], elems["dataset"], lang], [button], **AT_ONCE)
    for opener, first in ((button, ALL), (rows_button, ANY_PROBLEM)):
        opener.click(None, js=script(), **AT_ONCE)
        opener.click(
            lambda data, first=first: open_window(engine, data, data[state], first),
            {*inputs, state},
            [state, box, timer, status, shown, page, rows],
            **AT_ONCE,
        )
    timer.tick(follow, look_at, [timer, status, shown, page, rows], **AT_ONCE)
    for turned, turn in ((shown.input, 0), (previous.click, -1), (following.click, 1)):
        turned(lambda *where, turn=turn: turn_page(*where, turn=turn), look_at, [page, rows], **AT_ONCE)
    page.submit(lambda *where: turn_page(*where, turn=None), look_at, [page, rows], **AT_ONCE)
    close.click(close_window, [state], [state, box, timer, rows], **AT_ONCE)
    return {
        "fire_preview_btn": button,
        "fire_shown": shown,
        "fire_page": page,
        "fire_prev_btn": previous,
        "fire_next_btn": following,
        "fire_close_btn": close,
    }


def preview_button(dataset_dir: str, dataset: list[str] | None, language: str) -> Any:
    """The button of the window; where there is nothing to look at it says why it is grey."""
    import gradio as gr
    from llamafactory.webui.components.data import can_preview
    from llamafactory.webui.locales import LOCALES

    name = LOCALES["data_preview_btn"][language]["value"]
    try:
        ready = bool(dataset) and can_preview(dataset_dir, dataset).constructor_args["interactive"]
    except KeyError:  # a name that is not in dataset_info.json
        ready = False
    reason = "no_file" if dataset else "no_dataset"
    return gr.Button(name if ready else f"{name}: {say(reason, language)}", interactive=ready)


def open_window(engine: Any, data: dict[Any, Any], before: Window | None, shown: str) -> list[Any]:
    """Starts to read the chosen data sets with the settings of the board as they are, and shows rows of a kind."""
    import gradio as gr

    if before is not None:
        before.close()
    language = data[engine.manager.get_elem_by_id("top.lang")]
    try:
        template = data[engine.manager.get_elem_by_id("top.template")]
        window, status = Window(Look.start(rows_config(engine, data)), template, _served()), say("loading", language)
    except ValueError as error:  # a field of the board that takes a number does not hold one
        window, status = None, say("failed", language, error=say_refusal(error, language))
    return [
        window,
        gr.Column(visible=True),
        gr.Timer(active=window is not None),
        status,
        gr.Dropdown(choices=choices(Standing(), language, shown), value=shown),
        1,
        FRAME,
    ]


def rows_config(engine: Any, data: dict[Any, Any]) -> dict[str, Any]:
    """The training configuration that the rows are read with; without a model where none is chosen."""
    get = {name: data[engine.manager.get_elem_by_id(f"top.{name}")] for name in ("model_name", "model_path")}
    if all(get.values()):
        return dict(engine.runner._parse_train_args(data))
    field = {name: data[engine.manager.get_elem_by_id(f"train.{name}")] for name in ("dataset", "dataset_dir")}
    return {
        "stage": STAGE,
        "do_train": True,
        "finetuning_type": "lora",
        "dataset": ",".join(field["dataset"]),
        "dataset_dir": field["dataset_dir"],
        **section_arguments(engine.manager, data),
    }


def follow(window: Window | None, language: str, shown: str, page: int) -> list[Any]:
    """What has been read since: the status, the reasons to choose from, rows that were still missing on the page."""
    import gradio as gr

    if window is None:
        return [gr.Timer(active=False), *[gr.skip()] * 4]
    standing = window.look.poll()
    return [
        gr.Timer(active=standing.state in ("loading", "checking")),
        status_line(standing, window.template, language),
        gr.Dropdown(choices=choices(standing, language, shown)),
        gr.Number(label=say("page", language, pages=window.pages(shown))),
        window.draw(language, shown, page, anew=False),
    ]


def status_line(standing: Standing, template: str, language: str) -> str:
    """How far the reading is, or why it ended; and what most rows fail by, where that is the template."""
    line = say(
        standing.state,
        language,
        checked=standing.checked,
        total=standing.total,
        bad=standing.bad,
        error=standing.error,
    )
    at_fault = sum(number for kind, number in standing.kinds.items() if OF_THE_TEMPLATE.search(kind))
    more = (
        (standing.builtin_tokenizer, say("builtin_tokenizer", language)),
        (at_fault > standing.bad / 2, say("template_at_fault", language, template=template, number=at_fault)),
    )
    return " ".join([line, *(words for said, words in more if said)])


def choices(standing: Standing, language: str, shown: str) -> list[tuple[str, str]]:
    """Which rows can be shown: all, those with any problem, those of each reason; what is shown is among them."""
    unknown = "…" if standing.total is None else None
    found = [(say("all_rows", language, number=unknown or standing.checked), ALL)]
    if standing.bad or shown == ANY_PROBLEM:
        found.append((say("bad_rows", language, number=unknown or standing.bad), ANY_PROBLEM))
    return found + [(f"{number} × {kind}", kind) for kind, number in standing.kinds.items()]


def turn_page(window: Window | None, language: str, shown: str, page: int, *, turn: int | None) -> list[Any]:
    """Goes to a page, as far as there is one.

    Args:
        window, language, shown, page: As they stand in the browser.
        turn: Pages to go on; 0: to the first page, since other rows are shown; None: to the page that was put in.
    """
    import gradio as gr

    if window is None:
        return [gr.skip(), gr.skip()]
    goal = 1 if turn == 0 else (page or 1) + (turn or 0)
    goal = min(max(goal, 1), window.pages(shown))
    label = say("page", language, pages=window.pages(shown))
    return [gr.Number(value=goal, label=label), window.draw(language, shown, goal, anew=True)]


def close_window(window: Window | None) -> list[Any]:
    """Ends the reading."""
    import gradio as gr

    if window is not None:
        window.close()
    return [None, gr.Column(visible=False), gr.Timer(active=False), FRAME]
