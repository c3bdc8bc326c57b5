"""Sequences that begin alike become one tree, each token in its own place of its own sequence."""

import random

from firempo_plugin.forward.tree import TreeBuilder


def build(*sequences, text_from=0):
    builder = TreeBuilder(text_from, [])
    paths = [builder.add(ids) for ids in sequences]
    tree, place = builder.build()
    return tree, [[place[node] for node in path] for path in paths]


def seen_from(tree, place):
    return [other for other in range(place + 1) if place < tree.end[other]]


def test_two_answers_share_their_prompt_and_leading_words():
    tree, paths = build((1, 2, 10, 11, 12), (1, 2, 10, 21))
    assert tree.input_ids == (1, 2, 10, 11, 12, 21)
    assert tree.depth == (0, 1, 2, 3, 4, 3)
    assert tree.end == (6, 6, 6, 5, 5, 6)
    assert paths == [[0, 1, 2, 3, 4], [0, 1, 2, 5]]
    assert not tree.is_chain


def test_a_longer_sequence_continues_a_shorter_one():
    tree, paths = build((1, 2), (1, 2, 3), (1,))
    assert tree.input_ids == (1, 2, 3)
    assert tree.is_chain
    assert paths == [[0, 1], [0, 1, 2], [0]]


def test_a_branch_that_is_added_late_stays_depth_first():
    tree, paths = build((1, 2, 3), (1, 4), (1, 2, 5))
    assert tree.input_ids == (1, 2, 3, 5, 4)
    assert tree.depth == (0, 1, 2, 2, 1)
    assert tree.end == (5, 4, 3, 4, 5)
    assert paths[2] == [0, 1, 3]


def test_sequences_without_a_common_token_are_two_roots():
    tree, _ = build((1, 2), (3,))
    assert tree.end == (2, 2, 3)
    assert tree.depth == (0, 1, 0)


def test_every_token_sees_its_own_sequence_and_nothing_else():
    draw = random.Random(0)
    for _ in range(50):
        sequences = [[draw.randrange(3) for _ in range(draw.randrange(1, 9))] for _ in range(6)]
        tree, paths = build(*sequences)
        for ids, path in zip(sequences, paths, strict=True):
            assert [tree.input_ids[place] for place in path] == ids
            assert [tree.depth[place] for place in path] == list(range(len(ids)))
            assert seen_from(tree, path[-1]) == path
        assert len(tree) == len({tuple(ids[: n + 1]) for ids in sequences for n in range(len(ids))})
