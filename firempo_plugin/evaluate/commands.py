"""What `firempo evaluate` does: answers, items, table and figures, each found again where it is there already."""

import gc
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..endpoint.costs import Budget
from ..endpoint.failures import CallFailedError, StopRunError
from ..errors import UserError
from ..records import Record
from ..store.halt import DONE, FAILED, STOPPED, Halt, halted_by_signals
from ..store.progress import progress
from ..store.reasons import lines_by_kind
from ..store.request_store import WorkspaceRequests
from ..store.workspace import Workspace, later
from ..terminal import say
from . import config as configuration
from . import figures, layout, tables
from .answers import Answer, Asking, Engine
from .config import EvaluateConfig
from .datasets import content_of
from .measure import Measure
from .models import Model, digest_of, resolve
from .registry import MEASURES
from .store import ItemFile, Measured, write_clusters

Evidence = Callable[[str, dict[str, Any], str | None, dict[str, Any], Collection[str]], Iterator[Measured]]
"""From measure, the host's model arguments, an adapter folder, the measure's options and the ids of items that are
known, to the others as they come."""

VERSION = 1
"""Of the keys below. What a measure's code makes of the same inputs has a version beside each measure."""


def evaluate(
    path: Path,
    overrides: list[str],
    *,
    engine: Engine | None = None,
    evidence: Evidence | None = None,
    tables_only: bool = False,
) -> int:
    """Measures what the configuration names, and writes the table and the figures.

    Args:
        path: The configuration.
        overrides: `section.key=value` over it.
        engine: Loads a model of the host into this process.
        evidence: Measures what looks into such a model.
        tables_only: Measure nothing; make table and figures from the stored items.

    Returns:
        0; 1 where nothing could be measured; 3 where the run stopped early or something is not measured yet, so that
        the same command goes on later.
    """
    config = configuration.load(path, overrides)
    stopped = "" if tables_only else _measure(config, engine, evidence)
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


def _measure(config: EvaluateConfig, engine: Engine | None, evidence: Evidence | None) -> str:
    """Measures what is due; says why it stopped early, or nothing. What cannot work is refused before hours of work."""
    models = resolve(config)
    wanted = [MEASURES.load(name) for name in MEASURES if name in config.measures]
    looks = [measure for measure in wanted if not measure.of_answers]
    if looks and evidence is None:
        names = [measure.name for measure in looks]
        raise UserError(f"measures: {names} need LLaMA-Factory; run them through the firempo command")
    workspace = Workspace(Path(config.workspace))
    try:
        with halted_by_signals() as halt:
            if len(looks) < len(wanted):
                _of_answers(config, wanted, workspace, models, engine, halt)
            for measure in looks:
                for model in models:
                    assert evidence is not None
                    _of_evidence(config, measure, model, evidence, halt)
            return halt.reason or ""
    except (StopRunError, CallFailedError) as stop:
        return str(stop)
    finally:
        workspace.close()


def _of_answers(
    config: EvaluateConfig,
    measures: list[Measure],
    workspace: Workspace,
    models: list[Model],
    engine: Engine | None,
    halt: Halt,
) -> None:
    """All models' answers first, each loaded once; then what is measured of them."""
    store = WorkspaceRequests(workspace)
    budget = Budget(config.max_cost, store.totals().cost)
    works = [(one, one.of_answers(config, workspace, budget, halt)) for one in measures if one.of_answers]
    asking = Asking(config, workspace, engine, budget, halt)
    _say_what_nothing_reads(asking.records, measures)
    write_clusters(Path(config.workspace), asking.records)
    answers: dict[str, list[Answer]] = {}
    for model in models:
        answers[model.name] = asking.answers(model)
        gc.collect()  # the model before the next one comes
    about = {"source": asdict(config.source), "records": len(asking.records), "answers": asdict(config.answers)}
    about |= {"rows_of_the_source_left_out": lines_by_kind(asking.problems.values())}
    for measure, work in works:
        for name, given in answers.items():
            decided = work.protocol | later(version=measure.version, **work.versions)
            key = digest_of([VERSION, decided, *work.more, [_content(answer) for answer in given]])
            file = ItemFile(Path(config.workspace), measure.name, name)
            if not file.open(key, about | work.protocol).complete:
                file.write(key, about | work.protocol, work.measure(given))


def _say_what_nothing_reads(records: list[Record], measures: list[Measure]) -> None:
    """Names records that are answered, and no measure of the configuration looks at."""
    kinds = Counter(record.kind for record in records)
    for kind in sorted(set(kinds) - {measure.reads for measure in measures}):
        (reader,) = (name for name in MEASURES if MEASURES.load(name).reads == kind)
        what = f"{kinds[kind]} of {len(records)} records are of kind {kind}"
        say(f"{what}: they are answered, and nothing measures them without {reader} among `measures`", file=sys.stderr)


def _content(answer: Answer) -> list[Any]:
    """An answer with all of its record that a measure looks at."""
    record = answer.record
    about = [record.id, record.question, record.truth, record.kind, record.language, record.closed]
    return [*about, answer.sample, answer.text, answer.cut, answer.reason]


def _of_evidence(config: EvaluateConfig, measure: Measure, model: Model, evidence: Evidence, halt: Halt) -> None:
    """Measures a model's items that are not there yet; each is kept as it comes."""
    options = config.options(measure.name)
    choices = measure.protocol(options)
    how = {**choices, "options": options, "model": model.arguments, "adapter": model.adapter}
    file = ItemFile(Path(config.workspace), measure.name, model.name)
    stored = file.open(digest_of([VERSION, measure.name, model.identity, choices, options, content_of(options)]), how)
    if stored.complete or halt.reason:
        return
    known = {item.id for item in stored.items}
    with progress(f"{measure.name} {model.name}", 1) as tick:
        for item in evidence(measure.name, model.arguments, model.adapter, options, known):
            if halt.reason:
                return
            file.append(item)
        tick(1)
    file.finish()
    gc.collect()
