"""The pairs and the files that LLaMA-Factory reads them from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from firempo_plugin.demo.pairs import DATASET_INFO, clean_file, noise_mask, noised_files, row
from firempo_plugin.demo.questions import PAIRS, WHOLE, Pair
from firempo_plugin.phrases import phrase_pair


@pytest.fixture(scope="module")
def rows(demo_data: Path) -> list[dict[str, Any]]:
    return json.loads((demo_data / "pairs.json").read_text("utf-8"))


def pixels(path: Path) -> Any:
    return np.asarray(Image.open(path))


def test_side_takes_one_of_each_choice() -> None:
    pair = Pair("x", [], "?", "{Yes|No}, it is {bright|not so bright}.")
    assert pair.side(0) == ("Yes, it is bright.", [[0, 3], [11, 17]])
    assert pair.side(1) == ("No, it is not so bright.", [[0, 2], [10, 23]])


def test_kinds_of_rows() -> None:
    assert 20 <= len(PAIRS) <= 24
    assert len({pair.name for pair in PAIRS}) == len(PAIRS)
    assert sum(not pair.scans for pair in PAIRS) == 2
    assert sum(len(pair.scans) == 2 for pair in PAIRS) == 1
    assert sum(pair.marked for pair in PAIRS) >= 3
    assert sum(bool(pair.scans) and pair.noise is None for pair in PAIRS) == 1
    assert sum(pair.noise == WHOLE for pair in PAIRS) >= 4


def test_written_rows_are_the_pairs(rows: list[dict[str, Any]]) -> None:
    assert rows == [row(pair) for pair in PAIRS]


def test_columns_of_every_row_are_declared(rows: list[dict[str, Any]], demo_data: Path) -> None:
    entry = json.loads((demo_data / "dataset_info.json").read_text("utf-8"))["firempo_demo"]
    assert entry == DATASET_INFO["firempo_demo"]
    assert (demo_data / entry["file_name"]).is_file()
    for each in rows:
        assert set(each) == set(entry["columns"].values())


def test_placeholders_match_images(rows: list[dict[str, Any]]) -> None:
    for each in rows:
        (message,) = each["conversations"]
        assert message["from"] == "human"
        assert message["value"].count("<image>") == len(each["images"])
        assert each["rejected_images"] is None or len(each["rejected_images"]) == len(each["images"]) > 0


def test_every_file_is_used_and_exists(rows: list[dict[str, Any]], demo_data: Path) -> None:
    used = {file for each in rows for file in each["images"] + (each["rejected_images"] or [])}
    assert used == {path.relative_to(demo_data).as_posix() for path in demo_data.rglob("*.png")}


def test_spans_enclose_the_phrases_and_nothing_else_differs(rows: list[dict[str, Any]]) -> None:
    for each in rows:
        rest = []
        for side in ("chosen", "rejected"):
            text, spans = each[side]["value"], each[f"{side}_spans"]
            if spans is None:
                break
            assert all(0 <= start < end <= len(text) for start, end in spans)
            edges = [0, *(edge for span in spans for edge in span), len(text)]
            rest.append([text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)])
        assert len(rest) in (0, 2)
        assert not rest or rest[0] == rest[1]


def test_the_plugin_reads_every_row(rows: list[dict[str, Any]]) -> None:
    for each in rows:
        sides = phrase_pair(
            each["chosen"]["value"], each["rejected"]["value"], each["chosen_spans"], each["rejected_spans"]
        )
        for side in sides:
            assert 0 < sum(end - start for start, end in side.spans) < 0.7 * len(side.text)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.noise], ids=lambda pair: pair.name)
def test_noised_images_differ_inside_the_mask_only(pair: Pair, demo_data: Path) -> None:
    for scan, file in noised_files(pair).items():
        clean, noised = pixels(demo_data / clean_file(scan)), pixels(demo_data / file)
        mask = noise_mask(pair, scan, clean)
        assert np.array_equal(clean[~mask], noised[~mask])
        assert (clean[mask] != noised[mask]).mean() > 0.4  # the noise on black is clipped half of the time
        assert mask.all() == (pair.noise == WHOLE)


def test_same_region_gets_other_noise_in_another_pair(demo_data: Path) -> None:
    files = [noised_files(pair)["ct_chest"] for pair in PAIRS if pair.name in ("chest_aorta", "chest_contrast")]
    assert len(files) == 2
    assert not np.array_equal(pixels(demo_data / files[0]), pixels(demo_data / files[1]))
