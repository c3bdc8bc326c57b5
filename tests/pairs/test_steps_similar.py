"""Another record's image in the place of noise: the most similar one, of nobody who is asked about."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from pairs_building import with_pairs
from pairs_memory import dicom
from PIL import Image

from firempo_plugin.errors import UserError
from firempo_plugin.pairs.build import run
from firempo_plugin.pairs.commands import build
from firempo_plugin.pairs.config import load
from firempo_plugin.store.workspace import Workspace

ROWS, COLUMNS = np.mgrid[:60, :80]


def scan(turn):
    """Pictures that are the more alike the closer their turns are."""
    waves = np.sin(COLUMNS / 11 + turn) + np.cos(ROWS / 9 - turn)
    return np.uint8(np.rint(127 + 60 * waves))


@pytest.fixture
def make(tmp_path):
    """Returns a function from rows to a build of them; a row is an image's file, pixels, and more columns."""
    folder = tmp_path / "images"
    folder.mkdir()

    def made(rows, name="work", **settings):
        written = []
        for number, (file, pixels, more) in enumerate(rows):
            path = folder / file
            if path.suffix == ".dcm":
                dicom(path, pixels)
            elif not path.exists():
                Image.fromarray(pixels).save(path)
            row = {"id": f"r{number}", "image": file, "q": "Is there an effusion?", "t": "No", "a": "No effusion."}
            written.append(row | more)
        table = tmp_path / f"{name}.jsonl"
        table.write_text("".join(json.dumps(row) + "\n" for row in written))
        columns = {"id": "id", "image": "image", "question": "q", "truth": "t", "response": "a"}
        if any("p" in row for row in written):
            columns["study"] = "p"
        options = {"file": str(table), "image_root": str(folder), "columns": columns}
        source = {"name": "table", "options": options} | settings
        path = tmp_path / f"{name}.yaml"
        noise = {"by": "similar"}
        path.write_text(yaml.safe_dump({"workspace": str(tmp_path / name), "source": source, "noise": noise}))
        return path

    return made


def progress(path, make=True):
    config = load(path, [])
    workspace = Workspace(Path(config.workspace))
    try:
        return with_pairs(run(config, workspace, make=make))
    finally:
        workspace.close()


def twins(path):
    """Pixels of every pair's rejected image, by id."""
    found = progress(path)
    return {pair.id: np.asarray(Image.open(pair.rejected_images[0])) for pair in found.pairs}, found


PLAIN = [("a.png", scan(0.0), {}), ("b.png", scan(0.9), {}), ("c.png", scan(0.5), {})]


def test_the_twin_is_the_image_that_looks_most_like_it(make):
    found, done = twins(make(PLAIN))
    shown = {name: [np.array_equal(twin, image) for _, image, _ in PLAIN].index(True) for name, twin in found.items()}
    assert shown == {"table:r0": 2, "table:r1": 2, "table:r2": 1}
    assert {(pair.noise_path, pair.sigma) for pair in done.pairs} == {("similar", 0.0)}
    assert progress(make(PLAIN)).made == 0


def test_no_image_of_the_same_study_or_record_and_no_copy(make):
    """The closest is the same patient's, the next a copy by another name and size, then one of another patient."""
    rows = [
        ("a.png", scan(0.0), {"p": "one"}),
        ("same.png", scan(0.3), {"p": "one"}),
        ("copy.png", np.asarray(Image.fromarray(scan(0.0)).resize((160, 120))), {"p": "two"}),
        ("other.png", scan(0.6), {"p": "three"}),
    ]
    assert np.array_equal(twins(make(rows))[0]["table:r0"], rows[3][1])
    rows.append(("a.png", scan(0.0), {"p": "three"}))
    found, done = twins(make(rows, name="linked"))
    assert "table:r0" not in found, "another question says that the image is of the third patient, too"
    assert "no similar image" in done.steps["noise"].rejected.first["table:r0"]


def test_deep_images_and_dicom_files_are_shown_as_they_are_read(make):
    deep, header = scan(0.3).astype(np.uint16) * 200, scan(0.5).astype(np.uint16) * 15
    rows = [("a.png", scan(0.0), {}), ("deep.png", deep, {}), ("scan.dcm", header, {})]
    found, done = twins(make(rows))
    clean = {pair.id: np.asarray(Image.open(pair.images[0])) for pair in done.pairs}
    assert np.array_equal(found["table:r0"], clean["table:r1"])
    assert np.array_equal(found["table:r1"], clean["table:r2"])
    assert all(twin.dtype == np.uint8 for twin in found.values())


def test_deep_images_are_shown_in_the_window_of_the_source(make):
    rows = [("a.png", scan(0.0), {}), ("deep.png", scan(0.3).astype(np.uint16) * 200, {})]
    found, done = twins(make(rows, window=[20000, 30000]))
    assert np.array_equal(found["table:r0"], np.asarray(Image.open(done.pairs[1].images[0])))
    assert (found["table:r0"] == 255).mean() > 0.1


def test_images_of_one_record_are_not_shown_for_each_other(make, tmp_path):
    rows = [("a.png", scan(0.0), {}), ("near.png", scan(0.2), {}), ("far.png", scan(0.9), {})]
    path = make(rows)
    config = yaml.safe_load(path.read_text())
    written = [json.loads(line) for line in (tmp_path / "work.jsonl").read_text().splitlines()]
    written = [{**written[0], "image": ["a.png", "near.png"]}, {**written[2], "image": ["far.png"]}]
    (tmp_path / "work.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    columns = config["source"]["options"]["columns"]
    columns["images"] = columns.pop("image")
    path.write_text(yaml.safe_dump(config))
    first, second = progress(path).pairs
    assert [np.array_equal(np.asarray(Image.open(file)), rows[2][1]) for file in first.rejected_images] == [True, True]
    assert np.array_equal(np.asarray(Image.open(second.rejected_images[0])), rows[1][1])


def test_a_record_that_is_no_pair_still_lends_its_image(make):
    """Else the choice would depend on how far the judges are."""
    rows = [PLAIN[0], PLAIN[1], (*PLAIN[2][:2], {"a": "I like bananas."})]
    found, done = twins(make(rows))
    assert "table:r2" in done.steps["edit"].rejected.first
    assert np.array_equal(found["table:r0"], PLAIN[2][1])


def test_the_export_is_the_same_in_another_order_and_after_a_stop(make, tmp_path):
    rows = [(f"{n}.png", scan(n * 0.4), {"id": f"r{n}"}) for n in range(6)]
    for name, given in (("one", rows), ("two", rows[::-1])):
        path = make(given, name=name)
        assert build(path, [], only="read") == 0
        assert build(path, []) == 0
    one, two = (
        {file.name: file.read_bytes() for file in (tmp_path / name / "export" / "images").rglob("*.png")}
        for name in ("one", "two")
    )
    assert one == two
    rejected = [
        {
            row["id"]: row["rejected_images"]
            for row in json.loads((tmp_path / name / "export" / "fire_mpo_pairs.json").read_text())
        }
        for name in ("one", "two")
    ]
    assert rejected[0] == rejected[1]


def test_more_records_choose_anew_and_what_stays_keeps_its_file(make):
    before = {pair.id: pair.rejected_images for pair in progress(make(PLAIN)).pairs}
    more = [*PLAIN, ("d.png", scan(0.2), {})]
    after = progress(make(more))
    assert after.steps["noise"].made == 4
    images = {pair.id: pair.rejected_images for pair in after.pairs}
    assert images["table:r0"] != before["table:r0"], "the new one is closer"
    assert images["table:r1"] == before["table:r1"]


def test_what_cannot_be_read_is_not_taken(make):
    assert np.array_equal(
        twins(make([*PLAIN, ("large.png", np.tile(scan(0.1), (3, 3)), {})], max_pixels=5000))[0]["table:r0"],
        PLAIN[2][1],
    )


def test_settings_of_a_corruption_are_refused_beside_it(make):
    for override in ("noise.corruption=black", "noise.whole_image=true", "noise.shared=true"):
        with pytest.raises(UserError, match=r"noise\.by: similar takes the place of corruption"):
            load(make(PLAIN), [override])
