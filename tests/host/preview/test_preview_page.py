"""The preview as HTML: everything escaped, pictures once, problems counted, a file whole or none."""

import json
import re
from dataclasses import replace
from functools import partial
from html import unescape

import numpy as np
import pytest
from PIL import Image
from places import TEMPLATES_DIR

from firempo_plugin import cli
from firempo_plugin.host.preview import pictures
from firempo_plugin.host.preview.page import ENGLISH, legend_html, row_html, rows_html
from firempo_plugin.host.preview.seen import Piece, SeenRow
from firempo_plugin.host.preview.static import write_page
from firempo_plugin.pages.book import PAGE
from firempo_plugin.pages.viewer import Folder

CLEAN, NOISED = (str(TEMPLATES_DIR / "images" / name) for name in ("frontal.png", "frontal_noised.png"))
ROW = SeenRow(
    place="pairs, row 7",
    problem="",
    question="Which <b>side</b>?",
    earlier="",
    prompt="<|im_start|>user",
    chosen=(Piece("The", "text"), Piece(" left", "phrase"), Piece("<|im_end|>", "template"), Piece("\n", "template")),
    rejected=(Piece("The", "text"), Piece(" right", "phrase"), Piece(" & more", "cut")),
    images=(CLEAN,),
    rejected_images=(NOISED,),
    weight=2.0,
    truncated=True,
    prompt_tokens=12,
    about={"id": "x:7#2", "finding": "2 of 3", "statement": "No effusion.", "target": "pleura"},
)


@pytest.fixture
def picture(tmp_path):
    """Makes pictures; those in full resolution go to a folder."""
    return partial(pictures.picture, folder=Folder(tmp_path / "full", "full/"))


def data(text, name):
    """A data block of a page."""
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)[1])


def test_tokens_carry_their_kind_and_everything_is_escaped(picture):
    text = row_html(ROW, picture)
    assert (
        '<span>The</span><span class="firempo-phrase"> left</span><span class="firempo-template">&lt;|im_end|&gt;'
        in text
    )
    assert '<span class="firempo-cut"> &amp; more</span>' in text
    assert "Which &lt;b&gt;side&lt;/b&gt;?" in text
    assert text.count('src="data:image/webp;base64,') == 3
    assert re.findall(r'data-part="(\w+)" data-full="full/\w{24}\.png" data-width="160" data-height="128"', text) == [
        "clean",
        "noised",
    ]
    assert re.search(r'<svg viewBox="0 0 160 128" preserveAspectRatio="none"><path d="M', text), "what was changed"
    assert {"weight 2", "shortened by cutoff_len"} <= set(re.findall(r">([^<>]+)</span>", text))
    assert "3.7% of the pixels" in text


def test_the_finding_of_a_report_that_a_row_is_about_is_told(picture):
    text = row_html(ROW, picture)
    assert '<p class="firempo-finding"><b>finding 2/3:</b> No effusion.</p>' in text
    assert '<span class="firempo-fact">x:7#2</span>' in text
    assert '<span class="firempo-fact">the noise hides: pleura</span>' in text
    assert "hides" not in row_html(replace(ROW, about={}), picture)
    assert "firempo-finding" not in row_html(replace(ROW, about={}), picture)


def test_a_weight_stands_above_its_token(picture):
    text = row_html(replace(ROW, chosen=(Piece("The", "text"), Piece(" left", "phrase", 2.5))), picture)
    assert '<span>The</span><span class="firempo-phrase"> left<sup>\u00d72.5</sup></span>' in text


@pytest.mark.parametrize("name", ["place", "problem", "question", "earlier", "prompt"])
def test_no_text_of_a_row_becomes_markup(name, picture):
    text = row_html(replace(ROW, **{name: '<script>"&\u202eevil'}), picture)
    assert "<script" not in text
    assert "&lt;script&gt;&quot;&amp;[U+202E]evil" in text


@pytest.mark.parametrize("name", ROW.about)
def test_nor_does_what_is_noted_of_it(name, picture):
    text = row_html(replace(ROW, about={"finding": "1 of 1", name: "<script>"}), picture)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_neither_do_file_names_nor_words(picture):
    row = replace(ROW, images=('a"><img src=x>.png',), rejected_images=())
    text = row_html(row, picture, {name: f'<i "{name}">' for name in ENGLISH})
    assert "<img" not in text
    assert "<i " not in text
    assert "<i " not in legend_html({name: f"<i {name}>" for name in ENGLISH})


def test_a_problem_is_told_and_its_images_shown_as_far_as_they_are_there(tmp_path, picture):
    gone = str(tmp_path / "gone.png")
    row = replace(ROW, problem="it is odd", chosen=(Piece("raw", "text"),), rejected=(), rejected_images=(gone,))
    text = row_html(row, picture)
    assert "<b>cannot be used:</b> it is odd" in text
    assert "firempo-rejected" not in text, "there is no such text"
    assert text.count("<img") == 1
    assert text.count("image not found") == 1, "no second word about the difference"
    assert "weight" not in text


def test_other_words_and_rows_without_noised_or_any_image(picture):
    text = rows_html([replace(ROW, rejected_images=())], picture, "zh")
    assert "原始图像" in text
    assert "无加噪图像" in text
    assert text.startswith("<style>")
    assert "firempo-legend" in text
    assert "<figure>" not in rows_html([replace(ROW, images=(), rejected_images=())], picture)


def test_pictures_say_what_is_wrong(tmp_path, picture):
    small, text = tmp_path / "small.png", tmp_path / "text.png"
    Image.new("L", (8, 6)).save(small)
    text.write_text("no image")
    assert picture(CLEAN, str(small)).problem == "the sizes differ: 160 x 128 and 8 x 6"
    assert "image format is not known" in picture(str(text)).problem
    assert "image not found" in picture(str(tmp_path / "gone.png"), CLEAN).problem


def test_the_difference_is_that_of_the_full_images(tmp_path, picture):
    """One pixel of a thousand changed a little: it is counted, and stands out as white."""
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    pixels = np.full((20, 50), 100, np.uint8)
    Image.fromarray(pixels).save(one)
    pixels[3, 4] = 110
    Image.fromarray(pixels).convert("RGB").save(other)
    assert picture(str(one), str(other)).changed == 0.001
    assert picture(str(one), str(one)).changed == 0
    shown = decode(picture(str(one), str(other)).uri)
    assert shown.max() > 150
    assert np.median(shown) == 0


def decode(uri):
    import base64
    from io import BytesIO

    return np.asarray(Image.open(BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_a_picture_is_made_anew_when_its_file_has_changed(tmp_path, picture):
    import os

    file = tmp_path / "a.png"
    Image.new("L", (8, 8), 0).save(file)
    before = picture(str(file))
    Image.new("L", (8, 8), 255).save(file)
    os.utime(file, (1, 1))
    assert decode(picture(str(file)).uri).min() > 200 > decode(before.uri).max()


def test_a_page_holds_all_rows_and_each_picture_once(tmp_path):
    rows = [replace(ROW, place=f"pairs, row {n}", problem="" if n % 10 else f"gone {n}; also: bad") for n in range(300)]
    path = tmp_path / "page.html"
    write_page(rows, path, title="A <title> & </script>", note="No model.")
    text = path.read_text()
    assert text.count("data:image") == 3, "a clean image, a noised one, their difference"
    assert all(data(text, f"picture-{number}").startswith("data:image/webp;") for number in range(3))
    entries = data(text, "row-data")
    assert len(entries) == 300
    assert (entries[10]["kinds"], entries[11]["kinds"]) == (["gone N", "bad"], [])
    assert 'src="#2"' in data(text, "markup-11")
    assert "the left" in entries[11]["text"].lower()
    assert data(text, "page-data") == {
        "note": "No model.",
        "kinds": [["gone N", 30], ["bad", 30]],
        "place": None,
    }
    assert "A &lt;title&gt; &amp; &lt;/script&gt;" in text


def test_many_rows_are_several_pages_with_an_index(tmp_path):
    path, ticks = tmp_path / "page.html", []
    rows = [replace(ROW, place=f"pairs, row {n}", problem="" if n else "gone") for n in range(PAGE + 1)]
    write_page(rows, path, tick=lambda *count: ticks.append(count))
    assert ticks[-1] == (6, 6), "three pictures, on each of two pages"
    first, second = data(path.read_text(), "page-data")["pages"]
    assert (first["rows"], first["problems"], first["kinds"]) == (PAGE, 1, [["gone", 1]])
    assert (second["rows"], second["first"], second["problems"]) == (1, f"pairs, row {PAGE}", 0)
    text = (tmp_path / second["address"]).read_text()
    assert len(data(text, "row-data")) == 1
    assert (tmp_path / "page_files" / re.search(r'data-full="([^"]*)"', data(text, "markup-0"))[1]).is_file()
    assert data(text, "page-data")["place"]["previous"] == "page-001.html"
    write_page(rows[:1], path)
    assert not list(tmp_path.glob("page_files/page-*.html"))


def test_a_page_runs_its_own_script_only_and_loads_nothing(tmp_path):
    write_page([ROW], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])
    assert policy.startswith("default-src 'none'; img-src data: 'self' file:; style-src 'sha256-")
    assert not re.search(
        r"https?://|//cdn|\bon\w+=|style=", text.split("</style>")[1].replace("http://www.w3.org/2000/svg", "")
    )


def test_an_interrupted_page_leaves_the_old_one(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_page([ROW], path, tick=interrupt)
    assert path.read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["page.html", "page_files"]


@pytest.fixture
def two_rows(write_dataset):
    """A folder with a sound row and one that is not."""
    sound = {
        "conversations": [{"from": "human", "value": "Which side?"}],
        "chosen": {"from": "gpt", "value": "Left."},
        "rejected": {"from": "gpt", "value": "Right."},
        "images": [],
        "rejected_images": [],
    }
    return write_dataset([sound, {**sound, "rejected": sound["chosen"]}])


def test_the_command_writes_a_page_and_counts(two_rows, tmp_path, capsys):
    page = tmp_path / "look.html"
    command = ["preview", "pairs", f"dataset_dir={two_rows}", "overwrite_cache=true", "--page", str(page)]
    assert cli.main(command) == 1
    said = capsys.readouterr().out
    assert "      1  chosen and rejected are equal\n         pairs, row 1\n1 of 2 rows cannot be used.\n" in said
    assert f"The page is {page}" in said
    assert "No model is named" in said
    assert "No model is named" in data(page.read_text(), "page-data")["note"]
    assert cli.main([*command, "--rows", "1"]) == 0
    assert len(data(page.read_text(), "row-data")) == 1


def test_the_command_refuses_what_it_cannot_read(two_rows, tmp_path, capsys):
    page = tmp_path / "look.html"
    assert cli.main(["preview", "nothing", f"dataset_dir={two_rows}", "--page", str(page)]) == 1
    assert "has no data set 'nothing'" in capsys.readouterr().err
    assert not page.exists()
    with pytest.raises(SystemExit):
        cli.main(["preview", "pairs", "--rows", "0"])
