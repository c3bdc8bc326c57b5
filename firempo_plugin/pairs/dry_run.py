"""`--dry-run`: what a run would ask, how often, and for how much, with the real prompts and without a call."""

from dataclasses import replace

from ..endpoint.costs import Estimate
from ..endpoint.requests import ChatRequest
from ..records import Edit
from ..respond.read import ReadStep
from ..respond.respond import RespondStep
from ..respond.settings import STORED
from ..sources.reading import read_source
from ..store.engine import Advance, Item, advance
from ..store.workspace import Workspace
from ..terminal import shown
from .asks import Asks
from .build import make_steps
from .config import BuildConfig
from .findings import split
from .judges.registry import JUDGES
from .steps.label import LabelStep
from .steps.pairing import PairingStep
from .steps.spans import SpansStep
from .steps.target import TargetStep


def forecast(config: BuildConfig, workspace: Workspace) -> str:
    """The report of a dry run. Images are decoded and the rules asked, since both decide how many calls are left.

    Where a response is not there yet, the ground truth stands in for it in the judge's prompt, and the report says so.
    """
    reading = read_source(config.source)
    workspace.put_records(reading.records, reading.problems)
    items = [Item(record, sample) for record in reading.records for sample in range(config.respond.samples)]
    asks = Asks(config, workspace, collect_batches=False)
    steps = make_steps(config, workspace, asks, None, lambda: reading.records)
    read, respond, edit = steps[:3]
    assert isinstance(read, ReadStep)
    assert isinstance(respond, RespondStep)
    assert isinstance(edit, PairingStep)
    ready = advance(workspace, read, items)
    lines = [
        f"{len(reading.records)} records, {len(reading.problems)} rows left aside, "
        f"{len(ready.rejected)} with an image that cannot be read"
    ]
    answered = advance(workspace, respond, ready.items, make=config.respond.backend in STORED)
    waiting = _undecided(ready.items, answered)
    if config.respond.backend == "endpoint":
        requests = [respond.request(item) for item in waiting]
        lines += _section("respond", requests, asks.estimate(config.respond.endpoint, requests, batch=False))
    stand_ins = edit.take([], Advance([replace(item, response=item.record.truth) for item in waiting]))
    judge = JUDGES.load(config.edit.judge)
    taken = edit.take(ready.items, answered)
    edited = advance(workspace, edit, taken, make=edit.judged and not judge.asks)
    undecided = [*_undecided(taken, edited), *stand_ins]
    if edit.judged and judge.asks:
        requests = [request for request in map(edit.request, undecided) if request is not None]
        lines += _section("edit", requests, asks.estimate(config.edit.endpoint, requests, batch=judge.later))
        if stand_ins:
            lines.append(f"  {len(stand_ins)} responses are not there yet: the ground truth stands in for them")
    if config.edit.report == "findings":
        edited.items = split(edited.items, config.edit.vocabulary)
    unedited = [replace(item, edit=_stand_in(item.response or "")) for item in undecided]
    for step in steps[3:]:
        if isinstance(step, LabelStep) and config.label.asks:
            requests = [request for request in map(step.request, [*edited.items, *unedited]) if request is not None]
        elif isinstance(step, SpansStep) and config.spans.asks:
            requests = [each for item in [*edited.items, *unedited] for each in step.requests(item).values()]
        elif isinstance(step, TargetStep) and config.target.asks:
            requests = [request for request in map(step.request, [*edited.items, *undecided]) if request is not None]
        else:
            continue
        lines += _section(step.name, requests, asks.estimate(config.edit.endpoint, requests, batch=judge.later))
    return "\n".join(shown(line) for line in lines)


def _stand_in(response: str) -> Edit:
    """Of the size of an edit that is not there yet."""
    return Edit(response, response, was_correct=True, final_answer="", judge="")


def _undecided(items: list[Item], done: Advance) -> list[Item]:
    """The items that the step has neither let through nor rejected."""
    known = {item.name for item in done.items} | set(done.rejected)
    return [item for item in items if item.name not in known]


def _section(step: str, requests: list[ChatRequest], estimate: Estimate) -> list[str]:
    cost = "price unknown; set price_in and price_out" if estimate.cost is None else f"about {estimate.cost:.4f}"
    most = "" if estimate.most_cost is None else f", {estimate.most_cost:.4f} at most"
    lines = [
        f"{step}: {estimate.calls} calls ({estimate.cached} answered already), about {estimate.prompt_tokens} + "
        f"{estimate.completion_tokens} tokens, {cost}{most}"
    ]
    if requests:
        lines.append("  the first prompt:")
        for message in requests[0].messages:
            lines += [f"    {message.role}| {line}" for line in message.text.splitlines()]
    return lines
