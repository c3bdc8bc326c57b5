"""The scores of the package radeval, as `firempo evaluate` reports them."""

from collections.abc import Sequence
from typing import Any

from ...endpoint.failures import StopRunError
from ...report_metrics import Scorer, UnavailableError, load, radeval_version
from .score import Score


class RadevalScore(Score):
    """One figure of a metric, which is loaded when the first score is due.

    Args:
        metric: Of radeval.
        figure: Which of its figures of a single report.
    """

    def __init__(self, metric: str, figure: str) -> None:
        self.name = metric
        self._figure = figure
        self._scorer: Scorer | None = None

    def identity(self) -> Any:
        """The package's version, and the figure."""
        return [radeval_version(f"rank.by: {self.name}"), self._figure]

    def of(self, truths: Sequence[str], responses: Sequence[str]) -> list[float]:
        """As radeval gives them."""
        try:
            self._scorer = self._scorer or load(self.name)
        except UnavailableError as error:
            raise StopRunError(str(error)) from error
        return [float(value) for value in self._scorer(list(truths), list(responses), True)[self._figure]]


BLEU = RadevalScore("bleu", "bleu")
BERTSCORE = RadevalScore("bertscore", "bertscore")
F1CHEXBERT = RadevalScore("f1chexbert", "f1chexbert_sample_acc_all")
RADGRAPH = RadevalScore("radgraph", "radgraph_partial")
RATESCORE = RadevalScore("ratescore", "ratescore")
GREEN = RadevalScore("green", "green")
