"""What calls cost, before and after; a budget is never passed."""

from pathlib import Path
from typing import Any

import pytest
from pairs_asking import all_at_once, ask, endpoint_for, in_turn, outcome
from pairs_server import DROP, PairsServer, well
from pairs_store import LinesStore
from PIL import Image

from firempo_plugin.endpoint.costs import Budget, count_tokens, price_of
from firempo_plugin.endpoint.failures import StopRunError
from firempo_plugin.endpoint.settings import EndpointSettings


def test_the_budget_is_never_passed_by_eight_threads(server: PairsServer, store: LinesStore) -> None:
    price_in, price_out = 2.0, 10.0
    server.script = lambda call: well(prompt=40, completion=30, delay=0.002)
    one = (40 * price_in + 30 * price_out) / 1e6
    budget = Budget(max_cost=50.5 * one)
    endpoint = endpoint_for(server, store, budget, price_in=price_in, price_out=price_out, max_tokens=64)
    results = all_at_once(endpoint, [ask(str(n)) for n in range(200)])
    assert len(server.calls) * one <= budget.max_cost
    assert budget.spent == pytest.approx(len(server.calls) * one)
    assert endpoint.usage.cost == pytest.approx(budget.spent)
    stopped = [result for result in results if isinstance(result, StopRunError)]
    assert "raise max_cost" in str(stopped[0])
    assert len(results) - len(stopped) == len(server.calls) == len(store)
    # Reservations by the bound do not stop the run long before the limit.
    assert len(server.calls) >= 47


def test_a_budget_counts_what_earlier_runs_spent_and_the_cache_is_free(server: PairsServer, store: LinesStore) -> None:
    prices = {"price_in": 1.0, "price_out": 1.0, "max_tokens": 100}
    endpoint_for(server, store, Budget(1.0), **prices).complete(ask())
    used_up = endpoint_for(server, store, Budget(1.0, spent=1.0), **prices)
    assert used_up.complete(ask()).text == "fine"
    with pytest.raises(StopRunError, match="max_cost 1"):
        used_up.complete(ask("new"))
    assert len(server.calls) == 1


def test_a_server_that_counts_more_than_the_bound_passes_it_once_at_most(
    server: PairsServer, store: LinesStore
) -> None:
    server.script = lambda call: well(prompt=100_000, completion=5)
    budget = Budget(max_cost=0.35)
    endpoint = endpoint_for(server, store, budget, price_in=1.0, price_out=0.0)
    for n in range(10):
        outcome(endpoint, ask(str(n)))
    assert len(server.calls) == 3
    assert budget.spent <= 0.35


def test_a_bound_that_proved_too_low_counts_for_the_calls_under_way_too() -> None:
    budget = Budget(max_cost=1.0)
    budget.reserve(0.1)
    budget.reserve(0.1)
    budget.settle(0.1, 0.4)
    assert budget.room == pytest.approx(1.0 - 0.4 - 0.4)


def test_a_call_that_may_be_billed_without_an_answer_counts(server: PairsServer, store: LinesStore) -> None:
    server.script = in_turn(DROP, well())
    budget = Budget(max_cost=1.0)
    endpoint = endpoint_for(server, store, budget, price_in=1.0, price_out=1.0, max_tokens=100)
    reply = endpoint.complete(ask())
    assert budget.spent > (reply.cost or 0) + 100 / 1e6


@pytest.mark.parametrize("missing", [{}, {"price_in": 1.0, "price_out": 1.0, "max_tokens": None}])
def test_a_limit_that_cannot_be_kept_is_refused(
    server: PairsServer, store: LinesStore, missing: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="max_cost needs"):
        endpoint_for(server, store, Budget(1.0), **missing)


def test_an_estimate_makes_no_call_and_is_near_the_truth(server: PairsServer, store: LinesStore) -> None:
    endpoint = endpoint_for(server, store, model="gpt-4o-mini-2024-07-18", max_tokens=400)
    endpoint.complete(ask("0"))
    requests = [ask(str(n)) for n in range(10)] + [ask("3"), ask(images=("/nowhere.png",))]
    found = endpoint.estimate(requests)
    assert (found.calls, found.cached, found.rejected) == (9, 2, 1)
    assert 9 * 10 <= found.prompt_tokens <= 9 * 40
    assert found.cost == pytest.approx((found.prompt_tokens * 0.15 + found.completion_tokens * 0.60) / 1e6)
    assert found.most_cost is not None
    assert found.most_cost > 9 * 400 * 0.60 / 1e6
    assert len(server.calls) == 1
    assert endpoint_for(server, store).estimate(requests).cost is None


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("gpt-4o-mini", True),
        ("openai/gpt-4o-mini-2024-07-18", True),
        ("models/gemini-2.0-flash-001", True),
        ("gemini-2.5-flash-lite", False),
        ("Qwen3-VL-4B-Instruct", False),
    ],
)
def test_prices_are_those_of_known_models_only(model: str, known: bool) -> None:
    assert (price_of(EndpointSettings("http://h/v1", model)) is not None) == known
    own = price_of(EndpointSettings("http://h/v1", model, price_in=3.0, price_out=4.0))
    assert own is not None
    assert own.of(1e6, 1e6) == 7.0


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("gpt-4o-mini", (512, 512), 2833 + 5667),
        ("gpt-4o-mini", (1024, 1024), 2833 + 4 * 5667),
        ("gpt-4o", (4096, 2048), 85 + 170 * 6),
        ("gemini-2.5-flash", (300, 384), 258),
        ("gemini-2.5-flash", (960, 540), 258 * 6),
        ("qwen", (560, 280), 200),
    ],
)
def test_image_tokens_by_the_rules_of_the_providers(
    tmp_path: Path, model: str, size: tuple[int, int], tokens: int
) -> None:
    path = tmp_path / "x.png"
    Image.new("L", size).save(path)
    settings = EndpointSettings("http://h/v1", model)
    bare, seen = (count_tokens(ask(images=images), settings) for images in ((), (str(path),)))
    assert seen.prompt - bare.prompt == seen.most_prompt - bare.most_prompt == tokens


def test_chinese_takes_more_tokens_a_character() -> None:
    settings = EndpointSettings("http://h/v1", "m")
    latin, chinese = (
        count_tokens(ask("left lung opacity"), settings),
        count_tokens(ask("左肺可见片状高密度影"), settings),
    )
    assert chinese.prompt - latin.prompt == 15 - 5
    assert chinese.most_prompt >= chinese.prompt
