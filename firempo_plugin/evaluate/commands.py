"""What `firempo evaluate` does: answers, items, table and figures, each found again where it is there already."""

import gc
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..answers import questions
from ..endpoint.client import Endpoint
from ..endpoint.costs import Budget
from ..endpoint.failures import CallFailedError, StopRunError
from ..endpoint.prompts import load_prompt
from ..errors import UserError
from ..store.engine import kinds
from ..store.halt import DONE, FAILED, STOPPED, Halt, halted_by_signals
from ..store.progress import progress
from ..store.request_store import WorkspaceRequests
from ..store.workspace import Workspace, later
from ..terminal import say
from . import accuracy, figures, layout, reports, tables
from . import config as configuration
from .answers import Answer, Asking, Engine, asks
from .config import ANSWERED, EVIDENCE, EvaluateConfig
from .datasets import content_of
from .items import Item
from .judges import JUDGES
from .models import Model, digest_of, resolve
from .store import ItemFile
from .verdict import Judges, prompts_of

Evidence = Callable[[str, dict[str, Any], str | None, dict[str, Any], Collection[str]], Iterator[Item]]
"""From measure, the host's model arguments, an adapter folder, the measure's options and the ids of items that are
known, to the others as they come."""

Protocol = Callable[[str, dict[str, Any]], dict[str, Any]]
"""From measure and options, checked, to the choices behind the numbers."""

VERSION = 1
"""Of the keys below. What a measure's code makes of the same inputs has a version beside each measure."""


def evaluate(
    path: Path,
    overrides: list[str],
    *,
    engine: Engine | None = None,
    evidence: Evidence | None = None,
    protocol: Protocol | None = None,
    tables_only: bool = False,
) -> int:
    """Measures what the configuration names, and writes the table and the figures.

    Args:
        path: The configuration.
        overrides: `section.key=value` over it.
        engine: Loads a model of the host into this process.
        evidence: Measures what looks into such a model.
        protocol: Says how it does, and refuses options that it does not know.
        tables_only: Measure nothing; make table and figures from the stored items.

    Returns:
        0; 1 where nothing could be measured; 3 where the run stopped early or something is not measured yet, so that
        the same command goes on later.
    """
    config = configuration.load(path, overrides)
    stopped = "" if tables_only else _measure(config, engine, evidence, protocol)
    table = tables.make(config)
    if not table.columns:
        items = sum(counts.items for rows in table.counts.values() for counts in rows.values())
        nothing = f"none of {items} items has a value" if items else "no item is stored"
        print(f"There is no table: {nothing} in {config.workspace}", file=sys.stderr)
    else:
        folder = Path(config.workspace) / "tables"
        files = [*layout.write(table, folder, config.compare), *figures.write(table, folder)]
        say(*layout.markdown(table, config.compare).partition("\n## Protocol")[0].split("\n"))
        print("\n".join(str(file) for file in files))
    if stopped:
        say("", f"Stopped: {stopped}", file=sys.stderr)
    if stopped or table.incomplete:
        left = [f"  {what}" for what in table.incomplete]
        say("", "Not all is measured; run the same command again to go on.", *left, file=sys.stderr)
        return STOPPED
    return DONE if table.columns else FAILED


def _measure(
    config: EvaluateConfig, engine: Engine | None, evidence: Evidence | None, protocol: Protocol | None
) -> str:
    """Measures what is due; says why it stopped early, or nothing. What cannot work is refused before hours of work."""
    models = resolve(config)
    wanted = [measure for measure in EVIDENCE if measure in config.measures]
    if wanted and evidence is None:
        raise UserError(f"measures: {wanted} need LLaMA-Factory; run them through the firempo command")
    how = {measure: protocol(measure, config.options(measure)) if protocol else {} for measure in wanted}
    if "reports" in config.measures:
        reports.radeval_version()
    workspace = Workspace(Path(config.workspace))
    try:
        with halted_by_signals() as halt:
            if any(measure in ANSWERED for measure in config.measures):
                _of_answers(config, workspace, models, engine, halt)
            for measure, choices in how.items():
                for model in models:
                    assert evidence is not None
                    _of_evidence(config, measure, model, evidence, choices, halt)
            return halt.reason or ""
    except (StopRunError, CallFailedError) as stop:
        return str(stop)
    finally:
        workspace.close()


def _of_answers(
    config: EvaluateConfig, workspace: Workspace, models: list[Model], engine: Engine | None, halt: Halt
) -> None:
    """All models' answers first, each loaded once; then what is measured of them."""
    store = WorkspaceRequests(workspace)
    budget = Budget(config.max_cost, store.totals().cost)
    asking = Asking(config, workspace, engine, budget, halt)
    answers: dict[str, list[Answer]] = {}
    for model in models:
        answers[model.name] = asking.answers(model)
        gc.collect()  # the model before the next one comes
    about = {"source": asdict(config.source), "records": len(asking.records), "answers": asdict(config.answers)}
    about |= {"rows_of_the_source_left_out": kinds(asking.problems.values())}
    if "accuracy" in config.measures:
        _accuracy(config, workspace, answers, about, budget, halt)
    if "reports" in config.measures:
        _reports(config, workspace, answers, about, halt)


def _accuracy(
    config: EvaluateConfig,
    workspace: Workspace,
    answers: dict[str, list[Answer]],
    about: dict[str, Any],
    budget: Budget,
    halt: Halt,
) -> None:
    endpoint: Endpoint | None = None
    if JUDGES.load(config.judge.by).asks:
        endpoint = Endpoint(config.judge.endpoint, WorkspaceRequests(workspace), budget)
        halt.wake = endpoint.stop
    judge = Judges(config.judge, asks(endpoint) if endpoint else None)
    threads = config.judge.endpoint.concurrency if endpoint else 1
    how = {"judge": _judge_identity(config), "exact": "whole answer; case, punctuation and articles evened out"}
    for name, given in answers.items():
        decided = how | later(version=accuracy.VERSION, rules_version=questions.VERSION)
        key = digest_of([VERSION, decided, config.answers.pass_at, [_content(answer) for answer in given]])
        file = ItemFile(Path(config.workspace), "accuracy", name)
        if not file.open(key, about | how).complete:
            file.write(key, about | how, accuracy.measure(given, judge, config.answers.pass_at, threads), {}, {})


def _judge_identity(config: EvaluateConfig) -> dict[str, Any]:
    """What of the judge decides its verdicts."""
    judge = config.judge
    found: dict[str, Any] = {"by": judge.by}
    if judge.vocabulary:
        found["vocabulary"] = digest_of(Path(judge.vocabulary).read_text(encoding="utf-8"))
    if JUDGES.load(judge.by).asks:
        text = load_prompt("verdict", prompts_of(judge)).text
        found |= {"model": judge.endpoint.identity, "prompt": digest_of(text)}
    return found


def _content(answer: Answer) -> list[Any]:
    """An answer with all of its record that a measure looks at."""
    record = answer.record
    about = [record.id, record.question, record.truth, record.kind, record.language, record.closed]
    return [*about, answer.sample, answer.text, answer.cut, answer.reason]


def _reports(
    config: EvaluateConfig,
    workspace: Workspace,
    answers: dict[str, list[Answer]],
    about: dict[str, Any],
    halt: Halt,
) -> None:
    version = reports.radeval_version()
    reporter = reports.Reporter(workspace, config.reports.metrics, config.reports.batch, halt)
    how = {"radeval": version, "metrics": list(config.reports.metrics)}
    for name, given in answers.items():
        decided = how | later(version=reports.VERSION)
        key = digest_of([VERSION, decided, [_content(answer) for answer in given]])
        file = ItemFile(Path(config.workspace), "reports", name)
        if file.open(key, about | how).complete:
            continue
        found = reporter.measure(given)
        file.write(key, about | how, found.items, found.corpus, found.unavailable)


def _of_evidence(
    config: EvaluateConfig, measure: str, model: Model, evidence: Evidence, choices: dict[str, Any], halt: Halt
) -> None:
    """Measures a model's items that are not there yet; each is kept as it comes."""
    options = config.options(measure)
    how = {**choices, "options": options, "model": model.arguments, "adapter": model.adapter}
    file = ItemFile(Path(config.workspace), measure, model.name)
    stored = file.open(digest_of([VERSION, measure, model.identity, choices, options, content_of(options)]), how)
    if stored.complete or halt.reason:
        return
    known = {item.id for item in stored.items}
    with progress(f"{measure} {model.name}", 1) as tick:
        for item in evidence(measure, model.arguments, model.adapter, options, known):
            if halt.reason:
                return
            file.append(item)
        tick(1)
    file.finish()
    gc.collect()
