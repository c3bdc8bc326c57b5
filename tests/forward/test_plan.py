from firempo_plugin.forward.plan import Row, make_plan
from firempo_plugin.objectives import OBJECTIVES, Settings


def settings(name="fire_mpo", **changes):
    values = {"beta": 0.1, "alpha": 0.01, "gamma": 0.1, "kl_lambda": 0.5, "kl_scope": "phrase", "nll_weight": 0.0}
    return Settings(objective=OBJECTIVES[name], **(values | changes))


def row(**changes):
    """Prompt 1 2 3, chosen 10 11 12 99, rejected 10 21 12 99; the phrase is the second word of each."""
    values = {
        "prompt_ids": [1, 2, 3],
        "noised_prompt_ids": [1, 2, 3],
        "chosen_ids": [10, 11, 12, 99],
        "rejected_ids": [10, 21, 12, 99],
        "chosen_phrase": [1],
        "rejected_phrase": [1],
        "images": ["clean"],
        "rejected_images": ["noised"],
        "weight": 1.0,
    }
    return Row(**(values | changes))


def test_a_sequence_ends_before_its_last_scored_token_and_equal_ones_are_run_once():
    """Both responses share the words before the phrase, so each image needs one sequence for two cells."""
    plan = make_plan([row()], settings())
    assert [(s.input_ids, s.images) for s in plan.sequences] == [
        ((1, 2, 3, 10), ["clean"]),
        ((1, 2, 3, 10), ["noised"]),
    ]
    assert plan.sequence == [0, 0, 1, 1]
    assert plan.position == [3, 3, 3, 3]
    assert plan.token == [11, 21, 11, 21]
    assert plan.cell == [0, 1, 2, 3]
    assert plan.in_phrase == [True] * 4


def test_whole_responses_are_scored_to_the_end_of_turn():
    plan = make_plan([row()], settings("dpo"))
    assert [s.input_ids for s in plan.sequences] == [(1, 2, 3, 10, 11, 12), (1, 2, 3, 10, 21, 12)]
    assert plan.token == [10, 11, 12, 99, 10, 21, 12, 99]
    assert plan.position == [2, 3, 4, 5, 2, 3, 4, 5]
    assert plan.in_phrase == [False, True, False, False] * 2


def test_the_kl_over_the_response_widens_clean_chosen_only():
    plan = make_plan([row()], settings(kl_scope="response"))
    widths = [plan.cell.count(cell) for cell in range(4)]
    assert widths == [4, 1, 1, 1]


def test_a_row_without_noised_image_needs_clean_cells_only():
    plan = make_plan([row(noised_prompt_ids=[], rejected_images=[])], settings())
    assert plan.cell == [0, 1]
    assert [s.images for s in plan.sequences] == [["clean"]]


def test_a_side_without_a_phrase_needs_no_sequence():
    plan = make_plan([row(chosen_phrase=[], rejected_phrase=[3], noised_prompt_ids=[], rejected_images=[])], settings())
    assert plan.cell == [1]
    assert len(plan.sequences) == 1


def test_a_noised_prompt_of_another_length_moves_the_positions():
    plan = make_plan([row(noised_prompt_ids=[1, 2, 2, 2, 3])], settings())
    assert [p for p, c in zip(plan.position, plan.cell, strict=True) if c >= 2] == [5, 5]


def test_rows_are_numbered_in_the_batch():
    plan = make_plan([row(), row(), row()], settings("rrpo"))
    assert sorted(set(plan.row)) == [0, 1, 2]
    assert len(plan.sequences) == 3
