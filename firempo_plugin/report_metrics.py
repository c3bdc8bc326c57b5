"""Metrics of radiology reports, all of them of the package `radeval`."""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .errors import UserError

INSTALL = 'install it with: pip install "firempo-plugin[reports]"'
METRICS = ("bleu", "rouge", "bertscore", "radgraph", "f1chexbert", "green", "ratescore", "radcliq", "srrbert")

Scorer = Callable[[list[str], list[str], bool], dict[str, Any]]
"""From ground truths, reports and whether each is scored apart, to scores by name."""


class UnavailableError(Exception):
    """A metric cannot be computed here; the message says why and what to do."""


def radeval_version(key: str) -> str:
    """The installed version of radeval, which `key` of a configuration needs.

    Raises:
        UserError: It is not installed.
    """
    try:
        return version("radeval")
    except PackageNotFoundError as error:
        raise UserError(f"{key} needs the package radeval, which is not installed; {INSTALL}") from error


def load(metric: str) -> Scorer:
    """A metric of radeval, with its weights.

    Raises:
        UnavailableError: A package or the weights that it needs are absent.
    """
    try:
        package = import_module("radeval")
        sys.modules.setdefault("RadEval", package)  # 2.2.1 imports parts of itself by its former name
        evaluator = package.RadEval(metrics=[metric], show_progress=False)
    except ImportError as error:
        raise UnavailableError(f"{metric} needs a package that is not installed: {error}; {INSTALL}") from error
    except Exception as error:  # what radeval and those it calls raise without weights is of every kind
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnavailableError(
            f"{metric} cannot be loaded: {reason.rstrip('.')}. radeval fetches weights from the Hugging Face Hub when "
            "they are first needed: run once with a network, or name another metric"
        ) from error

    def score(truths: list[str], reports: list[str], apart: bool) -> dict[str, Any]:
        evaluator.per_sample = apart
        return dict(evaluator(refs=truths, hyps=reports))

    return score
