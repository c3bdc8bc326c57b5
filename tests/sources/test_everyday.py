"""The everyday questions are there, and the built-in rules read their answers, right and wrong."""

from collections import Counter

import pytest

from firempo_plugin.answers import questions
from firempo_plugin.answers.vocabulary import load_vocabulary
from firempo_plugin.errors import UserError
from firempo_plugin.sources import everyday
from firempo_plugin.sources.reading import read_source
from firempo_plugin.sources.settings import SourceConfig

READING = read_source(SourceConfig(name="everyday"))


def test_all_are_records_of_pictures_that_are_installed():
    assert not READING.problems
    assert len(READING.records) >= 40
    assert len({record.images for record in READING.records}) > 10


def test_no_answer_is_right_most_of_the_time():
    polar = Counter(record.truth for record in READING.records if record.truth in ("yes", "no"))
    assert abs(polar["yes"] - polar["no"]) <= 2
    first = [
        record.question.index(record.truth) < len(record.question) * 0.55
        for record in READING.records
        if record.truth not in polar
    ]
    assert 0.3 < sum(first) / len(first) < 0.7


@pytest.mark.parametrize("record", READING.records, ids=lambda record: record.id)
def test_the_rules_read_right_and_wrong_answers(record):
    read = questions.understand(record, load_vocabulary(None)).read
    assert record.truth in (*("yes", "no"), *record.question.rstrip("?").split())
    if record.truth in ("yes", "no"):
        right, wrong = record.truth, {"yes": "no", "no": "yes"}[record.truth]
        assert read(f"{right.capitalize()}.").correct
        assert read(f"{wrong.capitalize()}.").correct is False
    else:
        assert read(f"It is {record.truth}.").correct


def test_without_scikit_image_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(everyday.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'firempo-plugin\[demo\]'"):
        read_source(SourceConfig(name="everyday"))
