"""What the exporters write is what the trainers read: LLaMA-Factory in earnest, TRL and ms-swift by their forms."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image
from places import EXAMPLES_DIR

from firempo_plugin.pairs.exporters import common, llamafactory
from firempo_plugin.pairs.exporters.export import export
from firempo_plugin.pairs.exporters.registry import FORMATS
from firempo_plugin.pairs.pair import Pair
from firempo_plugin.pairs.review import decisions
from firempo_plugin.phrases import phrase_pair


@pytest.fixture
def workspace(tmp_path):
    """A folder with images/, of grey 64 x 64 images and noised twins."""
    folder = tmp_path / "work"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("frontal", "lateral"):
        clean = rng.integers(0, 200, (64, 64), dtype=np.uint8)
        Image.fromarray(clean).save(folder / "images" / f"{name}.png")
        clean[16:48, 16:48] += 40
        Image.fromarray(clean).save(folder / "images" / f"{name}_noised.png")
    return folder


@pytest.fixture
def make(workspace):
    """Returns a function that makes a pair over images of the workspace."""

    def pair(
        name, chosen="The left lung is opaque.", rejected="The right lung is opaque.", images=("frontal",), **keys
    ):
        sides = phrase_pair(chosen, rejected)
        files = [str(workspace / "images" / f"{image}.png") for image in images]
        values = {
            "question": "Which lung is opaque?",
            "chosen_spans": sides[0].spans,
            "rejected_spans": sides[1].spans,
            "images": tuple(files),
            "rejected_images": tuple(file.replace(".png", "_noised.png") for file in files),
            "noise_path": "lesion" if files else None,
            "target": "left lung",
        }
        return Pair(id=name, chosen=chosen, rejected=rejected, **values | keys)

    return pair


@pytest.fixture
def pairs(make):
    """One of every kind: plain, inserted word, Chinese, two images, no noised image, no image, weighted."""
    return [
        make("plain"),
        make("inserted", chosen="There is no effusion.", rejected="There is effusion."),
        make("zh", chosen="左肺有结节。", rejected="右肺有结节。", question="哪侧肺有结节?", language="zh"),
        make("two", images=("frontal", "lateral")),
        make("clean", rejected_images=(), noise_path=None),
        make("text", images=()),
        make("weighted", weight=2.0),
    ]


def placed(workspace, data_file, image):
    """How a row names an image of the workspace."""
    content = hashlib.sha256((workspace / "images" / image).read_bytes()).hexdigest()
    return f"images/{data_file}/{content[:32]}.png"


def read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def test_rows_carry_everything_the_trainer_reads(pairs, workspace):
    result = export("llamafactory", pairs, workspace / "export", name="lungs", root=workspace)
    assert [file.name for file in result.files] == ["lungs.json", "dataset_info.json", "lungs.yaml"]
    assert (result.rows, result.left_out.first, result.notes) == (7, {}, ())
    rows = {row["id"]: row for row in read(result.files[0])}
    assert rows["plain"] == {
        "conversations": [{"from": "human", "value": "<image>Which lung is opaque?"}],
        "chosen": {"from": "gpt", "value": "The left lung is opaque."},
        "rejected": {"from": "gpt", "value": "The right lung is opaque."},
        "images": [placed(workspace, "lungs.json", "frontal.png")],
        "rejected_images": [placed(workspace, "lungs.json", "frontal_noised.png")],
        "chosen_spans": [[4, 8]],
        "rejected_spans": [[4, 9]],
        "weight": None,
        "id": "plain",
        "noise_path": "lesion",
        "target": "left lung",
        "judge": "rules",
    }
    assert (rows["inserted"]["chosen_spans"], rows["inserted"]["rejected_spans"]) == ([[9, 11]], [])
    assert (rows["clean"]["rejected_images"], rows["text"]["images"], rows["weighted"]["weight"]) == (None, [], 2.0)
    for row in rows.values():
        assert row["conversations"][0]["value"].count("<image>") == len(row["images"])


@pytest.mark.parametrize("file_format", ["json", "parquet"])
def test_the_real_trainer_takes_a_step_on_it(file_format, pairs, workspace, train, checkpoint, tmp_path):
    """The exported YAML as it is, but for the tiny model and what needs a GPU; also after the workspace has moved."""
    export(
        "llamafactory", pairs, workspace / "export", name="lungs", root=workspace, options={"file_format": file_format}
    )
    moved = tmp_path / "moved"
    shutil.move(workspace, moved)
    exported = yaml.safe_load((moved / "export" / "lungs.yaml").read_text(encoding="utf-8"))
    here = {
        "model_name_or_path": str(checkpoint("qwen3_vl")),
        "dataset_dir": str(moved / "export"),
        "output_dir": str(tmp_path / "out"),
        "bf16": False,
        "preprocessing_num_workers": None,
        "dataloader_num_workers": 0,
        "plot_loss": False,
        "report_to": "none",
        "logging_steps": 1,
    }
    history = train(**exported | here | {"per_device_train_batch_size": 7, "gradient_accumulation_steps": 1})
    assert history[0]["noised_share"] == pytest.approx(5 / 7)
    assert history[0]["terms/rank"] == pytest.approx(np.log(2), abs=1e-3)
    assert not (tmp_path / "out" / "skipped_rows.jsonl").exists()


def test_a_placeholder_in_the_question_keeps_its_place_and_a_wrong_number_is_put_right(make):
    assert common.prompt(make("a", question="See <image> here: which lung?")) == "See <image> here: which lung?"
    assert common.prompt(make("b", question="Which lung?\n<image>", images=("frontal", "lateral"))) == (
        "<image><image>Which lung?"
    )
    assert common.prompt(make("c", question="<image>\nWhich lung?", images=())) == "Which lung?"


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("llava", "<image>\n<image>\nWhich lung?"),
        ("huatuo_vision", "<image>\n<image>\nWhich lung?"),
        ("llava_med", "<image>\n<image>\nWhich lung?"),
        ("intern_vl", "<image>\n<image>\nWhich lung?"),
        ("gemma3", "<image><image>Which lung?"),
        ("qwen2_vl", "<image><image>Which lung?"),
    ],
)
def test_a_line_break_follows_an_image_where_the_model_was_trained_with_one(template, written, make, workspace):
    pair = make("a", question="Which lung?", images=("frontal", "lateral"))
    file, *_ = export("llamafactory", [pair], workspace / "export", name="x", options={"template": template}).files
    (row,) = json.loads(file.read_text(encoding="utf-8"))
    assert row["conversations"][0]["value"] == written


def test_on_demand_all_is_named_absolutely(make, workspace):
    pair = make("plain")
    result = export("llamafactory", [pair], workspace / "export", name="lungs", images="absolute")
    assert read(result.files[0])[0]["images"] == list(pair.images)
    assert yaml.safe_load(result.files[2].read_text())["dataset_dir"] == str(workspace / "export")
    assert not (workspace / "export" / "images").exists()


def test_unusable_pairs_are_left_out_with_their_reason(make, workspace):
    frontal = str(workspace / "images" / "frontal.png")
    broken = {
        "same": make("same", rejected_images=(frontal,)),
        "missing": make("missing", rejected_images=(str(workspace / "none.png"),)),
        "unequal": make("unequal", images=("frontal", "lateral"), rejected_images=("x.png",)),
        "video": make("video", question="<video> Which lung?"),
        "image": make("image", chosen="<image> left", rejected="<image> right"),
        "span": make("span", chosen_spans=((0, 99),)),
        "equal": replace(make("equal"), rejected="The left lung is opaque."),
        "weight": make("weight", weight=0.0),
        "empty": make("empty", question="<image> "),
        "half": make("half", question="Which \ud83e lung?"),
    }
    result = export("llamafactory", [make("good"), *broken.values()], workspace, name="lungs")
    assert result.rows == 1
    assert result.left_out.first == {
        "same": "its noised images are its images: nothing is noised",
        "missing": f"an image file is missing: {workspace / 'none.png'}",
        "unequal": "its noised images do not match: 1 for 2 images; an image file is missing: x.png",
        "video": "its question holds a media placeholder: <video>",
        "image": "its chosen holds a media placeholder: <image>; its rejected holds a media placeholder: <image>",
        "span": "its phrases cannot be used: chosen_spans has [0, 99) outside the chosen text of 24 characters",
        "equal": "its phrases cannot be used: chosen and rejected are equal",
        "weight": "its weight is not a positive number: 0.0",
        "empty": "its question is empty",
        "half": r"its question holds half a character, which no file can: 'Which \ud83e lung?'",
    }
    with pytest.raises(ValueError, match="no pair to export: 1 left out: its weight is not a positive number"):
        export("llamafactory", [broken["weight"]], workspace, name="none")


def test_what_a_reviewer_rejected_is_left_out(make, workspace):
    a, b, c, d = (make(name) for name in "abcd")
    marks = {
        "a": {"mark": "reject", "reason": "wrong side", "digest": decisions.digest(a)},
        "b": {"mark": "reject", "reason": "", "digest": decisions.digest(b)},
        "c": {"mark": "accept", "reason": "", "digest": decisions.digest(c)},
        "d": {"mark": "reject", "reason": "", "digest": decisions.digest(replace(d, chosen="The left one is."))},
    }
    file = workspace / "marks.json"
    file.write_text(json.dumps({"format": decisions.FORMAT, "title": "lungs", "marks": marks}))
    result = export("llamafactory", [a, b, c, d], workspace, name="lungs", decisions=decisions.read(file))
    assert [row["id"] for row in read(result.files[0])] == ["c", "d"]
    assert result.left_out.first == {"a": "rejected in review: wrong side", "b": "rejected in review"}
    assert result.notes == ("Marks that are not used because their pair has changed since: 1.",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        ("{", "not valid JSON"),
        ("[]", "no file of the review page"),
        ('{"format": "else", "marks": {}}', "no file of the review page"),
        ('{"format": "firempo review 1", "marks": {"a": {"mark": "maybe"}}}', "marks, 'a': expected"),
        ('{"format": "firempo review 1", "marks": {"a": {"mark": "accept", "reason": 1}}}', "must be text"),
    ],
)
def test_a_broken_file_of_marks_is_refused(content, reason, tmp_path):
    file = tmp_path / "marks.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=reason):
        decisions.read(file)


def test_entries_of_others_stay_and_our_own_is_renewed(make, workspace):
    others = {"学": {"file_name": "x.json", "columns": {"prompt": "q"}}, "alpaca": {"hf_hub_url": "a/b"}}
    info = workspace / "dataset_info.json"
    info.write_text(json.dumps(others), encoding="utf-8")
    export("llamafactory", [make("a")], workspace, name="lungs")
    export("llamafactory", [make("a"), make("b")], workspace, name="lungs", options={"file_format": "parquet"})
    entries = read(info)
    assert {name: entries[name] for name in others} == others
    assert list(entries) == ["学", "alpaca", "lungs"]
    assert entries["lungs"]["file_name"] == "lungs.parquet"
    assert info.read_bytes().isascii(), "the host reads it in the machine's own encoding"


def test_what_is_not_ours_is_refused_unless_overwriting_is_asked_for(make, workspace):
    info = workspace / "dataset_info.json"
    for name, entries, data in (("lungs", {"lungs": {"file_name": "y.json"}}, None), ("other", {}, "[]")):
        info.write_text(json.dumps(entries))
        if data:
            (workspace / f"{name}.json").write_text(data)
        with pytest.raises(ValueError, match=r"choose another export\.name, or set export\.options\.overwrite"):
            export("llamafactory", [make("a")], workspace, name=name)
        assert read(info) == entries
        assert not data or (workspace / f"{name}.json").read_text() == data
        result = export("llamafactory", [make("a")], workspace, name=name, options={"overwrite": True})
        assert read(info)[name]["made_by"] == "firempo build"
        assert len(read(result.files[0])) == 1


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_file_of_somebody_else_is_never_replaced(format_name, make, workspace, tmp_path):
    shared, first, second = (tmp_path / name for name in ("shared", "first", "second"))
    for root in (first, second, shared):
        root.mkdir()

    def run(root, **options):
        return export(format_name, [make(root.name)], shared, name="lungs", root=root, options=options).files[0]

    def content(place):
        return [each.read_bytes() for each in sorted((place, *place.rglob("*"))) if each.is_file()]

    file = run(first)
    before = content(file)
    assert before
    with pytest.raises(ValueError, match=r"lungs.*; choose another export\.name, or set export\.options\.overwrite"):
        run(second)
    assert content(run(first)) == before
    other = next(name for name in FORMATS if name != format_name)
    (shared / "old.jsonl").write_text("{}")
    (shared / "old.parquet").write_text("PAR1")
    (shared / "old.json").write_text("[]")
    with pytest.raises(ValueError, match=f"old.* exists and is not this build's {other} export"):
        export(other, [make("a")], shared, name="old", root=first)
    assert run(second, overwrite=True) == file


def test_a_linked_dataset_info_stays_a_link(make, workspace, tmp_path):
    (tmp_path / "central.json").write_text('{"others": {}}')
    (workspace / "dataset_info.json").symlink_to(tmp_path / "central.json")
    export("llamafactory", [make("a")], workspace, name="lungs")
    assert (workspace / "dataset_info.json").is_symlink()
    assert list(read(tmp_path / "central.json")) == ["others", "lungs"]


@pytest.mark.parametrize(("content", "reason"), [("{", "not valid JSON"), ("[]", "must hold an object")])
def test_a_broken_dataset_info_is_an_error_and_stays(content, reason, make, workspace):
    info = workspace / "dataset_info.json"
    info.write_text(content)
    with pytest.raises(ValueError, match=reason):
        export("llamafactory", [make("a")], workspace, name="lungs")
    assert info.read_text() == content
    assert not (workspace / "lungs.json").exists()


def test_two_formats_do_not_share_a_file(make, workspace):
    export("llamafactory", [make("a")], workspace, name="lungs", options={"file_format": "parquet"})
    with pytest.raises(ValueError, match="is not this build's trl export"):
        export("trl", [make("a")], workspace, name="lungs")


def test_a_failed_write_leaves_the_old_file_and_nothing_else_and_can_be_repeated(make, workspace, monkeypatch):
    folder = workspace / "export"
    export("llamafactory", [make("a")], folder, name="lungs")
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(common.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
        with pytest.raises(OSError, match="full"):
            export("llamafactory", [make("a"), make("b")], folder, name="lungs")
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(llamafactory._WRITERS, "json", killed)
        with pytest.raises(KeyboardInterrupt):
            export("llamafactory", [make("a")], folder, name="second")
    assert export("llamafactory", [make("a")], folder, name="second").rows == 1


@pytest.mark.parametrize("format_name", FORMATS)
def test_exporting_the_same_again_touches_no_file(format_name, pairs, workspace):
    def state():
        files = export(format_name, pairs, workspace / "export", name="lungs", root=workspace).files
        everything = [file for file in sorted((workspace / "export").rglob("*")) if file.is_file()]
        assert {file for file in everything if "images" not in file.parts[-3:]} == set(files)
        return [(file, file.stat().st_mtime_ns, file.stat().st_ino) for file in everything]

    assert state() == state()


def test_the_training_file_is_the_papers_recipe_and_opens_with_its_command(make, workspace):
    options = {"model": "./models/Qwen 3: VL", "template": "qwen2_vl", "processor": "Qwen/Qwen2.5-VL-7B-Instruct"}
    file = export("llamafactory", [make("a")], workspace / "export", name="lungs", options=options).files[2]
    text = file.read_text(encoding="utf-8")
    recipe = yaml.safe_load((EXAMPLES_DIR / "qwen3_vl_4b" / "fire_mpo.yaml").read_text(encoding="utf-8"))
    assert "llamafactory-cli train lungs.yaml\n" in text.split("###")[0]
    for key in ("pref_beta", "fire_alpha", "fire_gamma", "fire_lambda"):  # left out, they are those of the objective
        del recipe[key]
    assert yaml.safe_load(text) == recipe | {
        "fire_objective": "fire_mpo",
        "model_name_or_path": options["model"],
        "template": options["template"],
        "processor_name_or_path": options["processor"],
        "dataset_dir": ".",
        "dataset": "lungs",
        "output_dir": "saves/lungs",
    }
    assert yaml.safe_load(llamafactory.training("no", ".", llamafactory.Options()))["dataset"] == "no"


@pytest.mark.parametrize(
    ("template", "keys"),
    [
        ("qwen3_vl_nothink", {"image_max_pixels": 401408, "cutoff_len": 2048}),
        ("llava_med", {"image_max_pixels": 16777216, "cutoff_len": 2048, "use_fast_tokenizer": False}),
        ("intern_vl", {"image_max_pixels": 16777216, "cutoff_len": 8192, "crop_to_patches": True}),
    ],
)
def test_the_training_file_takes_images_as_the_models_of_its_template_do(template, keys):
    training = yaml.safe_load(llamafactory.training("lungs", ".", llamafactory.Options(template=template)))
    assert {key: training[key] for key in ("crop_to_patches", "use_fast_tokenizer", *keys) if key in training} == keys


def test_the_training_file_finds_a_model_that_is_a_folder_from_wherever_it_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    for model, written in (("models/mine", str(tmp_path / "models" / "mine")), ("Qwen/Qwen3", "Qwen/Qwen3")):
        training = yaml.safe_load(llamafactory.training("lungs", ".", llamafactory.Options(model=model)))
        assert training["model_name_or_path"] == written


@pytest.mark.parametrize(("options", "objective"), [({}, "re_align"), ({"objective": "fire_mpo_v1"}, "fire_mpo_v1")])
def test_the_training_file_has_the_objective_that_the_pairs_are_made_for(options, objective, make, workspace):
    file = export("llamafactory", [make("a")], workspace, name="lungs", objective="re_align", options=options).files[2]
    assert yaml.safe_load(file.read_text())["fire_objective"] == objective
    export("trl", [make("a")], workspace / "trl", name="lungs", objective="re_align")


def test_a_training_file_that_a_person_has_changed_is_kept(make, workspace):
    file = export("llamafactory", [make("a")], workspace, name="lungs").files[2]
    assert export("llamafactory", [make("b")], workspace, name="lungs").notes == ()
    file.write_text("mine: true\n")
    note = export("llamafactory", [make("a")], workspace, name="lungs", options={"model": "other"}).notes[0]
    assert "was kept" in note
    assert file.read_text() == "mine: true\n"


@pytest.mark.parametrize("name", ["", "a,b", "../up", ".hidden", "a b", "line\nbreak", "1st"])
def test_names_that_break_files_or_the_host_are_refused(name, make, workspace):
    with pytest.raises(ValueError, match=r"export\.name is"):
        export("llamafactory", [make("a")], workspace, name=name)


@pytest.mark.parametrize(
    ("format_name", "options", "reason"),
    [
        ("llamafactory", {"modle": "x"}, "unknown key export.options.modle; did you mean export.options.model"),
        (
            "llamafactory",
            {"file_format": "csv"},
            "file_format must be one of json, parquet, found 'csv'",
        ),
        ("llamafactory", {"overwrite": "yes"}, "export.options.overwrite must be true or false, found 'yes'"),
        ("swift", {"model": "x"}, "known: noised, overwrite"),
        ("trl", {"model": "x"}, "known: overwrite"),
    ],
)
def test_unknown_and_mistyped_options_are_refused(format_name, options, reason, make, workspace):
    with pytest.raises(ValueError, match=reason):
        export(format_name, [make("a")], workspace, name="lungs", options=options)


def test_swift_rows(pairs, workspace):
    """As ms-swift 4 documents them in Custom-dataset.md; `images` may stand in for `rejected_images`."""
    result = export("swift", pairs, workspace, name="lungs")
    rows = [json.loads(line) for line in result.files[0].read_text(encoding="utf-8").splitlines()]
    clean, noised = (placed(workspace, "lungs.jsonl", f"frontal{part}.png") for part in ("", "_noised"))
    assert rows[0] == {
        "messages": [
            {"role": "user", "content": "<image>Which lung is opaque?"},
            {"role": "assistant", "content": "The left lung is opaque."},
        ],
        "images": [clean],
        "rejected_response": "The right lung is opaque.",
        "rejected_images": [noised],
    }
    assert rows[4]["rejected_images"] == [clean]
    assert len({tuple(row) for row in rows}) == 1, "every row has the same keys"
    result = export("swift", pairs, workspace, name="dpo", options={"noised": False})
    row = json.loads(result.files[0].read_text(encoding="utf-8").splitlines()[0])
    assert "rejected_images" not in row
    assert row["images"] == [placed(workspace, "dpo.jsonl", "frontal.png")]
    assert any("ROOT_IMAGE_DIR" in note for note in result.notes)


def test_trl_loads_it_with_its_images_and_applies_the_chat_template(
    pairs, workspace, checkpoint, tmp_path, monkeypatch
):
    from datasets import load_dataset
    from transformers import AutoProcessor
    from trl.data_utils import is_conversational, maybe_apply_chat_template

    file = export("trl", pairs, workspace, name="lungs").files[0]
    monkeypatch.chdir(workspace)
    dataset = load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(dataset) == 7
    row = dataset[3]
    assert [image.size for image in row["images"]] == [(64, 64), (64, 64)]
    assert [part["type"] for part in row["prompt"][0]["content"]] == ["image", "image", "text"]
    assert is_conversational(row)
    processor = AutoProcessor.from_pretrained(checkpoint("qwen3_vl"))
    templated = maybe_apply_chat_template(row, processor)
    assert templated["prompt"].count("<|image_pad|>") == 2
    assert templated["chosen"].startswith("The left lung is opaque.")
    assert templated["rejected"].startswith("The right lung is opaque.")


def test_exporting_loads_nothing_heavy():
    code = (
        "import sys; from firempo_plugin.pairs.audit import files, report;"
        "from firempo_plugin.pairs.review import page;"
        "from firempo_plugin.pairs.exporters import export, registry as r; list(map(r.FORMATS.load, r.FORMATS));"
        "print([m for m in ('torch', 'numpy', 'cv2', 'PIL', 'pyarrow', 'matplotlib', 'datasets') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
