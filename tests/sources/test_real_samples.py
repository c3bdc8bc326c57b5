"""The readers on data sets of real texts and images in their publishers' layouts."""

from collections import Counter
from pathlib import Path

import pytest
from samples import SHARED, SMALL, Samples
from sources_reading import read, reason

from firempo_plugin.records import Record

VQA_RAD = {
    SMALL: (5, {True: 28, False: 19}, "210", "synpic18461.jpg", "What kind of image is this?", "Chest x-ray", False),
    SHARED: (13, {True: 35, False: 33}, "15", "synpic42202.jpg", "Is there a pneumothorax?", "no", True),
}
"""How many images, and closed and open questions, there are; and a record: id, image, question, truth, closed."""


CASES = {
    SMALL: "https://medpix.nlm.nih.gov/case?id=e5ae3653-f2de-4f12-a085-ebfbfe5b7a69",
    SHARED: "https://medpix.nlm.nih.gov/case?id=31ac9c0f-732a-4c51-9f33-1cdfae1b8728",
}


def test_vqa_rad_sample(real: Samples) -> None:
    images, kinds, identity, image, question, truth, closed = VQA_RAD[real.name]
    folder = real.folder / "vqa-rad"
    records, problems = read("vqa_rad", folder=folder)
    assert not problems
    assert len({image for record in records for image in record.images}) == images
    assert Counter(record.closed for record in records) == kinds
    path = str((folder / "VQA_RAD Image Folder" / image).resolve())
    assert Record(f"vqa_rad:{identity}", (path,), question, truth, closed=closed, study=CASES[real.name]) in records[:2]
    assert len({record.study for record in records}) > 3
    assert read("vqa_rad", folder=folder, split="all")[0] == records
    assert read("vqa_rad", folder=folder, split="test") == ([], [])


SLAKE = {
    SMALL: (20, 9, "图片中包含可以产生胆汁的器官吗?", "包含", {4, 3}),
    SHARED: (20, 10, "图片中包含可以排出废物的器官吗?", "不包含", {0}),
}
"""How many English and Chinese questions there are, the last of them, and how many regions an image has."""


def test_slake_sample(real: Samples) -> None:
    of_english, of_chinese, question, truth, regions = SLAKE[real.name]
    folder = real.folder / "slake"
    english, problems = read("slake", folder=folder)
    assert (len(english), problems) == (of_english, [])
    chinese, problems = read("slake", folder=folder, language="zh")
    assert (len(chinese), problems) == (of_chinese, [])
    assert {record.language for record in english} == {"en"}
    assert {record.language for record in chinese} == {"zh"}
    assert (chinese[-1].question, chinese[-1].truth, chinese[-1].closed) == (question, truth, True)
    both, _ = read("slake", folder=folder, language="all")
    assert {record.id for record in both} == {record.id for record in english + chinese}
    counts = [len(read("slake", folder=folder, language="all", base_type=kind)[0]) for kind in ("vqa", "kvqa", "all")]
    assert counts[0] + counts[1] == counts[2] == of_english + of_chinese
    assert {len(record.regions) for record in both} == regions


IU_XRAY = {
    SMALL: ("1 2 3 4", "The heart is normal in size. The lungs are clear.", "No acute disease.", "1 2 4"),
    SHARED: (
        "2 303 2577 2882",
        "Borderline cardiomegaly. Midline sternotomy XXXX.",
        "No acute pulmonary findings.",
        "2882",
    ),
}
"""The studies, how the first's findings begin, its impression, and the studies without a removed word."""


def test_iu_xray_sample(real: Samples) -> None:
    studies, begins, impression, whole = IU_XRAY[real.name]
    folder = real.folder / "iu-xray"
    records, problems = read("iu_xray", folder=folder)
    assert not problems
    assert [record.id for record in records] == [f"iu_xray:{study}" for study in studies.split()]
    assert [len(record.images) for record in records] == [2, 1, 1, 1]
    assert {record.kind for record in records} == {"report"}
    assert records[0].truth.startswith(begins)
    assert impression not in records[0].truth
    first, _ = read("iu_xray", folder=folder, views="first", sections="findings+impression", question="Report!")
    assert [len(record.images) for record in first] == [1, 1, 1, 1]
    assert first[0].images == records[0].images[:1]
    assert first[0].truth == f"{records[0].truth}\n{impression}"
    assert first[0].question == "Report!"
    kept, refused = read("iu_xray", folder=folder, deidentified="reject")
    assert [record.id for record in kept] == [f"iu_xray:{study}" for study in whole.split()]
    assert {problem.reason for problem in refused} == {"report has words replaced by XXXX"}


SHOWN = {
    SMALL: {"slake": (20, 20), "vqa-rad": (47, 53)},
    SHARED: {"slake": (20, 4919), "vqa-rad": (68, 1797)},
}
"""By data set, how many of LLaVA-Med's questions have an image, and how many there are."""
ROOTS = {"slake": "slake/imgs", "vqa-rad": "vqa-rad/VQA_RAD Image Folder"}


def test_llava_med_samples(real: Samples) -> None:
    folder = real.folder / "med-vlm-dpo"
    file, root = folder / "VQA_RAD_train_llavamed_format.jsonl", real.folder / ROOTS["vqa-rad"]
    shown, count = SHOWN[real.name]["vqa-rad"]
    records, problems = read("llava_med", file=file, image_root=root)
    assert (len(records), len(problems)) == (shown, count - shown)
    assert {problem.reason.split(":")[0] for problem in problems} == {"image not found"}
    assert not any("<image>" in record.question for record in records)
    originals = read("vqa_rad", folder=real.folder / "vqa-rad")[0]
    assert {(record.images, record.question) for record in records} == {
        (record.images, record.question) for record in originals
    }
    file = folder / "SLAKE_train_llavamed_format.jsonl"
    shown, count = SHOWN[real.name]["slake"]
    records, problems = read("llava_med", file=file, image_root=real.folder / ROOTS["slake"])
    assert (len(records), len(problems)) == (shown, count - shown)


@pytest.mark.parametrize("name", ["slake", "vqa-rad"])
def test_mmedpo_samples(name: str, real: Samples, tmp_path: Path) -> None:
    file = real.folder / "mmedpo" / f"{name}_dpo_weighted.json"
    shown, count = SHOWN[real.name][name]
    weightless = 1 if (real.name, name) == (SHARED, "slake") else 0
    records, problems = read("mmedpo", file=file, image_root=real.folder / ROOTS[name])
    assert (len(records), len(problems)) == (shown - weightless, count - shown + weightless)
    assert not any("<image>" in record.question for record in records)
    assert all(record.response is None for record in records)
    records, problems = read("mmedpo", file=file, image_root=tmp_path)
    assert (len(records), len(problems)) == (0, count)
    assert {problem.reason.split(":")[0] for problem in problems} == {"image not found"}


def test_the_one_record_samples_are_read_as_mmedpo(real: Samples) -> None:
    files = sorted((real.folder / "med-vlm-dpo" / "sample" / "huatuo").glob("*.json"))
    assert len(files) == {SMALL: 1, SHARED: 4}[real.name]
    for file in files:
        _, problems = read("mmedpo", file=file, image_root=real.folder)
        assert reason(problems).startswith("image not found: images/pmc_142_0.jpg")
