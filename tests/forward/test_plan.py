import pytest

from firempo_plugin.forward.plan import Layout, TokenRow, make_plan
from firempo_plugin.objectives.settings import Settings
from firempo_plugin.objectives.table import OBJECTIVES

TREES = Layout(image_tokens=(2,))


def settings(name="fire_mpo", **changes):
    values = {"beta": 0.1, "alpha": 0.01, "gamma": 0.1, "kl_lambda": 0.5, "kl_scope": "phrase", "nll_weight": 0.0}
    return Settings(objective=OBJECTIVES[name], **(values | changes))


def row(**changes):
    """Prompt 1 2 3 (2 is the image), chosen 10 11 12 99, rejected 10 21 12 99; the phrase is the second word."""
    values = {
        "prompt_ids": [1, 2, 3],
        "noised_prompt_ids": [1, 2, 3],
        "blind_prompt_ids": [1, 3],
        "chosen_ids": [10, 11, 12, 99],
        "rejected_ids": [10, 21, 12, 99],
        "chosen_phrase": [1],
        "rejected_phrase": [1],
        "chosen_weights": [],
        "rejected_weights": [],
        "images": ["clean"],
        "rejected_images": ["noised"],
        "weight": 1.0,
    }
    return TokenRow(**(values | changes))


def text_row(**changes):
    return row(prompt_ids=[1, 3], noised_prompt_ids=[], blind_prompt_ids=[], images=[], rejected_images=[], **changes)


def only_pass(rows, of=None, layout=TREES):
    (found,) = make_plan(rows, of or settings(), layout)
    return found


def described(trees):
    return [(tree.input_ids, tree.images) for tree in trees]


@pytest.mark.parametrize("layout", [TREES, Layout()])
def test_a_sequence_ends_before_its_last_scored_token_and_equal_ones_are_run_once(layout):
    """Both responses share the words before the phrase, so each image needs one sequence for two cells."""
    found = only_pass([row()], layout=layout)
    assert described(found.trees) == [((1, 2, 3, 10), ["clean"]), ((1, 2, 3, 10), ["noised"])]
    assert found.tree == [0, 0, 1, 1]
    assert found.position == [3, 3, 3, 3]
    assert found.token == [11, 21, 11, 21]
    assert found.cell == [0, 1, 2, 3]
    assert found.in_phrase == [True] * 4
    assert found.terms == [[0], [0], [0]]


def test_blind_cells_have_a_tree_without_images():
    found = only_pass([row()], settings("s_vco"))
    assert described(found.trees) == [
        ((1, 2, 3, 10, 11, 12, 21, 12), ["clean"]),
        ((1, 2, 3, 10, 11, 12, 21, 12), ["noised"]),
        ((1, 3, 10, 11, 12, 21, 12), ()),
    ]
    assert sorted(set(found.cell)) == [0, 1, 2, 3, 4, 5]


def test_a_token_counts_what_its_row_says():
    found = only_pass([row(chosen_weights=[0.5, 2.0, 1.0, 1.0]), row(images=["other"])], settings("dpo"))
    assert found.weight == [0.5, 2.0, 1.0, 1.0, *[1.0] * 12]


def test_whole_responses_are_scored_to_the_end_of_turn_as_branches_of_one_tree():
    found = only_pass([row()], settings("dpo"))
    assert described(found.trees) == [((1, 2, 3, 10, 11, 12, 21, 12), ["clean"])]
    assert found.token == [10, 11, 12, 99, 10, 21, 12, 99]
    assert found.position == [2, 3, 4, 5, 2, 3, 6, 7]
    assert found.in_phrase == [False, True, False, False] * 2


def test_without_trees_every_response_is_a_sequence_of_its_own():
    found = only_pass([row()], settings("dpo"), Layout())
    assert [tree.input_ids for tree in found.trees] == [(1, 2, 3, 10, 11, 12), (1, 2, 3, 10, 21, 12)]
    assert found.position == [2, 3, 4, 5, 2, 3, 4, 5]
    assert found.tree == [0] * 4 + [1] * 4


def test_the_kl_over_the_response_widens_clean_chosen_only():
    found = only_pass([row()], settings(kl_scope="response"))
    assert [found.cell.count(cell) for cell in range(4)] == [4, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "scope", "chosen"),
    [
        ("fire_mpo", "phrase", [True]),
        ("fire_mpo", "response", [True] * 4),
        ("mask_dpo", "phrase", [False]),
    ],
)
def test_the_kl_sums_over_its_scope_of_clean_chosen_and_nowhere_else(name, scope, chosen):
    found = only_pass([row()], settings(name, kl_scope=scope))
    in_kl = {cell: [kl for of, kl in zip(found.cell, found.in_kl, strict=True) if of == cell] for cell in found.cell}
    assert in_kl.pop(0) == chosen
    assert not any(kl for others in in_kl.values() for kl in others)


def test_a_pass_names_its_cells_in_the_order_of_their_tokens():
    found = only_pass([row()])
    assert [(cell.row, int(cell.cell), cell.images) for cell in found.cells] == [
        (0, 0, ["clean"]), (0, 1, ["clean"]), (0, 2, ["noised"]), (0, 3, ["noised"])
    ]  # fmt: skip


def test_a_tree_tells_where_its_text_begins():
    """Behind the last image token; without an image at its first token."""
    assert [tree.text_from for tree in only_pass([row(), text_row()]).trees] == [2, 2, 0]


def test_a_row_without_noised_image_needs_clean_cells_only():
    found = only_pass([row(noised_prompt_ids=[], rejected_images=[])])
    assert found.cell == [0, 1]
    assert [tree.images for tree in found.trees] == [["clean"]]
    assert found.terms == [[0], [], [0]]


def test_a_side_without_a_phrase_needs_no_sequence():
    found = only_pass([row(chosen_phrase=[], rejected_phrase=[3], noised_prompt_ids=[], rejected_images=[])])
    assert found.cell == [1]
    assert len(found.trees) == 1
    assert found.terms == [[0], [], [0]], "the term is there: the other side's reward is 0"


def test_a_noised_prompt_of_another_length_moves_the_positions():
    found = only_pass([row(noised_prompt_ids=[1, 2, 2, 2, 3])])
    assert [p for p, c in zip(found.position, found.cell, strict=True) if c >= 2] == [5, 5]


def test_rows_on_one_image_share_its_tokens():
    other = row(prompt_ids=[1, 2, 4], noised_prompt_ids=[1, 2, 4])
    found = only_pass([row(), other])
    assert described(found.trees) == [((1, 2, 3, 10, 4, 10), ["clean"]), ((1, 2, 3, 10, 4, 10), ["noised"])]
    assert found.position == [3, 3, 3, 3, 5, 5, 5, 5]


def test_rows_on_other_images_or_with_text_before_the_image_do_not():
    rows = [row(), row(images=["other"], rejected_images=["other noised"]), row(prompt_ids=[7, 2, 3])]
    assert [tree.images for tree in only_pass(rows).trees] == [
        ["clean"],
        ["noised"],
        ["other"],
        ["other noised"],
        ["clean"],
    ]


def test_rows_without_an_image_stand_alone():
    assert len(only_pass([text_row(), text_row()]).trees) == 2


def test_images_in_bytes_are_told_apart_by_their_content():
    def encoded(content):
        return {"bytes": content, "path": None}

    rows = [row(images=[encoded(b"a")]), row(images=[encoded(b"a")]), row(images=[encoded(b"b")])]
    assert len(only_pass(rows, settings("rrpo")).trees) == 2


def test_images_in_files_are_told_apart_by_their_paths():
    stored = [{"bytes": None, "path": path} for path in ("a.png", "a.png", "b.png")]
    found = only_pass([row(images=[image], noised_prompt_ids=[], rejected_images=[]) for image in stored])
    assert len(found.trees) == 2


def test_passes_hold_whole_terms_and_no_more_tokens_than_wanted():
    """Clean and noised image never meet in a term of FiRe-MPO, so they are two passes of one tree each."""
    passes = make_plan([row(), row(images=["b"], rejected_images=["c"])], settings(), Layout((2,), pass_tokens=4))
    assert [len(each.trees) for each in passes] == [1, 1, 1, 1]
    assert [each.terms for each in passes] == [[[0], [], [0]], [[], [0], []], [[1], [], [1]], [[], [1], []]]
    assert [sorted(set(each.cell)) for each in passes] == [[0, 1], [2, 3]] * 2
    assert all(set(each.tree) == {0} for each in passes)


def test_terms_that_compare_images_keep_them_in_one_pass():
    passes = make_plan([row()], settings("fire_mpo_v1"), Layout((2,), pass_tokens=1))
    assert [len(each.trees) for each in passes] == [2]
    assert passes[0].terms == [[0], [0], [0]]


def test_sequences_of_a_term_stay_together_where_there_are_no_trees():
    passes = make_plan([row()], settings("dpo"), Layout(pass_tokens=1))
    assert [len(each.trees) for each in passes] == [2]


def test_passes_are_filled_with_trees_of_like_length():
    rows = [row(prompt_ids=[1, *[2] * n, 3], images=[str(n)], noised_prompt_ids=[], rejected_images=[]) for n in (1, 9)]
    passes = make_plan([rows[0], rows[1], rows[0], rows[1]], settings(), Layout((2,), pass_tokens=24))
    assert [[len(tree) for tree in each.trees] for each in passes] == [[12, 4]]
    passes = make_plan(rows, settings(), Layout((2,), pass_tokens=12))
    assert [[len(tree) for tree in each.trees] for each in passes] == [[12], [4]]


def test_rows_are_numbered_in_the_batch():
    assert sorted(set(only_pass([row(), row(), row()], settings("rrpo")).row)) == [0, 1, 2]


def test_rows_with_other_numbers_of_images_are_told_apart_and_most_images_come_last():
    two = {"prompt_ids": [1, 2, 2, 3], "noised_prompt_ids": [1, 2, 2, 3], "images": ["a", "b"]}
    rows = [row(**two, rejected_images=["c", "d"]), row(), text_row(), row(chosen_ids=[10, 31, 12, 99])]
    found = make_plan(rows, settings(), Layout(by_images=True))
    assert [{len(tree.images) for tree in each.trees} for each in found] == [{0}, {1}, {2}]
    assert [sorted(set(each.row)) for each in found] == [[2], [1, 3], [0]]
    assert [each.terms for each in found] == [[[2], [], [2]], [[1, 3]] * 3, [[0]] * 3]
