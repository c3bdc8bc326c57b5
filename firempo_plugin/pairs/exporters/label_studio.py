"""Tasks for Label Studio: pairs to be accepted or rejected there, whose export `export.decisions` reads back.

Writes `<name>/tasks.json`, `<name>/config.xml`, which is the labelling interface, and the images beside them, named by
their content. Label Studio shows them where it serves local files from the export's folder:
LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=<folder>.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ...files import replacing, write_text
from ...phrases import Span
from ...settings import config_key
from ..pair import Pair
from ..review.decisions import CHOICE, MARKS, REASON, digest
from .common import Claims, ExportResult, Format, Kept, question
from .images import Images

ADDRESS = "/data/local-files/?d="
INTERFACE = f"""<View>
  <Header value="$question"/>
  <View style="display: flex; gap: 1em">
    <Image name="clean" value="$clean" zoom="true" zoomControl="true"/>
    <Image name="noised" value="$noised" zoom="true" zoomControl="true"/>
  </View>
  <HyperText name="responses" value="$responses"/>
  <Choices name="{CHOICE}" toName="responses" choice="single" required="true">
{"".join(f'    <Choice value="{mark}"/>{chr(10)}' for mark in MARKS)}  </Choices>
  <TextArea name="{REASON}" toName="responses" placeholder="why rejected"/>
</View>
"""


@dataclass(frozen=True)
class Options:
    """`export.options` of this format."""

    overwrite: bool = config_key(False, "replace files of the same name even where they are not this export's")


def write(pairs: Kept, folder: Path, name: str, root: Path, images: str, settings: Options) -> ExportResult:
    """Writes the tasks; see `export.export`. The first image of a pair is shown, with its noised twin."""
    tasks, interface = folder / name / "tasks.json", folder / name / "config.xml"
    claims = Claims(root, "label_studio")
    for file in (tasks, interface):
        claims.take(file, overwrite=settings.overwrite)
    placed = Images(tasks, "link" if images == "link" else "copy", overwrite=settings.overwrite)

    def address(file: str) -> str:
        return f"{ADDRESS}{name}/{placed.name(file)}"

    with replacing(tasks) as temporary, temporary.open("w", encoding="utf-8") as data:
        data.write("[")
        for number, pair in enumerate(pairs):
            task = json.dumps([{"data": {**_texts(pair), **_pictures(pair, address)}}], ensure_ascii=False, indent=1)
            data.write(("," if number else "") + task.removeprefix("[").removesuffix("\n]"))
        data.write("\n]\n")
    write_text(interface, INTERFACE)
    several = sum(len(pair.images) > 1 for pair in pairs)
    notes = [f"Label Studio has to serve local files from {folder.resolve()}: see docs/build.md."]
    if several:
        notes.append(f"{several} pairs have several images; the first is shown.")
    return ExportResult((tasks, interface), len(pairs), notes=(*notes, *placed.finish()))


def _texts(pair: Pair) -> dict[str, Any]:
    sides = (("chosen", pair.chosen, pair.chosen_spans), ("rejected", pair.rejected, pair.rejected_spans))
    lines = [f"<p><i>{side}</i> {''.join(_marked(text, spans))}</p>" for side, text, spans in sides]
    truth = f"<p><i>ground truth</i> {escape(pair.truth or '')}</p>"
    return {"id": pair.id, "digest": digest(pair), "question": question(pair), "responses": "".join([*lines, truth])}


def _marked(text: str, spans: tuple[Span, ...]) -> Iterator[str]:
    """A response as HTML, with its phrases in bold."""
    place = 0
    for start, end in spans:
        yield f"{escape(text[place:start])}<b>{escape(text[start:end])}</b>"
        place = end
    yield escape(text[place:])


def _pictures(pair: Pair, address: Any) -> dict[str, str]:
    if not pair.images:
        return {"clean": "", "noised": ""}
    clean = address(pair.images[0])
    return {"clean": clean, "noised": address(pair.rejected_images[0]) if pair.rejected_images else clean}


LABEL_STUDIO = Format(Options, write)
