import errno

import pytest
import torch
from torch.testing import assert_close

from firempo_plugin.forward.plan import ScoredCell
from firempo_plugin.forward.reference_cache import ReferenceCache, ReferenceScores
from firempo_plugin.objectives import Cell


def cell(**changes):
    values = {
        "row": 0,
        "cell": Cell.CLEAN_CHOSEN,
        "prompt_ids": [1, 2, 3],
        "response_ids": [10, 11, 12],
        "images": [],
        "scored": [1, 2],
        "in_phrase": frozenset({1}),
        "in_kl": frozenset({1}),
    }
    return ScoredCell(**(values | changes))


PLAIN = cell(cell=Cell.CLEAN_REJECTED, response_ids=[10, 21, 12], in_kl=frozenset())
SCORES = ReferenceScores(torch.tensor([-1.0, -2.0, -3.0, -4.0]), torch.tensor([[5.0, 6.0]], dtype=torch.bfloat16))


@pytest.fixture
def cache(tmp_path):
    return ReferenceCache(tmp_path, "weights")


def test_what_is_saved_is_loaded_in_the_order_asked_for(cache):
    entries = [cache.entry(cell()), cache.entry(PLAIN)]
    cache.save(entries, SCORES)
    found = cache.load(entries)
    assert_close(found.logps, SCORES.logps)
    assert found.hidden.dtype == torch.bfloat16
    assert_close(found.hidden, SCORES.hidden)
    assert cache.load(reversed(entries)).logps.tolist() == [-3.0, -4.0, -1.0, -2.0]


def test_one_missing_entry_and_the_pass_is_run(cache):
    entries = [cache.entry(cell()), cache.entry(PLAIN)]
    cache.save(entries[:1], ReferenceScores(SCORES.logps[:2], SCORES.hidden))
    assert cache.load(entries) is None
    assert cache.load(entries[:1]) is not None


@pytest.mark.parametrize(
    "changes",
    [{"prompt_ids": [1, 2, 4]}, {"response_ids": [10, 11, 13]}, {"scored": [0, 2]}],
    ids=["prompt", "response", "scored tokens"],
)
def test_another_row_is_another_entry(cache, changes):
    assert cache.entry(cell()).key != cache.entry(cell(**changes)).key


def test_another_reference_is_another_entry(cache, tmp_path):
    assert cache.entry(cell()).key != ReferenceCache(tmp_path, "other weights").entry(cell()).key


def test_an_entry_without_the_hidden_states_that_the_kl_needs_is_not_used_and_then_completed(cache):
    without = cache.entry(cell(in_kl=frozenset()))
    cache.save([without], ReferenceScores(SCORES.logps[:2], torch.empty(0, 2)))
    phrase, response = cache.entry(cell()), cache.entry(cell(in_kl=frozenset({1, 2})))
    assert without.key == phrase.key == response.key
    assert cache.load([without]) is not None
    assert cache.load([phrase]) is None
    cache.save([phrase], ReferenceScores(SCORES.logps[:2], torch.ones(1, 2)))
    cache.save([response], ReferenceScores(SCORES.logps[:2], torch.zeros(2, 2)))
    assert_close(cache.load([phrase]).hidden, torch.ones(1, 2))
    assert_close(cache.load([response]).hidden, torch.zeros(2, 2))


@pytest.mark.parametrize("damage", [b"", b"\x00" * 8, None], ids=["empty", "zeros", "cut"])
def test_a_damaged_entry_is_not_used(cache, tmp_path, damage):
    entry = cache.entry(cell())
    cache.save([entry], ReferenceScores(SCORES.logps[:2], SCORES.hidden))
    (file,) = tmp_path.glob("*/*.safetensors")
    file.write_bytes(file.read_bytes()[:-3] if damage is None else damage)
    assert cache.load([entry]) is None
    cache.save([entry], ReferenceScores(SCORES.logps[:2], SCORES.hidden))
    assert cache.load([entry]) is not None


def test_a_write_that_fails_leaves_nothing_behind(cache, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        cache.save([cache.entry(cell())], ReferenceScores(SCORES.logps[:2], SCORES.hidden))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
