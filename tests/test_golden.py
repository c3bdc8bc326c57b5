"""A changed output without a raised version is caught, and no command writes over it."""

from functools import partial

import golden
import pytest


@pytest.fixture
def check(tmp_path):
    """Returns `golden.check` of a file of two cases that is there already."""
    check = partial(golden.check, "thing", "thing.VERSION", test="tests/test_thing.py::test_it", folder=tmp_path)
    check(1, {"a": ["abc", 0.5], "b": {"x": 1}}, anew=True)
    return partial(check, anew=False)


def test_the_same_outputs_pass_and_numbers_may_be_rounded_otherwise(check):
    check(1, {"a": ["abc", 0.5001], "b": {"x": 1}})


@pytest.mark.parametrize("anew", [False, True], ids=["compared", "written anew"])
@pytest.mark.parametrize("a", [["abd", 0.5], ["abc", 0.51], ["abc"], "abc", ["abc", "0.5"]], ids=str)
def test_a_changed_output_needs_a_raised_version_whoever_asks(check, anew, a):
    with pytest.raises(AssertionError) as raised:
        check(1, {"a": a, "b": {"x": 1}}, anew=anew)
    said = str(raised.value)
    assert "1 of 2 outputs of thing have changed" in said
    assert "raise thing.VERSION" in said
    assert "pytest tests/test_thing.py --golden" in said
    assert "'a'" in said


def test_with_a_raised_version_the_file_is_written_anew_by_one_command(check):
    changed = {"a": ["other", 9.5], "b": {"x": 1}}
    with pytest.raises(AssertionError, match=r"thing.VERSION is 2, and the golden file 1.*--golden"):
        check(2, changed)
    check(2, changed, anew=True)
    check(2, changed)


def test_cases_that_come_or_go_need_no_version(check):
    more = {"a": ["abc", 0.5], "c": 1}
    with pytest.raises(AssertionError, match="cases came or went"):
        check(1, more)
    check(1, more, anew=True)
    check(1, more)
