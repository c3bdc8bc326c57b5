"""The review page holds its pairs whole and runs nothing but its own script; its marks are read back."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from firempo_plugin.images.pixels import decode
from firempo_plugin.pages.book import PAGE
from firempo_plugin.pages.thumbnails import outline, thumbnail
from firempo_plugin.pages.viewer import Folder
from firempo_plugin.pairs.pair import Pair
from firempo_plugin.pairs.review import decisions
from firempo_plugin.pairs.review import page as review

HOSTILE = "</script><img src=x onerror=alert(1)><!-- <script> & &lt; \u2028 ' \" $title ${script} 𝔛"
MARKUP = {
    *("html", "head", "meta", "title", "style", "body", "header", "h1", "div", "span", "output", "button", "input"),
    *("p", "main", "aside", "article", "h2", "dl", "dt", "dd", "table", "tbody", "kbd", "code", "script"),
    *("nav", "section", "details", "summary", "ul", "li", "b"),
}


class Page(HTMLParser):
    """The elements of a page and the contents of its scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.blocks, self.opened = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.opened = dict(attributes).get("id", tag)
            self.blocks[self.opened] = ""

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.opened = None

    def handle_data(self, data):
        if self.opened:
            self.blocks[self.opened] += data

    def data(self, name):
        return json.loads(self.blocks[f"{name}-data"])


@pytest.fixture
def pair(tmp_path):
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 255, (300, 600), dtype=np.uint8)
    mask = np.zeros_like(clean)
    mask[100:200, 300:500] = 255
    for name, pixels in (("clean", clean), ("noised", clean ^ mask), ("mask", mask)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    clean_file, noised_file, mask_file = (str(tmp_path / f"{name}.png") for name in ("clean", "noised", "mask"))
    return Pair(
        id="slake/7",
        question="Which lung is opaque?",
        chosen="The left lung 🫁 is.",
        rejected="The lung 🫁 is not.",
        chosen_spans=((4, 8),),
        rejected_spans=((14, 17),),
        images=(clean_file,),
        rejected_images=(noised_file,),
        truth="Left",
        target="left lung",
        noise_path="lesion",
        sigma=45.0,
        masks=(mask_file,),
        note="rule: laterality",
        error_type="laterality",
    )


def write(pairs, tmp_path):
    file = tmp_path / "review.html"
    return review.write_page(pairs, file), Page(file.read_text(encoding="utf-8"))


def test_a_record_is_on_the_page_with_all_that_a_reviewer_needs(pair, tmp_path):
    bare = Pair("text", "Q?", "no", "yes", ((0, 2),), ((0, 3),))
    problems, page = write([pair, bare], tmp_path)
    assert problems == {}
    record, other = page.data("record")
    assert record["chosen"] == ["The ", "left", " lung 🫁 is."], "outside, phrase, outside: cut by code points"
    assert record["rejected"] == ["The lung 🫁 is ", "not", "."]
    assert (record["id"], record["truth"], record["digest"]) == ("slake/7", "Left", decisions.digest(pair))
    assert record["facts"]["noise_path"] == "lesion"
    assert record["facts"]["note"] == "rule: laterality"
    assert (record["facts"]["error_type"], other["facts"]["error_type"]) == ("laterality", None)
    (image,) = record["images"]
    assert (image["clean"]["index"], image["noised"]["index"], image["view"]) == (0, 1, "0 0 600 300")
    assert other["images"] == []
    assert page.data("page")["format"] == decisions.FORMAT


def test_pictures_are_small_shared_and_true_to_the_image(pair, tmp_path):
    _, page = write([pair, replace(pair, id="again")], tmp_path)
    pictures = [json.loads(text) for name, text in page.blocks.items() if name.startswith("picture-")]
    assert len(pictures) == 2, "two pairs over the same files"
    full = page.data("record")[0]["images"][0]["clean"]["full"]
    assert (decode(tmp_path / full) == decode(pair.images[0])).all(), "every pixel, beside the page"
    assert {file.name for file in (tmp_path / "review_files").iterdir()} <= set(
        re.findall(r"\w{24}\.png", str(page.blocks))
    )
    assert all(picture.startswith("data:image/webp;base64,") for picture in pictures)
    image = Image.open(BytesIO(base64.b64decode(pictures[0].split(",")[1])))
    assert image.size == (256, 128)
    red = np.zeros((10, 20, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "red.png")
    red_uri = thumbnail(str(tmp_path / "red.png"), 128, Folder(tmp_path, "")).uri
    image = Image.open(BytesIO(base64.b64decode(red_uri.split(",")[1])))
    assert image.size == (20, 10), "never enlarged"
    assert np.abs(np.asarray(image.convert("RGB")).astype(int)[5, 5] - [200, 0, 0]).max() < 12


def test_the_outline_follows_the_mask(pair):
    path, view = outline(pair.masks[0])
    corners = {tuple(map(int, point)) for point in re.findall(r"(\d+) (\d+)", path)}
    assert corners == {(300, 100), (300, 199), (499, 199), (499, 100)}
    assert re.fullmatch(r"(M\d+ \d+(L\d+ \d+)*Z)+", path)
    assert view == "0 0 600 300"


def test_text_from_records_cannot_leave_its_data_block(pair, tmp_path):
    texts = dict.fromkeys(("id", "question", "chosen", "rejected", "truth", "judge", "target", "note"), HOSTILE)
    hostile = replace(pair, **texts, chosen_spans=(), rejected_spans=(), images=("/x<svg onload=alert(1)>.png",))
    hostile = replace(hostile, rejected_images=(), masks=(), truth="half a character: \ud83e")
    _, page = write([hostile], tmp_path)
    (record,) = page.data("record")
    assert record["question"] == record["chosen"][0] == record["facts"]["note"] == HOSTILE
    assert record["images"][0]["clean"]["index"] is None
    assert "/x<svg" in record["images"][0]["clean"]["problem"]
    assert {tag for tag, _ in page.elements} <= MARKUP
    assert [attributes.get("type") for tag, attributes in page.elements if tag == "script"] == [
        *["application/json"] * 2,
        None,
    ], "and no block of pictures, for there is none"
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert (tmp_path / "review.html").read_text(encoding="utf-8").lower().count("<script") == 3


def test_the_page_may_run_its_own_script_only_and_load_nothing(pair, tmp_path):
    _, page = write([pair], tmp_path)
    hashes = {
        kind: base64.b64encode(hashlib.sha256(page.blocks[kind].encode()).digest()).decode()
        for kind in ("style", "script")
    }
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data: 'self' file:",
        f"style-src 'sha256-{hashes['style']}'",
        f"script-src 'sha256-{hashes['script']}'",
    ]
    assert not any({"src", "href"} & set(attributes) for _, attributes in page.elements)
    script = page.blocks["script"]
    for way_to_markup in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert way_to_markup not in script
    assert "http" not in script.replace("http://www.w3.org/2000/svg", "")


def test_images_that_cannot_be_read_are_reported_and_the_page_is_written(pair, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    broken = replace(pair, images=(str(tmp_path / "broken.png"),), masks=(str(tmp_path / "none.png"),))
    problems, page = write([broken], tmp_path)
    assert set(problems) == {*broken.images, *broken.masks}
    (image,) = page.data("record")[0]["images"]
    assert image["clean"]["index"] is None
    assert image["noised"]["index"] == 0
    assert image["outline"] is None


def test_a_page_of_2000_pairs_holds_no_element_for_each(pair, tmp_path):
    pairs = [replace(pair, id=f"slake/{number}") for number in range(PAGE)]
    _, page = write(pairs, tmp_path)
    assert len(page.data("record")) == PAGE
    assert len(page.elements) < 100, "the script draws what is in view"
    assert (tmp_path / "review.html").stat().st_size < 3_000_000, "text, beside the pictures"


def test_more_pairs_are_several_pages_with_an_index(pair, tmp_path):
    pairs = [replace(pair, id=f"slake/{number}") for number in range(2 * PAGE + 1)]
    problems, index = write(pairs, tmp_path)
    assert problems == {}
    assert [record["id"] for record in index.data("record")] == [pair.id for pair in pairs]
    assert [part["pairs"] for part in index.data("page")["pages"]] == [PAGE, PAGE, 1]
    files = [tmp_path / part["address"] for part in index.data("page")["pages"]]
    parts = [Page(file.read_text(encoding="utf-8")) for file in files]
    assert [record["id"] for part in parts for record in part.data("record")] == [pair.id for pair in pairs]
    assert {part.data("page")["store"] for part in parts} == {index.data("page")["store"]}, "one review"
    for file, part in zip(files, parts, strict=True):
        assert (file.parent / part.data("record")[0]["images"][0]["noised"]["full"]).is_file()
    write(pairs[:PAGE], tmp_path)
    assert not any(file.exists() for file in files), "no page of an earlier review is left"


def test_pairs_that_marks_could_not_tell_apart_are_refused(pair, tmp_path):
    with pytest.raises(ValueError, match="the same id"):
        write([pair, pair], tmp_path)
    assert not (tmp_path / "review.html").exists()


def test_the_marks_of_the_page_are_those_that_the_export_reads(pair, tmp_path):
    """Format, keys and values; that the page's script writes these is shown in a browser."""
    folder = Path(review.__file__).parent / "static"
    assert {file.name for file in folder.glob("*.js")} == {*review.SCRIPTS, *review.INDEX_SCRIPTS}
    _, page = write([pair], tmp_path)
    record, about = page.data("record")[0], page.data("page")
    saved = {record["id"]: {"mark": "reject", "reason": "blurred", "digest": record["digest"]}}
    file = tmp_path / about["download"]
    file.write_text(json.dumps({"format": about["format"], "title": about["title"], "marks": saved}))
    verdict = decisions.apply([pair], decisions.read(file))
    assert (verdict.kept, verdict.rejected, verdict.outdated) == ((), {"slake/7": "rejected in review: blurred"}, ())
    other_noise = tuple(image.replace(".png", "2.png") for image in pair.rejected_images)
    for changed in (replace(pair, chosen="The left lung 🫁 was."), replace(pair, rejected_images=other_noise)):
        verdict = decisions.apply([changed], decisions.read(file))
        assert (verdict.kept, verdict.rejected, verdict.outdated) == ((changed,), {}, ("slake/7",))
