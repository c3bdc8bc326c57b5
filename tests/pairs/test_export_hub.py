"""The format `hub`: what `datasets` reads of it is what was built, with the images inside, and it trains."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import load_dataset
from PIL import Image

from firempo_plugin import cli
from firempo_plugin.errors import UserError
from firempo_plugin.pairs.exporters import llamafactory
from firempo_plugin.pairs.exporters.export import export
from firempo_plugin.pairs.pair import Pair
from firempo_plugin.records import Finding


@pytest.fixture
def pairs(tmp_path):
    """Five pairs: one without a noised image, one without an image."""
    folder = tmp_path / "clinic"
    folder.mkdir()
    rng = np.random.default_rng(0)
    found = []
    for number in range(5):
        clean = rng.integers(0, 200, (64, 64), dtype=np.uint8)
        files = [folder / f"Doe_John_{number}{part}.png" for part in ("", "_noised")]
        for file, pixels in zip(files, (clean, clean + 40), strict=True):
            Image.fromarray(pixels).save(file)
        found.append(
            Pair(
                id=f"table:{number}",
                question="Which lung?",
                chosen="The left lung.",
                rejected="The right lung.",
                chosen_spans=((4, 8),),
                rejected_spans=((4, 9),),
                images=(str(files[0]),) if number != 4 else (),
                rejected_images=(str(files[1]),) if number < 3 else (),
                was_correct=number % 2 == 0,
                judge="rules",
            )
        )
    return found


def write(pairs, folder, **options):
    return export("hub", pairs, folder, name="lungs", options=options)


def folder_of(result):
    return result.files[-1].parent


def test_the_library_reads_what_was_built(pairs, tmp_path):
    result = write(pairs, tmp_path / "export", rows_per_file=2)
    target = folder_of(result)
    assert sorted(file.name for file in (target / "data").iterdir()) == [
        f"train-{number:05}-of-00003.parquet" for number in range(3)
    ]
    rows = load_dataset(str(target), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == result.rows == 5
    for row, pair in zip(rows, pairs, strict=True):
        assert (row["id"], row["chosen"]["value"], row["rejected"]["value"]) == (pair.id, pair.chosen, pair.rejected)
        assert row["chosen_spans"] == [[4, 8]]
        for column, files in (("images", pair.images), ("rejected_images", pair.rejected_images)):
            assert len(row[column]) == len(files)
            for image, file in zip(row[column], files, strict=True):
                assert (np.asarray(image) == np.asarray(Image.open(file))).all()


def test_every_column_of_a_row_is_there(pairs, tmp_path):
    finding = Finding(2, 3, "The left lung.", "The right lung.")
    pair = replace(pairs[0], finding=finding, error_type="laterality")
    target = folder_of(write([pair], tmp_path / "export"))
    (found,) = load_dataset(str(target), split="train", cache_dir=str(tmp_path / "cache"))
    assert found.keys() == llamafactory.row(pair, str, "qwen3_vl_nothink").keys()
    assert (found["finding"], found["statement"], found["error_type"]) == ("2 of 3", "The left lung.", "laterality")


def test_nothing_of_the_clinic_leaves_but_the_images(pairs, tmp_path):
    target = folder_of(write(pairs, tmp_path / "export"))
    for file in target.rglob("*"):
        assert not file.is_file() or (b"Doe" not in file.read_bytes() and b"/clinic/" not in file.read_bytes())
    raw = load_dataset(str(target), split="train", cache_dir=str(tmp_path / "cache")).with_format("arrow")[0]
    held = raw["images"][0].as_py()[0]
    assert held["bytes"] == Path(pairs[0].images[0]).read_bytes()
    Image.open(BytesIO(held["bytes"])).verify()


def test_the_card_counts_and_names_the_licence(pairs, tmp_path):
    target = folder_of(write(pairs, tmp_path / "export", license="cc0-1.0"))
    text = (target / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "cc0-1.0"
    assert "| whose response was right | true | 3 |" in text
    assert "| noise | no noised image | 5 |" in text
    assert "not for clinical decisions" in text


def test_rows_train_from_there(pairs, tmp_path, checkpoint, capsys):
    target = folder_of(write(pairs, tmp_path / "export", rows_per_file=3))
    text = (target / "README.md").read_text(encoding="utf-8")
    (target / "dataset_info.json").write_text(text.split("```json\n")[1].split("```")[0])
    words = [f"dataset_dir={target}", f"model_name_or_path={checkpoint('qwen3_vl')}", "template=qwen3_vl_nothink"]
    assert cli.main(["validate", "lungs", *words]) == 0
    assert "All 5 rows can be used" in capsys.readouterr().out


def test_an_export_with_fewer_files_leaves_none_of_the_earlier(pairs, tmp_path):
    write(pairs, tmp_path / "export", rows_per_file=1)
    target = folder_of(write(pairs[:2], tmp_path / "export"))
    assert [file.name for file in (target / "data").iterdir()] == ["train-00000-of-00001.parquet"]
    assert {entry.name for entry in (tmp_path / "export").iterdir()} == {"lungs", "exports.json"}


def test_a_folder_of_somebody_else_is_never_replaced(pairs, tmp_path):
    (tmp_path / "export" / "lungs").mkdir(parents=True)
    (tmp_path / "export" / "lungs" / "mine.txt").touch()
    with pytest.raises(UserError, match="is not this build's hub export"):
        write(pairs, tmp_path / "export")
    assert (tmp_path / "export" / "lungs" / "mine.txt").exists()
