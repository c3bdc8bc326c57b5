"""Reports: scores of radeval by report and of the corpus, kept, and clear words where it or its weights are absent."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import pytest
import yaml

from firempo_plugin import report_metrics
from firempo_plugin.evaluate import commands, reports
from firempo_plugin.evaluate.answers import Answer
from firempo_plugin.evaluate.reports import Reporter
from firempo_plugin.records import Record
from firempo_plugin.report_metrics import UnavailableError, load
from firempo_plugin.store.halt import DONE, STOPPED, Halt
from firempo_plugin.store.workspace import Workspace

needs_radeval = pytest.mark.skipif(importlib.util.find_spec("radeval") is None, reason="radeval is not installed")


@pytest.fixture
def workspace(tmp_path):
    opened = Workspace(tmp_path / "work")
    yield opened
    opened.close()


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(reports, "radeval_version", lambda key: "2.2.1")


class Metrics:
    """Loads metrics that give the share of a report's words that are true; counts what it is asked."""

    def __init__(self, absent=()):
        self.absent = absent
        self.scored = []

    def __call__(self, metric):
        if metric in self.absent:
            raise UnavailableError(f"{metric} cannot be loaded: no weights")

        def score(truths, texts, apart):
            self.scored.append((metric, len(texts), apart))
            shares = [len({*a.split()} & {*b.split()}) / len(b.split()) for a, b in zip(truths, texts, strict=True)]
            return {metric: shares if apart else sum(shares)}

        return score


def answer(number, text, sample=0, **changes):
    record = Record(f"r{number}", (), "Write.", "no acute disease", kind="report")
    return Answer(record, sample, text, **changes)


GIVEN = [answer(1, "no disease"), answer(2, "a disease"), answer(3, None, reason="no image"), answer(4, "")]


def test_each_report_is_scored_and_all_of_them_together(workspace, installed):
    found = Reporter(workspace, ["bleu", "rouge"], 16, Halt(), Metrics()).measure(GIVEN)
    assert [item.values for item in found.items] == [{"bleu": 1, "rouge": 1}, {"bleu": 0.5, "rouge": 0.5}, {}, {}]
    assert [item.skipped for item in found.items] == ["", "", "no image", "the answer is empty"]
    assert found.corpus == {"bleu": 1.5}, "the corpus' BLEU is no mean"


def test_samples_of_a_report_are_averaged(workspace, installed):
    given = [answer(1, "no disease"), answer(1, "a tumour", sample=1), answer(1, None, sample=2, reason="cut")]
    (item,) = Reporter(workspace, ["rouge"], 16, Halt(), Metrics()).measure(given).items
    assert item.values == {"rouge": 0.5}
    assert json.loads(item.detail)["no_answer"] == ["cut"]


def test_scores_are_kept_batch_by_batch(workspace, installed):
    metrics = Metrics()
    Reporter(workspace, ["rouge"], 1, Halt(), metrics).measure(GIVEN)
    assert metrics.scored == [("rouge", 1, True)] * 2
    Reporter(workspace, ["rouge"], 1, Halt(), metrics).measure([*GIVEN, answer(5, "acute")])
    assert metrics.scored == [("rouge", 1, True)] * 3


def test_questions_are_no_reports(workspace, installed):
    question = Answer(Record("q", (), "Is it?", "Yes"), 0, "Yes")
    assert Reporter(workspace, ["bleu"], 1, Halt(), Metrics()).measure([question]).items == []


def test_an_absent_metric_leaves_the_others(workspace, installed):
    found = Reporter(workspace, ["green", "rouge"], 16, Halt(), Metrics(absent=["green"])).measure(GIVEN)
    assert set(found.items[0].values) == {"rouge"}
    assert found.missing == {"green": "green cannot be loaded: no weights"}


def test_without_radeval_the_run_says_so_before_it_begins(tmp_path, monkeypatch):
    def absent(name):
        raise report_metrics.PackageNotFoundError(name)

    monkeypatch.setattr(report_metrics, "version", absent)
    config = {
        "workspace": str(tmp_path / "work"),
        "measures": ["reports"],
        "source": {"name": "iu_xray", "options": {"folder": "data"}},
        "model": {"model_name_or_path": "base"},
        "models": {"base": None},
    }
    path = tmp_path / "evaluate.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(
        ValueError,
        match="measures: reports needs the package radeval, which is not installed; install it",
    ):
        commands.evaluate(path, [])


def test_without_weights_the_message_says_what_to_do(monkeypatch):
    class RadEval:
        def __init__(self, metrics, show_progress):
            raise OSError("We couldn't connect to 'https://huggingface.co'\nmore")

    monkeypatch.setitem(sys.modules, "radeval", SimpleNamespace(RadEval=RadEval))
    with pytest.raises(UnavailableError, match=r"green cannot be loaded: We couldn't.*name another metric"):
        load("green")


def test_real_reports_through_the_run(real, tmp_path, installed, monkeypatch):
    class Engine:
        def __init__(self, arguments):
            pass

        def respond(self, question, images, system, temperature, max_tokens):
            return "The heart is normal in size. The lungs are clear."

    config = {
        "workspace": str(tmp_path / "work"),
        "measures": ["reports"],
        "source": {"name": "iu_xray", "options": {"folder": str(real.folder / "iu-xray")}},
        "model": {"model_name_or_path": "base"},
        "models": {"base": None},
        "reports": {"metrics": ["rouge", "green"]},
        "compare": {"draws": 100},
    }
    path = tmp_path / "evaluate.yaml"
    path.write_text(yaml.safe_dump(config))
    metrics = Metrics(absent=["green"])
    monkeypatch.setattr(Reporter.__init__, "__defaults__", (metrics,))
    assert commands.evaluate(path, [], engine=Engine) == STOPPED, "GREEN is due"
    metrics.absent = ()
    assert commands.evaluate(path, [], engine=Engine) == DONE
    table = json.loads((tmp_path / "work" / "tables" / "table.json").read_text())
    assert {cell["column"]: cell["mean"]["n"] for cell in table["cells"]} == {"rouge": 4, "GREEN": 4}
    assert metrics.scored.count(("rouge", 4, True)) == 1


@needs_radeval
def test_the_real_package_scores_text_overlap():
    found = load("rouge")(["No pleural effusion."], ["No effusion."], True)
    assert found["rouge1"] == [pytest.approx(0.8)]
    assert load("bleu")(["a b c d e"], ["a b c d e"], False)["bleu"] == pytest.approx(1, abs=1e-3)
