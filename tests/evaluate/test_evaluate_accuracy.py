"""Exact match, Pass@k and verdicts: what is right, what is wrong, and what nobody can say."""

import itertools
import json
import time

import pytest

from firempo_plugin.endpoint.settings import EndpointSettings
from firempo_plugin.evaluate.accuracy import measure, normalise, pass_at_k
from firempo_plugin.evaluate.answers import Answer, cut_and_unscored
from firempo_plugin.evaluate.config import JudgeConfig
from firempo_plugin.evaluate.verdict import Judges
from firempo_plugin.records import Record, RejectedError


def record(question, truth, **changes) -> Record:
    return Record(**{"id": "r1", "images": (), "question": question, "truth": truth, **changes})


def items(*answers, judge=None, ks=(1, 2)):
    return measure(answers, judge or Judges(JudgeConfig(), None), ks, threads=1)


def values(question, truth, *texts, **changes):
    asked = record(question, truth, **changes)
    (item,) = items(*(Answer(asked, sample, text) for sample, text in enumerate(texts)))
    return item.values


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("The right lung.", "right lung"),
        ("X-Ray", "x ray"),
        ("  an   Aortic\naneurysm!", "aortic aneurysm"),
        ("1．5 cm", "1 5 cm"),
        ("是的。", "是的"),
        ("A", ""),
        ("Theory", "theory"),
    ],
)
def test_exact_match_evens_out_case_punctuation_and_articles(text, same):
    assert normalise(text) == same


def test_pass_at_k_is_the_share_of_draws_with_a_right_one():
    for n in range(1, 7):
        for right, k in itertools.product(range(n + 1), range(1, n + 1)):
            outcomes = [1] * right + [0] * (n - right)
            draws = list(itertools.combinations(outcomes, k))
            assert pass_at_k(right, n, k) == pytest.approx(sum(map(max, draws)) / len(draws))
    with pytest.raises(ValueError, match="pass@4 needs at least 4 samples"):
        pass_at_k(1, 2, 4)


def test_closed_questions_are_decided_without_a_model():
    asked = "Is there a pleural effusion?"
    assert values(asked, "No", "No, there is no pleural effusion.") == {"exact": 0, "judged": 1}
    assert values(asked, "No", "no") == {"exact": 1, "judged": 1}
    assert values(asked, "No", "Yes, there is.") == {"exact": 0, "judged": 0}
    choice = "Which lung is affected, left or right?"
    assert values(choice, "Left", "The left lung is affected.")["judged"] == 1
    assert values(choice, "Left", "The right lung.")["judged"] == 0


def test_what_the_judge_cannot_decide_is_unscored_and_never_wrong():
    (item,) = items(Answer(record("Is there a pleural effusion?", "No"), 0, "The heart is large."))
    assert item.values == {"exact": 0}
    assert not item.skipped
    assert sum(cut_and_unscored([item])[1].values()) == 1
    (empty,) = items(Answer(record("Is there a pleural effusion?", "No"), 0, ""))
    assert empty.values == {"exact": 0}
    assert cut_and_unscored([empty])[1] == {"the answer is empty": 1}


def test_every_sample_without_a_verdict_is_counted_beside_those_that_have_one():
    asked = record("Is there a pleural effusion?", "No")
    texts = ["No, there is none.", "The heart is large.", "", None]
    (item,) = items(*(Answer(asked, n, text, "" if text is not None else "gone") for n, text in enumerate(texts)))
    assert item.values["judged"] == 1
    assert cut_and_unscored([item])[1].total() == 3
    assert cut_and_unscored([item])[1]["gone"] == 1


def test_a_question_without_an_answer_is_skipped_with_its_reason():
    (item,) = items(Answer(record("Is there an effusion?", "No"), 0, None, "image cannot be read: x.png"))
    assert (item.values, item.skipped) == ({}, "image cannot be read: x.png")


def test_kinds_come_from_the_source_or_else_from_the_question():
    assert items(Answer(record("What is it?", "Lung", closed=True), 0, "Lung"))[0].kind == "closed"
    assert items(Answer(record("Is it a lung?", "Yes"), 0, "Yes"))[0].kind == "closed"
    assert items(Answer(record("What organ is it?", "Lung"), 0, "Lung"))[0].kind == "open"
    assert items(Answer(record("Was?", "Lunge", language="de"), 0, "Lunge"))[0].kind == ""


def test_several_samples_give_shares_and_pass_at_k_over_the_judged_ones():
    asked = "Is there a pleural effusion?"
    found = values(asked, "No", "No.", "Yes.", "Yes.", "Bananas.")
    assert found["exact"] == 0.25
    assert found["judged"] == pytest.approx(1 / 3)
    assert found["pass@1"] == pytest.approx(1 / 3)
    assert found["pass@2"] == pytest.approx(2 / 3)


def test_reports_are_no_questions():
    assert items(Answer(record("Write.", "Fine.", kind="report"), 0, "Fine.")) == []


class Replies:
    """Answers requests in order; an exception is raised."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def test_an_answer_without_end_is_left_to_the_model():
    start = time.monotonic()
    text = "left lung. " * 6000
    assert values("Which lung is it?", "left lung", text) == {"exact": 0}
    score, *_ = judged('{"final_answer": "left lung", "verdict": "correct"}', answer=text)
    assert (score, time.monotonic() - start < 3) == (1, True)


def judged(*replies, question="What disease is it?", truth="Sarcoidosis", answer="Granulomatous disease"):
    ask = Replies(*replies)
    judge = Judges(JudgeConfig(by="endpoint", endpoint=EndpointSettings(model="judge-1")), ask)
    (item,) = items(Answer(record(question, truth), 0, answer), judge=judge)
    (sample,) = json.loads(item.detail)["samples"]
    return item.values.get("judged"), sample, ask


def test_a_model_is_asked_only_what_the_rules_leave_open():
    reply = '{"final_answer": "granuloma", "verdict": "%s"}'
    assert judged(reply % "correct")[0] == 1
    assert judged(reply % "wrong")[0] == 0
    score, sample, ask = judged(reply % "undecided")
    assert (score, sample["by"]) == (None, "judge-1")
    assert json.dumps("Sarcoidosis") in ask.requests[0].messages[0].text
    score, sample, ask = judged(question="Is it sarcoidosis?", truth="Yes", answer="Yes, it is.")
    assert (score, sample["by"], ask.requests) == (1, "rules", [])
    score, sample, ask = judged(truth="Granulomatous disease.")
    assert (score, sample["by"], ask.requests) == (1, "exact match", [])


def test_a_reply_that_cannot_be_used_is_asked_for_once_more_and_then_unscored():
    good = '{"final_answer": "x", "verdict": "wrong"}'
    assert judged("I think so", good)[0] == 0
    score, sample, ask = judged("I think so", '{"verdict": "maybe"}')
    assert score is None
    assert "refused twice" in sample["reason"]
    assert len(ask.requests) == 2
    score, sample, _ = judged(RejectedError("the model refused to reply"))
    assert (score, sample["reason"]) == (None, "the judge gives no reply: the model refused to reply")
