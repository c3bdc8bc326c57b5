import errno

import pytest
import torch
from torch.testing import assert_close

from firempo_plugin.forward.disk import Vectors, write_whole
from firempo_plugin.forward.plan import ScoredCell
from firempo_plugin.forward.reference_cache import ReferenceCache, ReferenceScores
from firempo_plugin.objectives.terms import Cell


def cell(**changes):
    values = {
        "row": 0,
        "cell": Cell.CLEAN_CHOSEN,
        "prompt_ids": [1, 2, 3],
        "response_ids": [10, 11, 12],
        "images": [],
        "scored": [1, 2],
        "in_phrase": frozenset({1}),
        "weights": [],
        "in_kl": frozenset({1}),
    }
    return ScoredCell(**(values | changes))


PLAIN = cell(cell=Cell.CLEAN_REJECTED, response_ids=[10, 21, 12], in_kl=frozenset())
SCORES = ReferenceScores(torch.tensor([-1.0, -2.0, -3.0, -4.0]), torch.tensor([[5.0, 6.0]], dtype=torch.bfloat16))
STATES = Vectors(2, frozenset({torch.float32, torch.bfloat16}))


@pytest.fixture
def cache(tmp_path):
    return ReferenceCache(tmp_path, "weights", STATES)


def test_what_is_saved_is_loaded_in_the_order_asked_for(cache):
    entries = [cache.entry(cell()), cache.entry(PLAIN)]
    cache.save(entries, SCORES)
    found, damaged = cache.load(entries)
    assert damaged == 0
    assert_close(found.logps, SCORES.logps)
    assert found.hidden.dtype == torch.bfloat16
    assert_close(found.hidden, SCORES.hidden)
    assert cache.load(reversed(entries))[0].logps.tolist() == [-3.0, -4.0, -1.0, -2.0]


def test_one_missing_entry_and_the_pass_is_run(cache):
    entries = [cache.entry(cell()), cache.entry(PLAIN)]
    cache.save(entries[:1], ReferenceScores(SCORES.logps[:2], SCORES.hidden))
    assert cache.load(entries) == (None, 0)
    assert cache.load(entries[:1])[0] is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_ids": [1, 2, 4]},
        {"response_ids": [10, 11, 13]},
        {"scored": [0, 2]},
        {"images": [{"bytes": b"one", "path": None}]},
        {"prompt_ids": [1, 2], "response_ids": [3, 10, 11, 12]},
    ],
    ids=["prompt", "response", "scored tokens", "images", "border of prompt and response"],
)
def test_another_row_is_another_entry(cache, changes):
    assert cache.entry(cell()).key != cache.entry(cell(**changes)).key


def test_another_reference_is_another_entry(cache, tmp_path):
    assert cache.entry(cell()).key != ReferenceCache(tmp_path, "other weights", STATES).entry(cell()).key


def test_an_entry_without_the_hidden_states_that_the_kl_needs_is_not_used_and_then_completed(cache):
    without = cache.entry(cell(in_kl=frozenset()))
    cache.save([without], ReferenceScores(SCORES.logps[:2], torch.empty(0, 2)))
    phrase, response = cache.entry(cell()), cache.entry(cell(in_kl=frozenset({1, 2})))
    assert without.key == phrase.key == response.key
    assert cache.load([without])[0] is not None
    assert cache.load([phrase]) == (None, 0)
    cache.save([phrase], ReferenceScores(SCORES.logps[:2], torch.ones(1, 2)))
    cache.save([response], ReferenceScores(SCORES.logps[:2], torch.zeros(2, 2)))
    assert_close(cache.load([phrase])[0].hidden, torch.ones(1, 2))
    assert_close(cache.load([response])[0].hidden, torch.zeros(2, 2))
    assert len(cache.load([without])[0].hidden) == 0


def test_hidden_states_at_other_tokens_are_others_even_where_they_are_as_many(cache):
    """Rows on one image may have one prompt and one chosen text, and other phrases in it."""
    first, second = cache.entry(cell()), cache.entry(cell(in_kl=frozenset({2})))
    cache.save([first], ReferenceScores(SCORES.logps[:2], torch.ones(1, 2)))
    assert cache.load([second]) == (None, 0)
    cache.save([second], ReferenceScores(SCORES.logps[:2], torch.zeros(1, 2)))
    assert_close(cache.load([first, second])[0].hidden, torch.tensor([[1.0, 1.0], [0.0, 0.0]]))


@pytest.mark.parametrize("damage", [b"", None], ids=["empty", "rotted"])
def test_a_damaged_entry_is_counted_and_not_used(cache, tmp_path, damage):
    entries = [cache.entry(cell()), cache.entry(PLAIN)]
    cache.save(entries, SCORES)
    file = tmp_path / entries[0].key[:2] / f"{entries[0].key}.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff" if damage is None else damage)
    assert cache.load(entries) == (None, 1)
    cache.save(entries, SCORES)
    assert_close(cache.load(entries)[0].logps, SCORES.logps)


@pytest.mark.parametrize(
    "scores",
    [
        ReferenceScores(torch.ones(2, dtype=torch.float64), SCORES.hidden),
        ReferenceScores(torch.ones(2, 1), SCORES.hidden),
        ReferenceScores(torch.ones(2), torch.ones(1)),
        ReferenceScores(torch.ones(2), torch.ones(1, 2, 2)),
        ReferenceScores(torch.ones(2), torch.ones(1, 3)),
        ReferenceScores(torch.ones(2), torch.ones(1, 2, dtype=torch.int64)),
        ReferenceScores(torch.ones(2), torch.ones(1, 2).half()),
    ],
    ids=["kind", "shape", "one vector", "a dimension more", "wider", "whole numbers", "a type of another run"],
)
def test_scores_of_another_shape_or_kind_are_not_used(cache, scores):
    entry = cache.entry(cell())
    cache.save([entry], scores)
    assert cache.load([entry]) == (None, 1)


@pytest.mark.parametrize(("logps", "rows"), [(1, 1), (2, 2)], ids=["log-probabilities", "hidden states"])
def test_scores_of_another_number_of_tokens_are_not_used(cache, tmp_path, logps, rows):
    entry = cache.entry(cell())
    content = {"logps": torch.ones(logps), entry.hidden_name: torch.ones(rows, 2)}
    write_whole(tmp_path / entry.key[:2] / f"{entry.key}.safetensors", content)
    assert cache.load([entry]) == (None, 1)


def test_an_entry_without_log_probabilities_is_not_used(cache, tmp_path):
    entry = cache.entry(cell())
    write_whole(tmp_path / entry.key[:2] / f"{entry.key}.safetensors", {entry.hidden_name: torch.ones(1, 2)})
    assert cache.load([entry]) == (None, 1)


def test_a_write_that_fails_leaves_nothing_behind(cache, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        cache.save([cache.entry(cell())], ReferenceScores(SCORES.logps[:2], SCORES.hidden))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
