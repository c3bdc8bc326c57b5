"""When rounds end, and which is kept."""

from dataclasses import replace

import pytest

from firempo_plugin.align.config import AlignConfig, WatchConfig
from firempo_plugin.align.numbers import Answers, Numbers, Training, repeats
from firempo_plugin.align.tables import lines_of, markdown
from firempo_plugin.align.verdict import decide
from firempo_plugin.evaluate.config import CompareConfig

COMPARE = CompareConfig(draws=500)
ITEMS = 200


def answers(words=10.0, repeated=0.0):
    return Answers((words,) * ITEMS, share(repeated))


def share(of):
    """A share of the items, the first ones."""
    return tuple(float(item < of * ITEMS) for item in range(ITEMS))


def numbers(number, right, *, unread=0.0, written=None, early=0.6, pairs=100):
    """A round that has the first `right` of its items right."""
    values = {str(item): float(item < right) for item in range(ITEMS)}
    about = share(unread), written or answers(), {}
    return Numbers(number, f"model {number}", values, *about, training=Training(early, 0.9, 0.25, pairs))


def decided(*rounds, **keys):
    history = [numbers(0, 100), *rounds]
    return decide(history, AlignConfig(**keys), COMPARE)


def test_a_rise_goes_on():
    verdict = decided(numbers(1, 120), numbers(2, 140))
    assert verdict.best == 2
    assert not verdict.stop


def test_small_steps_add_up_to_a_rise():
    steps = [numbers(number, 100 + 2 * number) for number in (1, 2, 3)]
    assert decided(*steps[:1], patience=2).stop == ""
    assert decided(*steps, patience=3).stop == "", "six items over the base model are sure, two are not"
    level = [numbers(number, 102) for number in (1, 2, 3)]
    assert "has not risen above that of the base model in 3 rounds" in decided(*level, patience=3).stop


def test_what_stands_still_ends_and_the_highest_is_kept():
    verdict = decided(numbers(1, 130), numbers(2, 131), numbers(3, 129), patience=2)
    assert verdict.stop == "accuracy.judged has not risen above that of round 1 in 2 rounds"
    assert verdict.best == 2


def test_what_only_falls_keeps_the_base_model():
    assert decided(numbers(1, 90), patience=1).best == 0


TROUBLES = [
    ({"written": answers(words=4.0)}, "words", "its answers have 4.0 words, and those of the base model 10.0"),
    ({"written": answers(words=16.0)}, "words", "16.0 words"),
    ({"unread": 0.2}, "unread", "20.0% of its answers have no value, and 0.0%"),
    ({"written": answers(repeated=0.1)}, "repeated", "10.0% of its answers repeat themselves"),
    ({"early": 1.0}, "saturated", "its reward accuracy was 1.00 over the first 25% of"),
]


@pytest.mark.parametrize(("about", "key", "said"), TROUBLES, ids=[said for *_, said in TROUBLES])
def test_trouble_ends_the_rounds_and_the_one_before_is_kept(about, key, said):
    rounds = numbers(1, 120), numbers(2, 150, **about)
    verdict = decided(*rounds)
    assert verdict.best == 1
    assert said in verdict.stop
    assert f"watch.{key}" in verdict.stop
    assert verdict.troubles == (verdict.stop,)
    assert not decided(*rounds, watch=WatchConfig(**{key: None})).stop


def test_what_may_be_chance_is_no_trouble():
    few = numbers(1, 120, written=replace(answers(), repeated=share(3 / ITEMS)))
    verdict = decided(few, watch=WatchConfig(repeated=0.01))
    assert not verdict.stop, "three of two hundred"
    assert not decided(numbers(1, 120, early=1.0, pairs=49)).stop, "so few may all be right"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("there is a nodule there is a nodule there is a nodule", True),
        ("there is a nodule there is a mass there is a shadow", False),
        ("no no no no no no", True),
        ("no", False),
        ("", False),
    ],
)
def test_what_is_said_again_and_again(text, found):
    assert repeats(text.split()) == found


def test_the_table_says_what_became_of_right_and_wrong_answers():
    base, better = numbers(0, 100), numbers(1, 0)
    values = {item: float(20 <= int(item) < 150) for item in base.values}  # 20 spoilt, 50 corrected
    lines = lines_of([base, replace(better, values=values)], COMPARE)
    assert (lines[1].corrected, lines[1].spoilt) == (0.5, 0.2)
    assert lines[1].over_base.value == pytest.approx(0.15)
    assert lines[0].over_base is lines[0].corrected is None
    verdict = decide([line.numbers for line in lines], AlignConfig(), COMPARE)
    text = markdown(lines, "accuracy.judged", verdict, COMPARE, "validation has 230 records")
    assert "- accuracy.judged is over 200 items; validation has 230 records." in text
    assert "| wrong ones corrected |  | 50.0 % |" in text
    assert "| accuracy.judged | 0.500 [" in text
    assert "Best: round 1, model 1" in text
