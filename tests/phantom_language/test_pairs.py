"""Pairs: the chosen answer is true, the rejected one is not, they differ in the value alone, and noise hides it."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from firempo_plugin.phrases import diff_spans


@pytest.fixture
def pool(scripts):
    """Examples, and answers of which two in five are wrong and some cannot be read."""
    from sentences import REPORT, answer, report
    from splits import taught

    examples = [taught("pool", number, 0.5, 6) for number in range(30)]
    random = np.random.default_rng(0)

    def said(question):
        import pairs

        if random.random() < 0.05:
            return "Nothing can be said."
        if random.random() < 0.6:
            return question.answer
        if question.kind == REPORT:
            return report(pairs._other_found(question.found, random))
        asked = (question.kind, question.finding, question.asked)
        return answer(asked, pairs._other_value(question, random))

    return examples, [[said(question) for question in example.questions] for example in examples]


def test_chosen_is_true_and_rejected_is_not(pool):
    import pairs
    import reader

    made = pairs.candidates(*pool, np.random.default_rng(0))
    assert Counter(pair.base_right for pair in made)[False] > 25
    for pair in made:
        if pair.question.kind == "report":
            assert reader.read_report(pair.chosen).right(pair.question.found)
            assert not reader.read_report(pair.rejected).right(pair.question.found)
        else:
            assert reader.read(pair.question, pair.chosen) == pair.question.truth
            assert reader.read(pair.question, pair.rejected) not in (None, pair.question.truth)
    texts = {text for said in pool[1] for text in said}
    assert all((pair.chosen if pair.base_right else pair.rejected) in texts for pair in made)
    assert "Nothing can be said." not in {pair.rejected for pair in made}


def test_the_phrases_are_the_words_of_the_value(pool):
    import pairs
    import reader
    from findings import NAMES, VALUES

    words = {word for name in NAMES.values() for word in name.split()} | {"yes", "no", "not", "a", "and"}
    words |= {word for two in VALUES.values() for word in two} | {"nothing", "abnormal", ""}
    for pair in pairs.candidates(*pool, np.random.default_rng(0)):
        texts = (pair.chosen, pair.rejected)
        of_both = diff_spans(*texts)
        said = [[text[start:end] for start, end in spans] for text, spans in zip(texts, of_both, strict=True)]
        if pair.question.kind in VALUES:
            assert said == [[reader.read(pair.question, text)] for text in texts]
        elif pair.question.kind != "report":
            assert any(said)
            assert {word.strip(",") for phrases in said for phrase in phrases for word in phrase.split()} <= words, (
                texts
            )


def test_pairs_are_even_between_right_and_wrong_answers(pool):
    import pairs

    random = np.random.default_rng(0)
    made = pairs.candidates(*pool, random)
    picked = pairs.pick(made, 60, random)
    assert len(picked) == 60
    assert Counter(pair.base_right for pair in picked) == {True: 30, False: 30}
    asked = [pair.question.habit for pair in picked if pair.question.kind != "report"]
    assert abs(np.mean(asked) - 0.5) < 0.04
    assert len({(pair.example.name, pair.question.text, pair.rejected) for pair in picked}) == 60
    assert len(pairs.pick(made, 10000, random)) <= len(made)
    assert pairs.pick([pair for pair in made if pair.base_right], 80, random) == []


def test_the_noised_image_differs_where_the_question_asks_and_nowhere_else(pool, tmp_path):
    import pairs

    random = np.random.default_rng(0)
    picked = pairs.pick(pairs.candidates(*pool, random), 40, random)
    pairs.write(picked, pairs.Noise(60, 2), tmp_path)
    rows = json.loads((tmp_path / "pairs.json").read_text())
    chosen = json.loads((tmp_path / "chosen.json").read_text())
    assert [row["conversations"][-1] for row in chosen] == [row["chosen"] for row in rows]
    for pair, row in zip(picked, rows, strict=True):
        clean, noised = (np.array(Image.open(tmp_path / row[key][0])) for key in ("images", "rejected_images"))
        changed = (clean != noised).any(-1)
        assert (clean[..., 0] == pair.example.picture.pixels).all()
        place = pairs.asked_about(pair.question, pair.example.picture.masks, 2)
        if place is not None:
            assert not changed[~place].any()
        assert changed[slice(None) if place is None else place].mean() > 0.9
        if pair.question.finding in pair.example.picture.found:
            assert changed[pair.example.picture.masks[pair.question.finding]].mean() > 0.9
    again = tmp_path / "again"
    pairs.write(picked, pairs.Noise(60, 2), again)
    assert all(file.read_bytes() == (again / file.relative_to(tmp_path)).read_bytes() for file in tmp_path.glob("*.*"))


def test_what_noise_turns_is_asked_again_of_right_answers_on_noised_images(pool, monkeypatch):
    import answering
    import pairs

    asked = []
    monkeypatch.setattr(answering, "answers", lambda model, prompt, shown: asked.extend(shown) or [["x"]] * len(shown))
    clean = {example.name: example.picture for example in pool[0]}
    rows = pairs.turned(None, None, *pool, pairs.Noise(60, 2))
    assert len(rows) == len(asked) > 50
    said = {(one.name, text) for one, texts in zip(*pool, strict=True) for text in texts}
    for example, row in zip(asked, rows, strict=True):
        assert (row["id"], row["text"], row["said"]) == (
            example.name,
            example.questions[0].text,
            "x",
        )
        assert (example.name, row["answer"]) in said
    for example in asked:
        picture = clean[example.name]
        place = pairs.asked_about(example.questions[0], picture.masks, 2)
        changed = example.picture.pixels != picture.pixels
        assert changed[place].mean() > 0.7
        assert not changed[~place].any()
