"""Small data sets in the layouts of their publishers, always there: free texts over scans of installed packages.

The folders have the names of those in `places.SAMPLES_DIR`, so that a test reads either. tests/samples/README.md tells
where the texts come from.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image
from places import SAMPLES_DIR

from firempo_plugin.demo.scans import SCANS, Mask, Outline, Pixels, Scan, fill, load

TEXTS = Path(__file__).parent / "samples"
SMALL, SHARED = "small", "shared"
NAMES = [SMALL, *([SHARED] if SAMPLES_DIR.is_dir() else [])]
"""The data sets that every test of real samples runs on: the larger ones only where they are."""

STAND_INS = {
    "synpic18461.jpg": "ct_chest",
    "synpic33689.jpg": "mr_abdomen",
    "synpic51212.jpg": "ct_head",
    "synpic53207.jpg": "us_node",
    "synpic100132.jpg": "fundus",
}
"""Pictures under the names that VQA-RAD's rows ask for; one more that they ask for is absent."""
STUDIED = ("ct_chest", "ct_head", "mr_abdomen")
"""The scans that SLAKE's layout asks about: xmlab1, xmlab2, xmlab3."""
KINDS = {
    "ct_chest": "CT_chest",
    "ct_head": "CT_head",
    "mr_abdomen": "MRI_abdomen",
    "us_node": "Ultrasound_node",
    "fundus": "Fundus_eye",
    "histology": "Pathology_colon",
}
PARTS = {
    "image2label_train.json": ("ct_head", {"cerebellum": ("cerebellum", 0, 1), "frontal_sinus": ("sinus", 0, 1)}),
    "label2image_test.json": ("mr_abdomen", {"kidney_right": ("kidneys", 0), "kidney_left": ("kidneys", 1)}),
}
"""By index file of SAM-Med2D's layout: a scan, and by target a region with the outlines that are its parts."""
BOXED = {
    "eye/fundus.png": ("fundus", 1, ("disc",)),
    "abdomen/mr_abdomen.png": ("mr_abdomen", 2, ("kidneys",)),
    "colon/histology.png": ("histology", 0, ()),
}
"""By image of the COCO file: the scan, its category and the regions whose outlines are boxed."""
CATEGORIES = {1: "OpticDisc", 2: "Kidney", 3: "LungNodule"}


@dataclass(frozen=True)
class Samples:
    """Data sets, each in a folder of its publisher's layout.

    Attributes:
        name: SMALL or SHARED, by which tests keep their figures.
        folder: The folder of the data sets' folders.
    """

    name: str
    folder: Path

    def masks(self) -> list[tuple[Path, Path]]:
        """Every image with each mask of it, as (image, mask)."""
        layouts = [("biomedparse-demo/demo", "biomedparse-demo/demo_mask")]
        layouts.append(("sam-med2d-demo/data_demo/images", "sam-med2d-demo/data_demo/masks"))
        found = []
        for images, masks in layouts:
            named = {image.stem: image for image in (self.folder / images).glob("*.png")}
            for mask in sorted((self.folder / masks).glob("*.png")):
                found += [(image, mask) for stem, image in named.items() if mask.name.startswith(f"{stem}_")]
        lungs = sorted((self.folder / "covid-chestxray" / "semantic_masks_v7labs_lungs").glob("*.jpg"))
        return found + [(self.folder / "covid-chestxray" / "images" / mask.name, mask) for mask in lungs]


def write(folder: Path) -> None:
    """Writes every data set; takes half a second."""
    scans = {scan.name: (scan, load(scan)) for scan in SCANS}
    pictures = {name: pixels for name, (_, pixels) in scans.items()}
    _vqa_rad(folder, pictures)
    _slake(folder / "slake", scans)
    _iu_xray(folder / "iu-xray", pictures)
    _biomedparse(folder / "biomedparse-demo", scans)
    _sam_med2d(folder / "sam-med2d-demo", scans)
    _coco(folder / "tbx11k", scans)
    _lungs(folder / "covid-chestxray", *scans["ct_chest"])


def text(name: str) -> list[dict[str, Any]]:
    """The rows of a file in tests/samples."""
    return json.loads((TEXTS / name).read_text(encoding="utf-8"))


def _vqa_rad(folder: Path, pictures: dict[str, Pixels]) -> None:
    """The questions as VQA-RAD has them, and the same as LLaVA-Med and MMedPO have them, with SLAKE's too."""
    rows, slake = text("vqa_rad.json"), [row for row in text("slake.json") if row["q_lang"] == "en"]
    shown = [row for row in rows if row["image_name"] in STAND_INS]
    _dump(folder / "vqa-rad" / "VQA_RAD Dataset Public.json", shown)
    for name, scan in STAND_INS.items():
        picture = Image.fromarray(pictures[scan])
        larger = picture.resize((picture.width * 5 // 4, picture.height * 5 // 4))  # no picture of another data set
        _save(folder / "vqa-rad" / "VQA_RAD Image Folder" / name, np.asarray(larger))
    asked = {"VQA_RAD": [{**row, "image": row["image_name"]} for row in rows]}
    asked["SLAKE"] = [{**row, "image": row["img_name"]} for row in slake]
    for name, questions in asked.items():
        lines = [
            {
                "question_id": row["qid"],
                "image": row["image"],
                "text": f"{row['question']}\n<image>",
                "gpt4_answer": row["answer"],
                "answer_type": row["answer_type"],
            }
            for row in questions
        ]
        file = folder / "med-vlm-dpo" / f"{name}_train_llavamed_format.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    _dump(folder / "mmedpo" / "vqa-rad_dpo_weighted.json", text("mmedpo_vqa_rad.json"))
    preferred = [_preference(row["qid"], row["img_name"], row["question"], row["answer"]) for row in slake]
    _dump(folder / "mmedpo" / "slake_dpo_weighted.json", preferred)
    alone = [_preference("0", "images/pmc_142_0.jpg", "What organ is shown?", "The liver.")]
    _dump(folder / "med-vlm-dpo" / "sample" / "huatuo" / "huatuo-IT_MMedPO.json", alone)


def _preference(key: object, image: str, question: str, truth: str) -> dict[str, Any]:
    human = {"from": "human", "value": f"<image>\n{question}"}
    rejected = f"No, whoever looks at this image says with good reason that it is anything but {truth}."
    return {
        "id": key,
        "image": image,
        "conversations": [human, {"from": "gpt", "value": f" {truth}"}],
        "rejected_conversations": [human, {"from": "gpt", "value": f" {rejected}"}],
        "weighted_score": 0.5,
    }


def _slake(folder: Path, scans: dict[str, tuple[Scan, Pixels]]) -> None:
    """The questions, and for each image boxes of its regions."""
    _dump(folder / "train.json", text("slake.json"))
    for number, name in enumerate(STUDIED, 1):
        scan, pixels = scans[name]
        _save(folder / "imgs" / f"xmlab{number}" / "source.jpg", pixels)
        boxes = [{name.replace("_", " "): _box(region[0], pixels)} for name, region in scan.regions.items()]
        _dump(folder / "imgs" / f"xmlab{number}" / "detection.json", boxes)


def _iu_xray(folder: Path, pictures: dict[str, Pixels]) -> None:
    (folder / "ecgen-radiology").mkdir(parents=True)
    shown = iter(pictures.values())
    for study in text("reports.json"):
        abstract = "".join(
            f'<AbstractText Label="{part.upper()}">{escape(study[part])}</AbstractText>'
            for part in ("findings", "impression")
        )
        images = "".join(f'<parentImage id="{image}"/>' for image in study["images"])
        for image in study["images"]:
            _save(folder / "NLMCXR_png" / f"{image}.png", next(shown))
        article = f"<MedlineCitation><Article><Abstract>{abstract}</Abstract></Article></MedlineCitation>"
        report = f'<eCitation><uId id="CXR{study["id"]}"/>{article}{images}</eCitation>'
        (folder / "ecgen-radiology" / f"{study['id']}.xml").write_text(report, encoding="utf-8")


def _biomedparse(folder: Path, scans: dict[str, tuple[Scan, Pixels]]) -> None:
    """Masks named by image and target, with red, green and blue alike and an alpha that says nothing."""
    for number, (name, (scan, pixels)) in enumerate(scans.items(), 1):
        stem = f"{number:02}_{KINDS[name]}"
        _save(folder / "demo" / f"{stem}.png", np.dstack([pixels, np.full_like(pixels[..., 0], 255)]))
        for part, region in scan.regions.items():
            grey = _grey(fill(region, *pixels.shape[:2]))
            target = part.replace("_", "+")
            _save(folder / "demo_mask" / f"{stem}_{target}.png", np.dstack([grey] * 3 + [np.full_like(grey, 255)]))


def _sam_med2d(folder: Path, scans: dict[str, tuple[Scan, Pixels]]) -> None:
    """One index from images to masks, the other from masks to images."""
    for index, (name, targets) in PARTS.items():
        scan, pixels = scans[name]
        image, masks = f"data_demo/images/{name}.png", []
        _save(folder / image, pixels)
        for target, (region, *outlines) in targets.items():
            for part, outline in enumerate(outlines):
                masks.append(f"data_demo/masks/{name}_{target}_{part:03}.png")
                one = (scan.regions[region][outline],)
                _save(folder / masks[-1], _grey(fill(one, *pixels.shape[:2])))
        entries = {image: masks} if index.startswith("image2label") else dict.fromkeys(masks, image)
        _dump(folder / "data_demo" / index, entries)


def _coco(folder: Path, scans: dict[str, tuple[Scan, Pixels]]) -> None:
    images, annotations = [], []
    for number, (file, (name, category, regions)) in enumerate(BOXED.items(), 1):
        scan, pixels = scans[name]
        _save(folder / "imgs" / file, pixels)
        images.append({"id": number, "file_name": file, "width": pixels.shape[1], "height": pixels.shape[0]})
        for outline in (outline for region in regions for outline in scan.regions[region]):
            box = {"image_id": number, "category_id": category, "bbox": _box(outline, pixels), "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, **box})
    categories = [{"id": key, "name": name} for key, name in CATEGORIES.items()]
    content = {"categories": categories, "images": images, "annotations": annotations}
    _dump(folder / "annotations" / "json" / "TBX11K_train.json", content)


def _lungs(folder: Path, scan: Scan, pixels: Pixels) -> None:
    """A folder of masks of one thing: PNG data under the image's own name."""
    _save(folder / "images" / "ct_chest.jpg", pixels)
    mask = folder / "semantic_masks_v7labs_lungs" / "ct_chest.jpg"
    mask.parent.mkdir(parents=True)
    Image.fromarray(_grey(fill(scan.regions["lung"], *pixels.shape[:2]))).save(mask, format="PNG")


def _box(outline: Outline, pixels: Pixels) -> list[float]:
    """[x, y, width, height] in pixels."""
    (left, top), (right, bottom) = np.min(outline, axis=0), np.max(outline, axis=0)
    height, width = pixels.shape[:2]
    return [float(each) for each in (left * width, top * height, (right - left) * width, (bottom - top) * height)]


def _grey(mask: Mask) -> Any:
    return np.where(mask, 255, 0).astype(np.uint8)


def _save(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _dump(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
