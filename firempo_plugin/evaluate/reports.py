"""Report metrics, all of them of the package `radeval`; its scores are kept, so that none is made twice."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from math import fsum, isfinite
from typing import Any

from ..errors import UserError
from ..report_metrics import METRICS, Scorer, UnavailableError, load, radeval_version
from ..settings import config_key
from ..store.halt import Halt
from ..store.progress import progress
from ..store.workspace import Outcome, Workspace, later
from .answers import Answer
from .config import EvaluateConfig
from .measure import Column, Measure, Work
from .models import digest_of
from .store import Measured, Stored

OF_THE_CORPUS = ("bleu", "f1chexbert")
"""Metrics whose figure of all reports is another one than the mean of the single reports' figures."""


@dataclass(frozen=True)
class Options:
    """How reports are scored, by the package radeval."""

    metrics: list[str] = config_key(["bleu", "rouge"], f"of radeval: {', '.join(METRICS)}", choices=METRICS)
    batch: int = config_key(16, "reports at a time; scores are stored after each batch", least=1)

    def __post_init__(self) -> None:
        if not self.metrics:
            raise UserError("metrics is empty; name one, or leave reports out of measures")


class Reporter(Work):
    """Scores reports and keeps the scores; a metric is loaded when the first score is due.

    Args:
        workspace: Where scores are kept.
        metrics: Of radeval.
        batch: Reports at a time.
        halt: May end the run early.
        loader: Loads a metric.
    """

    def __init__(
        self,
        workspace: Workspace,
        metrics: list[str],
        batch: int,
        halt: Halt,
        loader: Callable[[str], Scorer] = load,
    ) -> None:
        self._workspace = workspace
        self._metrics = metrics
        self._batch = batch
        self._halt = halt
        self._loader = loader
        self._loaded: dict[str, Scorer] = {}
        self._absent: dict[str, UnavailableError] = {}
        self._version = radeval_version("measures: reports")
        self.protocol = {"radeval": self._version, "metrics": list(metrics)}

    def measure(self, answers: list[Answer]) -> Stored:
        """An item for every request for a report; values are means over its samples."""
        asked = [answer for answer in answers if answer.record.kind == "report"]
        written = [answer for answer in asked if answer.text]
        result = Stored()
        values: dict[tuple[str, int], dict[str, float]] = {(a.record.id, a.sample): {} for a in written}
        for metric in self._metrics:
            try:
                for answer, scores in self._scores(metric, written):
                    values[answer.record.id, answer.sample] |= scores
                if metric in OF_THE_CORPUS and written:
                    result.corpus |= self._corpus(metric, written)
            except UnavailableError as error:
                result.missing[metric] = str(error)
        for _, group in groupby(asked, key=lambda answer: answer.record.id):
            result.items.append(_item(list(group), values))
        return result

    def _scorer(self, metric: str) -> Scorer:
        if metric in self._absent:
            raise self._absent[metric]
        if metric not in self._loaded:
            try:
                self._loaded[metric] = self._loader(metric)
            except UnavailableError as error:
                self._absent[metric] = error
                raise
        return self._loaded[metric]

    def _key(self, metric: str, content: Any) -> str:
        return digest_of([metric, self._version, content, *later(version=REPORTS.version).values()])

    def _scores(self, metric: str, answers: list[Answer]) -> list[tuple[Answer, dict[str, float]]]:
        """The scores of each report; those that are due are made batch by batch, and kept."""
        step = f"score {metric}"
        known = self._workspace.outcomes(step)
        keyed = [(a, (a.record.id, a.sample, self._key(metric, [a.record.truth, a.text]))) for a in answers]
        due = [pair for pair in keyed if pair[1] not in known]
        with progress(step, len(due)) as tick:
            for start in range(0, len(due), self._batch):
                batch = due[start : start + self._batch]
                if self._halt.reason:
                    raise UnavailableError(f"{metric}: {self._halt.reason}")
                pairs = [(a.record.truth, a.text or "") for a, _ in batch]
                found = self._scorer(metric)([truth for truth, _ in pairs], [text for _, text in pairs], True)
                for place, (_, key) in enumerate(batch):
                    scores = {name: float(column[place]) for name, column in found.items()}
                    known[key] = Outcome({name: score for name, score in scores.items() if isfinite(score)}, None)
                    self._workspace.put_outcome(step, *key, known[key])
                self._workspace.commit()
                tick(len(batch))
        return [(answer, known[key].data or {}) for answer, key in keyed]

    def _corpus(self, metric: str, answers: list[Answer]) -> dict[str, float]:
        step = f"score {metric}"
        pairs = [[answer.record.truth, answer.text or ""] for answer in answers]
        key = ("", 0, self._key(metric, ["corpus", pairs]))
        known = self._workspace.outcomes(step)
        if key not in known:
            found = self._scorer(metric)([truth for truth, _ in pairs], [text for _, text in pairs], False)
            known[key] = Outcome({name: float(score) for name, score in found.items()}, None)
            self._workspace.put_outcome(step, *key, known[key])
        return known[key].data or {}


def _item(answers: list[Answer], values: dict[tuple[str, int], dict[str, float]]) -> Measured:
    record = answers[0].record
    scored = [values[record.id, answer.sample] for answer in answers if answer.text]
    if not scored:
        return Measured(record.id, "", {}, skipped=answers[0].reason or "the answer is empty")
    names = list(dict.fromkeys(name for scores in scored for name in scores))
    columns = {name: [scores[name] for scores in scored if name in scores] for name in names}
    means = {name: fsum(column) / len(column) for name, column in columns.items()}
    detail = {
        "truth": record.truth,
        "samples": [{"answer": answer.text, "cut": answer.cut} for answer in answers if answer.text],
        "no_answer": [answer.reason or "the answer is empty" for answer in answers if not answer.text],
    }
    return Measured(record.id, "", means, detail=json.dumps(detail, ensure_ascii=False))


_TITLES = {
    "green": "GREEN",
    "radgraph_simple": "RadGraph F1, simple",
    "radgraph_partial": "RadGraph F1",
    "radgraph_complete": "RadGraph F1, complete",
    "f1chexbert_sample_acc_5": "CheXbert accuracy, 5",
    "f1chexbert_sample_acc_all": "CheXbert accuracy, all",
    "f1chexbert_5_micro_f1": "CheXbert F1, 5 micro",
    "f1chexbert_all_micro_f1": "CheXbert F1, all micro",
    "bleu": "BLEU-4",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "bertscore": "BERTScore",
}


def _column(metric: str, corpus: bool) -> Column:
    title = _TITLES.get(metric, metric)
    return Column(f"{title}, all reports" if corpus else title, metric, scale=100, corpus=corpus)


def _reporter(config: EvaluateConfig, workspace: Workspace, budget: object, halt: Halt) -> Reporter:
    options = REPORTS.read(config.options("reports"))
    return Reporter(workspace, options.metrics, options.batch, halt)


REPORTS = Measure("reports", version=1, other=_column, options=Options, of_answers=_reporter, reads="report")
