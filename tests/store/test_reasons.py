"""Reasons are counted by kind, in parts or at once."""

import json

from firempo_plugin.store.reasons import FIRST, Reasons, lines_by_kind

NAMED = {f"r{n}": reason for n, reason in enumerate(["a: x", "b", "a: y", "c: z", "b", "a: w", "c: z"])}


def test_the_most_frequent_kind_is_first_with_an_example_where_they_differ():
    assert Reasons(NAMED).lines() == ["     3  a, such as: x", "     2  b", "     2  c: z"]
    assert lines_by_kind(NAMED.values()) == Reasons(NAMED).lines()


def test_parts_add_up_to_the_whole_and_survive_a_store():
    names = list(NAMED)
    for cut in range(len(names) + 1):
        parts = [{name: NAMED[name] for name in some} for some in (names[:cut], names[cut:])]
        found = Reasons()
        for part in parts:
            found.update(Reasons.of(json.loads(json.dumps(Reasons(part).plain(), sort_keys=True))))
        assert found.lines() == Reasons(NAMED).lines()
        assert list(found.first.items()) == list(NAMED.items())
        assert len(found) == len(NAMED)


def test_the_first_ones_are_kept_by_name():
    found = Reasons({f"r{n}": "a" for n in range(1000)})
    assert (len(found), list(found.first)) == (1000, [f"r{n}" for n in range(FIRST)])
