"""Figures are those of plain loops over the stored answers, read with the other reader."""

import json
import random
import shutil
from statistics import fmean, quantiles

import pytest

OBJECTIVES, SEEDS = {"sft": 0.3, "rrpo": 0.6, "fire_mpo": 0.7}, (1, 2)


@pytest.fixture
def folder(scripts, tmp_path):
    """A finished benchmark whose answers are right by chance: the base's in 40 %, others as OBJECTIVES says."""
    import answering
    from findings import USUAL
    from sentences import REPORT, report
    from splits import Quota, balanced, taught, write

    examples = list(balanced("test", Quota({"side": 3, "presence": 3}, reports=30)))
    draw = random.Random(0)

    def said(question, share):
        if draw.random() < share:
            return question.answer
        if question.kind == REPORT:
            return report({**question.found, "nodule": dict(USUAL["nodule"]), "effusion": dict(USUAL["effusion"])})
        return draw.choice(["What?", "The nodule is on the left."])

    def store(name, share):
        (tmp_path / name).mkdir(parents=True)
        texts = [[said(question, share) for question in example.questions] for example in examples]
        answering.write(examples, texts, tmp_path / name / "answers.jsonl")

    (tmp_path / "questions").mkdir()
    for split in ("test", "validation"):
        write(examples, tmp_path / "questions" / f"{split}.jsonl")
    store("answers/middle/test", 0.4)
    store("answers/middle/validation", 0.4)
    for objective, share in OBJECTIVES.items():
        store(f"search/{objective}/1e-04", share)
        for seed in SEEDS:
            store(f"tested/middle-strong/{objective}/seed{seed}", share)
    for name in ("bases/middle", "pairs/middle-strong"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bases" / "middle" / "found.json").write_text(json.dumps({"step": 3, "right": 0.4}))
    asked = [
        (e.name, q) for e in (taught("pool", n, 0.5, 6) for n in range(12)) for q in e.questions if q.kind != REPORT
    ]
    rows = [{**q.row(name), "said": q.answer if number % 4 else "What?"} for number, (name, q) in enumerate(asked)]
    (tmp_path / "pairs" / "middle-strong" / "turned.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path, examples


def values(folder, examples, place, column):
    """By image: what each answer of a file counts for a column, with the exact reader."""
    import answering
    import reader

    found = []
    for example, texts in zip(examples, answering.read(examples, folder / place / "answers.jsonl"), strict=True):
        one = []
        for question, text in zip(example.questions, texts, strict=True):
            if question.kind == "report":
                said = reader.read_report(text)
                if column == "hallucinated":
                    one.append(len(set(said.claimed) - set(question.found)))
                if column == "exact":
                    one.append(said.right(question.found))
            elif column == "all" or column == {True: "habit right", False: "habit wrong"}[question.habit]:
                one.append(reader.read(question, text) == question.truth)
        found.append(one)
    return found


def test_figures_are_those_of_plain_loops(folder):
    import recount

    where, examples = folder
    made = recount.count(where)
    for column in ("hallucinated", "exact", "all", "habit right", "habit wrong"):
        compare(where, examples, made, column)


def compare(where, examples, made, column):
    base = values(where, examples, "answers/middle/test", column)
    for objective in OBJECTIVES:
        ours = [values(where, examples, f"tested/middle-strong/{objective}/seed{seed}", column) for seed in SEEDS]
        flat = [[one for image in seed for one in image] for seed in ours]
        level = fmean(one for image in base for one in image)
        row = made["rows"][objective]
        assert row["figures"][column][0] == pytest.approx(100 * fmean(map(fmean, flat)))
        assert row["over base"][column][0] == pytest.approx(100 * (fmean(map(fmean, flat)) - level))
        draw, draws = random.Random(1), []
        for _ in range(400):
            images = draw.choices([place for place, image in enumerate(base) if image], k=sum(map(bool, base)))
            sides = []
            for side in (draw.choices(ours, k=len(ours)), [base]):
                drawn = [[one for place in images for one in seed[place]] for seed in side]
                sides.append(fmean(map(fmean, drawn)))
            draws.append(100 * (sides[0] - sides[1]))
        cuts = quantiles(draws, n=40)
        width = cuts[-1] - cuts[0]
        assert row["over base"][column][1] == pytest.approx(cuts[0], abs=0.15 * width + 0.5)
        assert row["over base"][column][2] == pytest.approx(cuts[-1], abs=0.15 * width + 0.5)


def test_noise_and_search_are_counted_too(folder):
    import recount

    where, examples = folder
    made = recount.count(where)
    (cell,) = made["noise"]
    rows = recount.lines(where / "pairs" / "middle-strong" / "turned.jsonl")
    for name, among in (("all", (True, False)), ("habit right", (True,)), ("habit wrong", (False,))):
        wanted = fmean(row["said"] == "What?" for row in rows if row["habit"] in among)
        assert cell["turned"][name][0] == pytest.approx(100 * wanted)
    over = cell["gain"]["all"][0] - cell["gain of RRPO"]["all"][0]
    assert cell["over RRPO"]["all"][0] == pytest.approx(over)
    right = [one for image in values(where, examples, "search/sft/1e-04", "all") for one in image]
    assert made["search"]["sft"] == {"1e-04": pytest.approx(100 * fmean(right))}
    assert made["bases"]["middle"]["reached"] == {"step": 3, "right": 0.4}
    unread = made["rows"]["base"]["unread"]
    texts = recount.lines(where / "answers" / "middle" / "test" / "answers.jsonl")
    assert unread >= sum(row["answer"] == "What?" for row in texts) > 0


def test_answers_of_other_questions_are_refused(folder):
    import recount

    file = folder[0] / "answers" / "middle" / "test" / "answers.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ValueError, match="not those of the"):
        recount.count(folder[0])


def test_the_rate_with_most_right_answers_on_validation_is_chosen(folder):
    from plan import Plan

    search = folder[0] / "search"
    shutil.copytree(search / "fire_mpo" / "1e-04", search / "sft" / "2e-04")
    shutil.copytree(search / "sft" / "1e-04", search / "fire_mpo" / "2e-04")
    shutil.copytree(search / "rrpo" / "1e-04", search / "rrpo" / "2e-04")
    plan = Plan(folder[0], 2, "full")
    assert [plan.rate(name) for name in ("sft", "fire_mpo", "rrpo")] == [2e-4, 1e-4, 1e-4]
