import time

import pytest

from firempo_plugin.phrases import (
    PhraseError,
    diff_spans,
    phrase_pair,
    read_weights,
    strip_tags,
    token_positions,
    token_weights,
)


def words(text, spans):
    return [text[start:end] for start, end in spans]


def diffs(chosen, rejected):
    a, b = diff_spans(chosen, rejected)
    return words(chosen, a), words(rejected, b)


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ("The left lung is affected.", "The right lung is affected.", (["left"], ["right"])),
        ("left upper lobe", "right lower lobe", (["left upper"], ["right lower"])),
        ("A nodule of 3.5 cm.", "A nodule of 3.6 cm.", (["3.5"], ["3.6"])),
        ("a left-sided effusion", "a right-sided effusion", (["left"], ["right"])),
        ("T1 weighted MRI", "T2 weighted MRI", (["T1"], ["T2"])),
        ("There is no effusion", "There is effusion", (["no"], [])),
        ("There is effusion", "There is no effusion", ([], ["no"])),
        ("effusion", "effusion left", ([], ["left"])),
        ("Yes", "No", (["Yes"], ["No"])),
        ("左肺有结节", "右肺有结节", (["左"], ["右"])),
        ("Lésion à gauche", "Lésion à droite", (["gauche"], ["droite"])),
        ("Yes, it is 🫁 left.", "Yes, it is 🫁 right.", (["left"], ["right"])),
    ],
)
def test_diff_marks_the_differing_words(chosen, rejected, expected):
    assert diffs(chosen, rejected) == expected


def test_diff_finds_several_phrases():
    assert diffs("Left lung, large mass", "Right lung, small mass") == (["Left", "large"], ["Right", "small"])


def test_words_that_are_common_in_a_long_text_are_words_like_others():
    common = "no mass and no effusion and " * 30
    assert diffs(f"{common}left {common}", f"{common}right {common}") == (["left"], ["right"])


@pytest.mark.parametrize(("chosen", "rejected"), [("no mass", "mass"), ("mass", "no mass")])
def test_a_phrase_on_one_side_is_enough(chosen, rejected):
    sides = phrase_pair(chosen, rejected)
    assert [words(side.text, side.spans) for side in sides] == [["no"] if "no" in side.text else [] for side in sides]


def test_tags_are_stripped_and_count_in_plain_characters():
    text, spans = strip_tags("The <mask>left</mask> lung has a <mask>mass </mask>.", "chosen")
    assert text == "The left lung has a mass ."
    assert words(text, spans) == ["left", "mass"]
    assert strip_tags("no tag at all", "chosen") == ("no tag at all", None)


@pytest.mark.parametrize("text", ["a <mask>b", "a</mask> b", "<mask>a <mask>b</mask></mask>", "<mask>a</mask></mask>"])
def test_unbalanced_tags_are_refused(text):
    with pytest.raises(PhraseError, match="chosen"):
        strip_tags(text, "chosen")
    with pytest.raises(PhraseError, match="rejected"):
        phrase_pair("plain", text)


def test_spans_reach_from_the_first_character_to_the_last():
    chosen, rejected = phrase_pair("left top", "right top", [[0, 8]], [[0, 5]])
    assert (words(chosen.text, chosen.spans), words(rejected.text, rejected.spans)) == (["left top"], ["right"])
    chosen, _ = phrase_pair("left-sided", "right-sided", [[0, 4]])
    assert chosen.spans == ((0, 4),)


def test_a_diff_of_long_texts_of_few_words_is_bounded_and_still_holds_all_that_differs():
    start = time.process_time()
    before, after = "a b " * 7700 + "end", "a b b " * 5100 + "a end"
    (span,), (other,) = diff_spans(before, after)
    assert time.process_time() - start < 10, "it took minutes"
    assert before[: span[0]] == after[: other[0]] == "a b "
    assert before[span[1] :] == after[other[1] :] == " end"
    one, more = diff_spans("a " * 15_000 + "b", "a " * 15_000 + "a a b")
    assert (one, [("a " * 15_000 + "a a b")[start:end] for start, end in more]) == ((), ["a a"])


def test_ordinary_long_texts_are_compared_word_by_word():
    words = [f"w{number % 61 * number % 997}" for number in range(5000)]
    other = [word if number % 50 else "x" for number, word in enumerate(words)]
    chosen, rejected = " ".join(words), " ".join(other)
    assert [len(side) for side in diff_spans(chosen, rejected)] == [100, 100]


def test_pair_prefers_given_spans_then_tags_then_the_diff():
    chosen, rejected = phrase_pair("the left lung", "the <mask>right lung</mask>", chosen_spans=[[4, 13]])
    assert words(chosen.text, chosen.spans) == ["left lung"]
    assert rejected.text == "the right lung"
    assert words(rejected.text, rejected.spans) == ["right lung"]
    chosen, rejected = phrase_pair("the left lung", "the right lung", rejected_spans=[[3, 9]])
    assert words(chosen.text, chosen.spans) == ["left"]
    assert words(rejected.text, rejected.spans) == ["right"], "white space at the edge is left out"


def test_spans_are_code_points_sorted_and_merged():
    chosen, _ = phrase_pair("🫁 left upper", "🫁 right", chosen_spans=[[6, 12], [2, 6]])
    assert words(chosen.text, chosen.spans) == ["left upper"]


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"chosen_spans": [[0, 99]]}, "outside the chosen text of 8 characters"),
        ({"chosen_spans": [[0, 9]]}, r"chosen_spans has \[0, 9\) outside the chosen text of 8 characters"),
        ({"rejected_spans": [[8, 10]]}, r"rejected_spans has \[8, 10\) outside the rejected text of 9 characters"),
        ({"chosen_spans": [[-1, 2]]}, "outside"),
        ({"chosen_spans": [[3, 3]]}, "outside"),
        ({"rejected_spans": [[0, 1.5]]}, "pairs of integers"),
        ({"rejected_spans": [[True, 2]]}, "pairs of integers"),
        ({"rejected_spans": [0, 4]}, "pairs of integers"),
        ({"rejected_spans": "0-4"}, "must be a list"),
        ({"chosen_spans": [], "rejected_spans": []}, "^neither chosen nor rejected has a phrase .*white space only.$"),
    ],
)
def test_bad_spans_are_refused_with_the_reason(kwargs, reason):
    with pytest.raises(PhraseError, match=reason):
        phrase_pair("left top", "right top", **kwargs)


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("same", "same", "^chosen and rejected are equal$"),
        ("<mask>same</mask>", "same", "equal"),
        ("a b", "a  b", "white space only"),
        ("", "b", "chosen response is empty"),
        ("a", " \n", "rejected response is empty"),
    ],
)
def test_pairs_without_a_difference_are_refused(chosen, rejected, reason):
    with pytest.raises(PhraseError, match=reason):
        phrase_pair(chosen, rejected)


def test_tags_and_spans_on_one_side_are_refused():
    with pytest.raises(PhraseError, match="give one of them"):
        phrase_pair("the <mask>left</mask>", "the right", chosen_spans=[[4, 8]])


def test_token_positions_share_a_character_with_a_span():
    """'The left-sided' cut into 'The', ' left', '-s', 'ided' and an empty end token."""
    offsets = [(0, 3), (3, 8), (8, 10), (10, 14), (0, 0)]
    assert token_positions([(4, 8)], offsets) == [1]
    assert token_positions([(4, 9)], offsets) == [1, 2]
    assert token_positions([(0, 3), (10, 14)], offsets) == [0, 3]
    assert token_positions([], offsets) == []


def test_a_token_counts_what_the_first_span_on_it_says():
    """'The left-sided' as above; a span on half a token weighs the whole of it."""
    offsets = [(0, 3), (3, 8), (8, 10), (10, 14), (0, 0)]
    assert token_weights([(4, 8, 0.5)], offsets) == [1.0, 0.5, 1.0, 1.0, 1.0]
    assert token_weights([(1, 4, 3.0), (4, 9, 0.5)], offsets) == [3.0, 3.0, 0.5, 1.0, 1.0]
    assert token_weights([(0, 1, 2.0), (13, 14, 0.0)], offsets) == [2.0, 1.0, 1.0, 0.0, 1.0]
    assert token_weights([], offsets) == [1.0] * 5


def test_weights_are_read_in_order_and_as_files_store_them():
    assert read_weights("the left lung", [[9.0, 13.0, 2.0], [4, 8, 0]], "chosen") == ((4, 8, 0.0), (9, 13, 2.0))
    assert read_weights("the left lung", None, "chosen") == ()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("heavy", r"chosen_weights must be a list of \[start, end, weight\], found 'heavy'"),
        ([[0, 3]], r"must hold \[start, end, weight\], found \[0, 3\]"),
        ([[0, 2.5, 1]], "pairs of integers"),
        ([[0, 99, 1]], r"chosen_weights has \[0, 99\) outside the chosen text of 13 characters"),
        ([[3, 3, 1]], "outside"),
        ([[0, 3, -1]], "has the weight -1; it must be a number from 0 to 1e"),
        ([[0, 3, float("nan")]], "has the weight nan"),
        ([[0, 3, True]], "has the weight True"),
        ([[0, 3, 2e6]], "has the weight 2000000"),
        ([[0, 5, 1], [4, 8, 2]], "two weights for character 4 of the chosen text"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(given, reason):
    with pytest.raises(PhraseError, match=reason):
        read_weights("the left lung", given, "chosen")


@pytest.mark.parametrize("tag", ["<MASK>left</MASK>", "<mask >left</mask>", "<mask/>left", "< mask>left</mask>"])
def test_what_is_almost_a_tag_is_refused(tag):
    with pytest.raises(PhraseError, match="a tag is written <mask> or </mask>"):
        strip_tags(f"the {tag} lung", "chosen")


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ("le\u0301sion a\u0300 gauche", "le\u0300sion a\u0300 gauche", (["le\u0301sion"], ["le\u0300sion"])),
        ("pha\u0309i", "tra\u0301i", (["pha\u0309i"], ["tra\u0301i"])),
        ("बायां फेफड़ा", "दायां फेफड़ा", (["बायां"], ["दायां"])),
    ],
)
def test_combining_marks_belong_to_their_words(chosen, rejected, expected):
    assert diffs(chosen, rejected) == expected
