"""Rows as HTML, the same for LLaMA-Board and for the static page."""

import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from itertools import zip_longest
from pathlib import PurePath

from yaml import safe_load

from ...pages import viewer
from .pictures import Picture
from .seen import Kind, Piece, SeenRow


@cache
def words_in(language: str) -> dict[str, str]:
    """The words of `row_html` and `rows_html` by name, in one of the languages of the table beside this file."""
    table = safe_load(files(__package__).joinpath("words.yaml").read_text(encoding="utf-8"))
    return {"enlarge": viewer.words_in(language)["enlarge"]} | {
        name: by_language[language] for name, by_language in table.items()
    }


ENGLISH = words_in("en")

_CLASSES: dict[Kind, str] = {
    "text": "",
    "phrase": ' class="firempo-phrase"',
    "template": ' class="firempo-template"',
    "cut": ' class="firempo-cut"',
}
_DIRECTION_MARKS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


PictureOf = Callable[[str, str | None], Picture]
"""Of an image file and None, or of a clean image file and its noised twin: their difference."""


def rows_html(rows: Iterable[SeenRow], picture_of: PictureOf, language: str = "en") -> str:
    """Rows with style, legend and pictures: markup that needs nothing else, and the viewer's script to enlarge them."""
    words = words_in(language)
    shown = "".join(row_html(row, picture_of, words) for row in rows)
    about = viewer.attributes(language)
    return f'<style>{style()}</style>{legend_html(words)}<div class="firempo-rows" {about}>{shown}</div>'


@cache
def style() -> str:
    """The style sheet of `row_html` and `legend_html`; the viewer's is its own."""
    return files(__package__).joinpath("row.css").read_text(encoding="utf-8")


def legend_html(words: Mapping[str, str] = ENGLISH) -> str:
    """One line that explains the marks."""
    marks = [
        _mark("chosen", Piece("left", "phrase")) + " " + _mark("rejected", Piece("right", "phrase")),
        _mark("chosen", Piece("nod", "text"), Piece("ule", "text")),
        _mark("chosen", Piece("<|im_end|>", "template")),
        _mark("chosen", Piece("clear", "cut")),
    ]
    names = ("legend_phrase", "legend_text", "legend_template", "legend_cut")
    entries = (f"<span>{mark} {escaped(words[name])}</span>" for mark, name in zip(marks, names, strict=True))
    return f'<div class="firempo-legend">{"".join(entries)}</div>'


def row_html(row: SeenRow, picture_of: PictureOf, words: Mapping[str, str] = ENGLISH) -> str:
    """One row as an `article` element; all text in it is escaped.

    Args:
        row: The row.
        picture_of: How its images appear.
        words: Words for people, by the names of ENGLISH.
    """
    return "".join(
        (
            '<article class="firempo-row">',
            _head(row, words),
            _problem(row, words),
            _finding(row, words),
            _pictures(row, picture_of, words),
            f'<p class="firempo-earlier">{escaped(row.earlier)}</p>' if row.earlier else "",
            f'<p class="firempo-question" title="{escaped(words["question"])}">{escaped(row.question)}</p>',
            _side("chosen", row.chosen, words),
            _side("rejected", row.rejected, words),
            _prompt(row, words),
            "</article>",
        )
    )


def _head(row: SeenRow, words: Mapping[str, str]) -> str:
    facts = [
        f"{words['weight']} {row.weight:g}" if not row.problem and row.weight != 1 else "",
        words["truncated"] if row.truncated else "",
        row.about.get("id", ""),
        f"{words['target']}: {row.about['target']}" if "target" in row.about else "",
    ]
    chips = "".join(f'<span class="firempo-fact">{escaped(fact)}</span>' for fact in facts if fact)
    return f'<div class="firempo-head"><span class="firempo-place">{escaped(row.place)}</span>{chips}</div>'


def _problem(row: SeenRow, words: Mapping[str, str]) -> str:
    if not row.problem:
        return ""
    return f'<p class="firempo-problem"><b>{escaped(words["problem"])}:</b> {escaped(row.problem)}</p>'


def _finding(row: SeenRow, words: Mapping[str, str]) -> str:
    """Of a report that is split by its statements, which of them this row is about."""
    if "finding" not in row.about:
        return ""
    number = row.about["finding"].replace(" of ", "/")
    statement = escaped(row.about.get("statement", ""))
    return f'<p class="firempo-finding"><b>{escaped(words["finding"])} {escaped(number)}:</b> {statement}</p>'


def _pictures(row: SeenRow, picture_of: PictureOf, words: Mapping[str, str]) -> str:
    views = (
        "".join(_figures(clean, noised, row, picture_of, words))
        for clean, noised in zip_longest(row.images, row.rejected_images)
    )
    return "".join(f'<div class="firempo-pictures" data-firempo-view>{view}</div>' for view in views)


def _figures(
    clean: str | None, noised: str | None, row: SeenRow, picture_of: PictureOf, words: Mapping[str, str]
) -> Iterator[str]:
    shown = [(name, file, picture_of(file, None)) for name, file in (("clean", clean), ("noised", noised)) if file]
    for name, file, found in shown:
        yield _figure(found, name, words[name], file, words)
    if clean and noised and all(found.uri for _, _, found in shown):
        change = picture_of(clean, noised)
        share = "" if change.changed is None else f": {_percent(change.changed)} {words['changed']}"
        yield _figure(change, "difference", words["difference"] + share, "", words)
        yield _outline(*change.outline)
    elif not noised and not row.problem:
        yield _figure(Picture("", words["no_noised"]), "", "", "", words)


def _figure(shown: Picture, part: str, caption: str, file: str, words: Mapping[str, str]) -> str:
    """A picture that the viewer opens, or why it cannot be shown."""
    if shown.uri:
        about = "".join(f' data-{name}="{escaped(str(value))}"' for name, value in shown.attributes.items())
        image = f'<img src="{shown.uri}" alt="{escaped(caption)}" loading="lazy" data-part="{part}"{about}>'
        hint = escaped(words["enlarge"])
        content = f'<button type="button" class="firempo-frame firempo-open" title="{hint}">{image}</button>'
    else:
        content = f'<div class="firempo-frame"><span>{escaped(shown.problem)}</span></div>'
    name = f'<span class="firempo-file" title="{escaped(file)}">{escaped(PurePath(file).name)}</span>' if file else ""
    return f"<figure>{content}<figcaption>{escaped(caption)}{name}</figcaption></figure>"


def _outline(path: str, view: str) -> str:
    """What the viewer draws over the images; the row does not show it."""
    return f'<svg viewBox="{view}" preserveAspectRatio="none"><path d="{path}"/></svg>' if path else ""


def _percent(share: float) -> str:
    return f"{share:.1%}" if share == 0 or share >= 0.001 else "< 0.1%"


def _side(side: str, pieces: tuple[Piece, ...], words: Mapping[str, str]) -> str:
    if not pieces:
        return ""
    label = f'<span class="firempo-label">{escaped(words[side])}</span>'
    tokens = f'<p class="firempo-tokens">{_tokens(pieces)}</p>'
    return f'<div class="firempo-response firempo-{side}">{label}{tokens}</div>'


def _mark(side: str, *pieces: Piece) -> str:
    return f'<span class="firempo-{side}"><span class="firempo-tokens">{_tokens(pieces)}</span></span>'


def _tokens(pieces: tuple[Piece, ...]) -> str:
    """One element a token, its weight above it; an ordinary one has no class, for there are many of them."""
    return "".join(f"<span{_CLASSES[piece.kind]}>{escaped(_visible(piece))}{_weight(piece)}</span>" for piece in pieces)


def _weight(piece: Piece) -> str:
    return "" if piece.weight == 1 else f"<sup>\u00d7{piece.weight:.3g}</sup>"


def _visible(piece: Piece) -> str:
    """The template's line ends are shown as marks, those of the response as they are."""
    return piece.text.replace("\n", "\u21b5") if piece.kind == "template" else piece.text


def _prompt(row: SeenRow, words: Mapping[str, str]) -> str:
    if not row.prompt:
        return ""
    title = f"{escaped(words['prompt'])} ({row.prompt_tokens} {escaped(words['tokens'])})"
    return f'<details class="firempo-prompt"><summary>{title}</summary><pre>{escaped(row.prompt)}</pre></details>'


def escaped(text: str) -> str:
    """Text as markup; characters that turn the direction of what follows are written out."""
    return html.escape(_DIRECTION_MARKS.sub(lambda mark: f"[U+{ord(mark.group()):04X}]", text))
