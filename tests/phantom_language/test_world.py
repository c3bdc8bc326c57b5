"""What is drawn is what is asked and said, both readers read just that, and splits are as they are described."""

from collections import Counter

import numpy as np
import pytest


def founds(number=25):
    from findings import HABIT, NO_HABIT, sample

    random = np.random.default_rng(0)
    return [{}, *(sample(habit, random) for habit in (HABIT, NO_HABIT) for _ in range(number))]


def every_question():
    from sentences import ask, askable

    return [ask(asked, found, phrasing) for found in founds() for asked in askable(found) for phrasing in (0, 1)]


def values(question):
    from findings import NAMES, VALUES

    if question.kind == "seen":
        return ["", *NAMES, "nodule+effusion", "+".join(NAMES)]
    return VALUES.get(question.kind, ("yes", "no"))


def test_both_readers_read_every_answer_as_what_it_says():
    import reader
    import recount
    from sentences import answer

    for question in every_question():
        assert question.truth in (*values(question), question.truth)
        for value in (*values(question), question.truth):
            text = answer((question.kind, question.finding, question.asked), value)
            assert reader.read(question, text) == recount.value(question.row("x-0"), text) == value, text
        assert reader.read(question, question.answer) == question.truth


HOSTILE = (
    lambda text: text.lower(),
    lambda text: text + " " + text,
    lambda text: text[:-1],
    lambda text: text + " [cut]",
    lambda text: text + "\n",
    lambda text: "Perhaps. " + text,
    lambda text: text.replace("The ", "No, the ").replace("A ", "No, a "),
    lambda text: text.replace(" is ", " is possibly ").replace(" shows ", " possibly shows "),
    lambda text: text.replace("yes", "maybe").replace("no.", "yes.") if ", so" in text else text + "!",
    lambda text: text.replace(".", " or not."),
    lambda text: text.replace("nodule", "mass").replace("p", "q").replace("con", "com"),
)


@pytest.mark.parametrize("change", HOSTILE)
def test_neither_reader_reads_what_the_phantom_cannot_say(change):
    import reader
    import recount

    for question in every_question()[::4]:
        text = change(question.answer)
        if text != question.answer and "nothing" not in text:
            assert reader.read(question, text) is None, text
            assert recount.value(question.row("x-0"), text) is None, text


def test_an_answer_about_something_else_is_unread():
    import reader
    import recount
    from sentences import ask

    found = {"nodule": {"side": "left", "zone": "upper", "size": "small"}}
    question = ask(("side", "nodule", None), found, 0)
    twice = ask(("seen", None, "left"), found, 0)
    for one, text in (
        (question, "The consolidation is on the left."),
        (question, "The nodule is on the left right."),
        (ask(("is_side", "nodule", "left"), found, 0), "The nodule is on the right, so yes."),
        (ask(("presence", "nodule", None), found, 0), "A nodule is not seen, so yes."),
        (twice, "The left side shows a nodule and a nodule."),
        (twice, "The right side shows a nodule."),
    ):
        assert reader.read(one, text) is None
        assert recount.value(one.row("x-0"), text) is None


def test_reports_are_read_back_and_their_faults_counted():
    import reader
    import recount
    from findings import NAMES, USUAL, VALUES
    from sentences import ask, report

    full = {name: {key: two for key, (_, two) in VALUES.items()} for name in NAMES}
    for found in founds():
        question = ask(("report", None, None), found, 1)
        said = reader.read_report(question.answer)
        assert said.right(found)
        assert said.claimed == found
        assert recount.report(question.row("x-0"), question.answer)["exact"] == 1
        more = next(name for name in full if name not in found)
        usual = {key: full[more][key] for key in USUAL[more]}
        counted = recount.report(question.row("x-0"), report({**found, more: usual}))
        assert (counted["hallucinated"], counted["missed"], counted["exact"]) == (1, 0, 0)
        if found:
            counted = recount.report(question.row("x-0"), report(dict(list(found.items())[1:])))
            assert (counted["hallucinated"], counted["missed"]) == (0, 1)
            name = NAMES[next(iter(found))]
            counted = recount.report(question.row("x-0"), f"The lungs are clear. There is no {name}.")
            assert (counted["denied"], counted["missed"], counted["unread"]) == (1, len(found), 0)
        for bad in (question.answer + " Perhaps.", question.answer.replace("There is a", "There is no"), ""):
            if bad != question.answer:
                assert not reader.read_report(bad).right(found)
                assert recount.report(question.row("x-0"), bad)["exact"] == 0


def test_a_report_that_contradicts_itself_is_not_read_as_right():
    import reader
    import recount
    from sentences import ask

    found = {"pacemaker": {"side": "left"}}
    row = ask(("report", None, None), found, 0).row("x-0")
    for text in (
        "There is a pacemaker on the left. There is no pacemaker.",
        "There is a pacemaker on the left. There is a pacemaker on the right.",
        "The lungs are clear. There is a pacemaker on the left.",
    ):
        assert reader.read_report(text).unread
        assert recount.report(row, text)["unread"]


def test_a_finding_is_drawn_where_it_is_said_to_be():
    from findings import NO_HABIT
    from pictures import SIZE, picture

    random = np.random.default_rng(3)
    for drawn in (picture(NO_HABIT, random) for _ in range(40)):
        assert set(drawn.masks) == {"left lung", "right lung", *drawn.found}
        for name, at in drawn.found.items():
            rows, columns = np.nonzero(drawn.masks[name])
            if name != "pacemaker":  # whose wire leads to the heart
                assert (columns.mean() > SIZE / 2) == (at["side"] == "left"), (name, at)
            if "zone" in at:
                assert (rows.mean() < SIZE / 2 + 3) == (at["zone"] == "upper"), (name, at)


def test_noise_stays_in_its_mask():
    from findings import NO_HABIT
    from pictures import dilated, noised, picture

    drawn = picture(NO_HABIT, np.random.default_rng(3))
    place = dilated(drawn.masks["left lung"], 2)
    pixels = noised(drawn.pixels, place, 60, np.random.default_rng(4))
    assert (pixels == drawn.pixels)[~place].all()
    assert (pixels != drawn.pixels)[place].mean() > 0.9


def test_a_balanced_split_has_habit_right_as_often_as_wrong_in_every_cell(monkeypatch):
    import splits
    from splits import Quota, balanced

    monkeypatch.setattr(splits, "FEW_LEFT", 8)  # until then images of which one question is wanted are passed over

    quota = Quota({"presence": 1, "is_side": 1, "side": 1, "zone": 1, "size": 2, "seen": 1}, reports=2)
    examples = list(balanced("some", quota))
    asked = [question for example in examples for question in example.questions]
    cells = Counter((q.kind, q.finding or q.asked, q.habit) for q in asked if q.kind != "report")
    # Five findings, but consolidation has no size, pacemaker neither, and two have a zone; two sides are looked at.
    assert cells.total() == 2 * (3 * 5 * 1 + 2 * 1 + 3 * 2 + 2 * 1)
    assert set(Counter(kind for kind, _, _ in cells).values()) == {4, 6, 10}
    assert all(count == quota.each[kind] for (kind, _, _), count in cells.items())
    assert sum(q.kind == "report" for q in asked) == 2
    again = list(balanced("some", quota))
    assert [e.questions for e in again] == [e.questions for e in examples]
    assert all((a.picture.pixels == b.picture.pixels).all() for a, b in zip(again, examples, strict=True))
    other = next(balanced("other", quota)).picture
    assert (other.pixels != examples[0].picture.pixels).any()


def test_a_corpus_has_its_habit_and_its_defects_touch_no_finding():
    from splits import taught

    examples = [taught("corpus", number, 0.9, 6) for number in range(30)]
    asked = [question for example in examples for question in example.questions if question.kind != "report"]
    assert 0.7 < np.mean([question.habit for question in asked]) < 0.95
    assert sum(question.kind == "report" for e in examples for question in e.questions) > 2
    for example in examples:
        grey = example.picture.pixels.astype(float)
        rough = np.abs(grey - np.roll(grey, 1, 1)) > 60
        for name in set(example.picture.found) - {"pacemaker"}:
            assert rough[example.picture.masks[name]].mean() < 0.15, (example.name, name)
