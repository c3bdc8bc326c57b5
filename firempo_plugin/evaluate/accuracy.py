"""Accuracy of answers to questions: exact match and a judge's word apart, and Pass@k of several answers."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from math import comb, fsum
from pathlib import Path
from typing import Any

from ..answers import questions
from ..endpoint.client import Endpoint
from ..endpoint.costs import Budget
from ..endpoint.prompts import load_prompt
from ..store.halt import Halt
from ..store.progress import progress
from ..store.request_store import WorkspaceRequests
from ..store.workspace import Workspace
from .answers import Answer, asks
from .config import EvaluateConfig, JudgeConfig
from .measure import Column, Measure, Work
from .models import digest_of
from .registry import JUDGES
from .store import Measured, Stored
from .verdict import Judges, Verdict, prompts_of

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalise(text: str) -> str:
    """A text as exact match compares it, after the scripts of SLAKE, VQA-RAD and VQA.

    Unicode forms are evened out (NFKC), case, punctuation and symbols go, and so do the articles a, an, the; runs of
    white space become one space. Numbers, plurals and synonyms stay as they are: a judge is there for these.
    """
    lowered = unicodedata.normalize("NFKC", text).lower()
    kept = "".join(" " if unicodedata.category(character)[0] in "PS" else character for character in lowered)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def pass_at_k(right: int, samples: int, k: int) -> float:
    """The unbiased estimate that one of k answers is right, from `right` among `samples` (Chen et al., 2021, eq. 1).

    pass@k = 1 - C(samples - right, k) / C(samples, k)

    Raises:
        ValueError: There are fewer samples than k.
    """
    if not 0 <= right <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples; there are {samples}, {right} of them right")
    return 1.0 - comb(samples - right, k) / comb(samples, k)


@dataclass(frozen=True)
class Scored:
    """An answer with what was found."""

    answer: Answer
    exact: bool
    verdict: Verdict


def score(answer: Answer, judge: Judges) -> Scored | None:
    """Exact match and verdict; an exact match is right, whoever may be unable to read it. None without an answer."""
    if answer.text is None:
        return None
    truth = normalise(answer.record.truth)
    if truth and normalise(answer.text) == truth:
        return Scored(answer, True, Verdict(True, "exact match", "the answer is the ground truth"))
    return Scored(answer, False, judge.judge(answer.record, answer.text))


def measure(answers: Iterable[Answer], judge: Judges, ks: Sequence[int], threads: int) -> list[Measured]:
    """An item for every question, over its samples. Requests for reports are no questions, and are left to `reports`.

    Values: `exact` and `judged` are the shares of right samples, hence 0 or 1 of a single one and Pass@1 of several;
    `pass@k` is over the judged ones. A question of which no sample could be judged has no `judged`; one without any
    answer is skipped.

    Args:
        answers: Grouped by record.
        judge: Decides.
        ks: Of Pass@k.
        threads: Answers judged at a time.
    """
    asked = [answer for answer in answers if answer.record.kind == "vqa"]
    with ThreadPoolExecutor(threads) as pool, progress("judge", len(asked)) as tick:
        scored = []
        for answer, found in zip(asked, pool.map(lambda answer: score(answer, judge), asked), strict=True):
            scored.append((answer, found))
            tick(1)
    groups = groupby(scored, key=lambda pair: pair[0].record.id)
    return [_item(list(group), judge, ks) for _, group in groups]


def _item(pairs: list[tuple[Answer, Scored | None]], judge: Judges, ks: Sequence[int]) -> Measured:
    record = pairs[0][0].record
    kind = judge.kind(record)
    found = [scored for _, scored in pairs if scored is not None]
    missing = [answer.reason for answer, scored in pairs if scored is None]
    if not found:
        return Measured(record.id, kind, {}, skipped=missing[0])
    decided = [scored.verdict.correct for scored in found if scored.verdict.correct is not None]
    values = {"exact": fsum(scored.exact for scored in found) / len(found)}
    if decided:
        values["judged"] = fsum(decided) / len(decided)
    if len(pairs) > 1:
        values |= {f"pass@{k}": pass_at_k(sum(decided), len(decided), k) for k in ks if k <= len(decided)}
    return Measured(record.id, kind, values, detail=_detail(record.truth, found, missing))


def _detail(truth: str, found: list[Scored], missing: list[str]) -> str:
    """The ground truth and, of each sample, the answer, the verdict, whose it is and why, as JSON."""
    samples = [
        {
            "answer": scored.answer.text,
            "cut": scored.answer.cut,
            "exact": scored.exact,
            "correct": scored.verdict.correct,
            "by": scored.verdict.by,
            "reason": scored.verdict.reason,
        }
        for scored in found
    ]
    return json.dumps({"truth": truth, "samples": samples, "no_answer": missing}, ensure_ascii=False)


class Accuracy(Work):
    """Judges answers, by a model too where `judge.by` names one."""

    def __init__(self, config: EvaluateConfig, workspace: Workspace, budget: Budget, halt: Halt) -> None:
        judge = config.judge
        self._endpoint: Endpoint | None = None
        if JUDGES.load(judge.by).asks:
            self._endpoint = Endpoint(judge.endpoint, WorkspaceRequests(workspace), budget)
        self._judges = Judges(judge, asks(self._endpoint) if self._endpoint else None)
        self._threads = judge.endpoint.concurrency if self._endpoint else 1
        self._ks, self._halt = config.answers.pass_at, halt
        self.protocol = {
            "judge": _identity(judge),
            "exact": "whole answer; case, punctuation and articles evened out",
        }
        self.versions = {"rules_version": questions.VERSION}
        self.more = (self._ks,)

    def measure(self, answers: list[Answer]) -> Stored:
        """See `measure`."""
        if self._endpoint:
            self._halt.wake = self._endpoint.stop
        return Stored(items=measure(answers, self._judges, self._ks, self._threads))


def _identity(judge: JudgeConfig) -> dict[str, Any]:
    """What of the judge decides its verdicts."""
    found: dict[str, Any] = {"by": judge.by}
    if judge.vocabulary:
        found["vocabulary"] = digest_of(Path(judge.vocabulary).read_text(encoding="utf-8"))
    if JUDGES.load(judge.by).asks:
        text = load_prompt("verdict", prompts_of(judge)).text
        found |= {"model": judge.endpoint.identity, "prompt": digest_of(text)}
    return found


ACCURACY = Measure(
    "accuracy",
    1,  # the version: raised also when `verdict` takes a reply otherwise; what the rules decide has its own
    tuple(
        Column(f"{title}{mark}", metric, kind, scale=100)
        for metric, mark in (("judged", ""), ("exact", ", exact"))
        for title, kind in (("Closed", "closed"), ("Open", "open"), ("All", ""))
    ),
    other=lambda metric, corpus: Column(metric.capitalize(), metric, scale=100, corpus=corpus),
    of_answers=Accuracy,
    reads="vqa",
)
