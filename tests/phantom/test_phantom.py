"""The phantom: what its images show is what its questions say, and its data fit the product's own readers."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from firempo_plugin.answers.protocol import Abstain
from firempo_plugin.objectives.table import OBJECTIVES
from firempo_plugin.pairs import config as build_config
from firempo_plugin.pairs.config import EditConfig
from firempo_plugin.pairs.judges.rules import RuleJudge
from firempo_plugin.pairs.judges.targets import rule_target
from firempo_plugin.pairs.segmenters.regions import matching
from firempo_plugin.records import Record

PHANTOM = Path(__file__).parents[2] / "examples" / "phantom"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The scripts import each other by name, as they do when they are run; nobody else sees those names."""
    monkeypatch.syspath_prepend(str(PHANTOM))
    names = ("images", "questions", "data", "off_policy")
    held = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    yield
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(held)


def nodules():
    from images import ATTRIBUTES, Nodule

    return [Nodule(a, b, c) for a in ATTRIBUTES["side"] for b in ATTRIBUTES["zone"] for c in ATTRIBUTES["size"]]


def asked(name, nodule, seed):
    from questions import ask

    return ask(name, nodule, np.random.default_rng(seed))


def test_a_nodule_lies_where_it_is_said_to_lie():
    from images import draw

    areas = {"small": [], "large": []}
    for number, nodule in enumerate(nodules() * 4):
        phantom = draw(nodule, np.random.default_rng(number))
        rows, columns = np.nonzero(phantom.masks["nodule"])
        lung = phantom.masks[f"{nodule.side} lung"]
        lung_rows, lung_columns = np.nonzero(lung)
        other = phantom.masks["right lung" if nodule.side == "left" else "left lung"]
        assert (nodule.side == "left") == (columns.mean() > np.nonzero(other)[1].mean())
        assert lung[round(rows.mean()), round(columns.mean())]
        assert (nodule.zone == "upper") == (rows.mean() < lung_rows.mean())
        areas[nodule.size].append(len(rows))
        assert lung_columns.min() > 0
    assert max(areas["small"]) < min(areas["large"])


def test_a_nodule_is_brighter_than_the_lung_around_it():
    from images import draw

    for number, nodule in enumerate(nodules()):
        phantom = draw(nodule, np.random.default_rng(number))
        healthy = draw(None, np.random.default_rng(number))
        mask = phantom.masks["nodule"]
        assert phantom.pixels[mask].mean() > healthy.pixels[mask].mean() + 20
        assert "nodule" not in healthy.masks


def test_a_defect_is_noise_in_its_place_and_hides_what_it_touches():
    from images import draw, patch, spoil

    random = np.random.default_rng(0)
    for nodule in nodules():
        phantom = draw(nodule, random)
        free = patch(random) & ~phantom.masks["nodule"]
        beside = spoil(phantom, free, random)
        assert beside.nodule == nodule
        assert np.array_equal(beside.pixels[~free], phantom.pixels[~free])
        assert 25 < (beside.pixels[free].astype(float) - phantom.pixels[free]).std() < 60
        hidden = spoil(phantom, phantom.masks["nodule"], random)
        assert hidden.nodule is None
        assert set(hidden.masks) == {"left lung", "right lung"}
        assert phantom.nodule == nodule


def test_a_patch_lies_in_the_lungs():
    from images import draw, patch

    random = np.random.default_rng(0)
    lungs = draw(None, random).masks
    either = lungs["left lung"] | lungs["right lung"]
    assert all((patch(random) & either).any() for _ in range(20))


def test_half_of_the_training_images_have_a_defect_away_from_the_nodule(monkeypatch):
    import data

    places = []
    spoil = data.spoil
    monkeypatch.setattr(
        data, "spoil", lambda phantom, place, random: places.append(place) or spoil(phantom, place, random)
    )
    monkeypatch.setitem(data.SPLITS, "train", replace(data.SPLITS["train"], images=60))
    shown = list(data.examples("train", seed=1))
    assert 20 < len(places) < 40
    assert all(("nodule" in example.phantom.masks) == (example.phantom.nodule is not None) for example in shown)
    assert sum(example.phantom.nodule is not None for example in shown) > 45
    places.clear()
    assert list(data.examples("test", seed=1))
    assert not places


def test_the_judge_reads_every_answer_and_decides_as_the_phantom_does():
    from questions import KINDS, REPORT

    judge = RuleJudge(EditConfig())
    for name in (*KINDS, REPORT):
        free = name in ("presence", REPORT)
        shown = [*nodules(), *([None] if free else [])]
        for number, (true, said) in enumerate((true, said) for true in shown for said in shown):
            for seed in (2 * number, 2 * number + 1):
                question, answer = asked(name, true, seed), asked(name, said, seed)
                assert question.text == answer.text
                kind = "report" if name == REPORT else "vqa"
                edit = judge.judge(Record("r", ("x",), question.text, question.truth, kind), answer.answer)
                assert not isinstance(edit, Abstain), (question, answer.answer, edit)
                assert edit.was_correct == (question.answer == answer.answer)


def test_every_target_has_a_mask():
    from images import draw
    from questions import KINDS

    for nodule in (*nodules(), None):
        masks = list(draw(nodule, np.random.default_rng(0)).masks)
        for name in KINDS if nodule else ("presence",):
            for seed in range(6):
                question = asked(name, nodule, seed)
                target = rule_target(Record("r", ("x",), question.text, question.truth), "")
                assert target.phrase, question
                assert matching(target.phrase, masks), (target, masks)


def test_usual_is_what_habit_gets_right():
    from images import ATTRIBUTES, Nodule

    habit = Nodule(*(values[0] for values in ATTRIBUTES.values()))
    for name in ("is_side", "side", "zone", "size", "which", "where"):
        for seed, nodule in enumerate(nodules()):
            assert asked(name, nodule, seed).usual == (
                asked(name, nodule, seed).answer == asked(name, habit, seed).answer
            )


def test_there_is_no_question_about_a_nodule_that_is_not_there():
    with pytest.raises(ValueError, match="asks about a nodule where there is none"):
        asked("side", None, 0)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Small splits, written twice."""
    sys.path.insert(0, str(PHANTOM))
    try:
        import data

        small = {name: replace(split, images=32) for name, split in data.SPLITS.items()}
        folders = [tmp_path_factory.mktemp("phantom") for _ in range(2)]
        whole, data.SPLITS = data.SPLITS, small
        for folder in folders:
            data.write(folder, seed=3)
        data.SPLITS = whole
    finally:
        sys.path.remove(str(PHANTOM))
    return folders


def rows_of(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def test_the_same_seed_gives_the_same_files(written):
    first, second = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in written)
    assert first == second


def test_the_test_split_has_no_habit_and_the_training_split_has(written):
    for name in ("validation", "test"):
        shown = {row["image"]: row for row in rows_of(written[0], name) if row["side"]}.values()
        for attribute, usual in (("side", "left"), ("zone", "upper"), ("size", "small")):
            assert sum(row[attribute] == usual for row in shown) == len(shown) / 2
    shown = {row["image"]: row for row in rows_of(written[0], "train") if row["side"]}.values()
    assert sum(row["side"] == "left" for row in shown) > 0.8 * len(shown)


def test_no_image_is_in_two_splits(written):
    seen = [
        (written[0] / image).read_bytes()
        for name in ("train", "pairs", "validation", "test")
        for image in {row["image"] for row in rows_of(written[0], name)}
    ]
    assert len(set(seen)) == len(seen)


def test_boxes_hold_the_nodule(written):
    from PIL import Image

    for row in rows_of(written[0], "test"):
        if row["side"]:
            ((x0, y0, x1, y1),) = row["boxes"]
            mask = np.array(Image.open(written[0] / "masks" / f"{Path(row['image']).stem}_nodule.png")) > 0
            assert mask[y0:y1, x0:x1].sum() == mask.sum()
            assert mask[y0].any()
            assert mask[:, x1 - 1].any()


def test_shuffled_masks_are_those_of_another_image(written):
    folder = written[0]
    own = {path.name for path in (folder / "masks").glob("pairs-*.png")}
    shuffled = {path.name for path in (folder / "masks_shuffled").iterdir()}
    assert shuffled == own
    nodules_moved = [name for name in own if name.endswith("_nodule.png")]
    assert len(nodules_moved) > 10
    for name in own:
        assert (folder / "masks" / name).read_bytes() != (folder / "masks_shuffled" / name).read_bytes()


def test_evidence_is_what_the_test_split_asks_of_places(written):
    asked_of = rows_of(written[0], "evidence")
    assert asked_of == [row for row in rows_of(written[0], "test") if row["asks"] == "where"]
    assert all(row["boxes"] for row in asked_of)


def test_the_configurations_are_read_by_the_product():
    config = build_config.load(PHANTOM / "build.yaml", [])
    assert config.respond.backend == "engine"
    training = yaml.safe_load((PHANTOM / "train.yaml").read_text())
    for row in yaml.safe_load((PHANTOM / "objectives.yaml").read_text()).values():
        assert {"label", "pairs"} <= set(row) <= {"label", "pairs", "set", "flipped"}
        assert row.get("set", {}).get("fire_objective", "fire_mpo") in OBJECTIVES
        assert set(row.get("set", {})) & set(training) <= {"learning_rate"}


def test_off_policy_pairs_have_the_ground_truth_as_chosen_and_no_reports():
    from off_policy import off_policy

    pair = {
        "conversations": [],
        "chosen": {"from": "gpt", "value": "The nodule is in the left lung."},
        "rejected": {"from": "gpt", "value": "The nodule is in the right lung."},
        "images": ["a.png"],
        "rejected_images": ["b.png"],
        "weight": None,
        "id": "table:pairs-1-which",
    }
    report = pair | {"id": "table:pairs-1-report"}
    (row,) = off_policy([pair, report], {"pairs-1-which": "left lung"})
    assert row["chosen"]["value"] == "Left lung."
    assert row["rejected"] == pair["rejected"]
    assert "rejected_images" not in row


def test_attributes_and_texts_agree():
    from questions import FOUND, corpus

    texts = set(corpus())
    for nodule in nodules():
        assert FOUND.format(**asdict(nodule)) in texts
