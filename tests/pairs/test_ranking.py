"""Best and worst of several responses to a record: scores, gaps, what waits, and which part is scored."""

import json
import random
import re
from itertools import product

import pytest
from pairs_building import built, written
from pairs_server import PairsServer, error, well

from firempo_plugin import report_metrics
from firempo_plugin.errors import UserError
from firempo_plugin.pairs import commands
from firempo_plugin.pairs.scores import radeval
from firempo_plugin.pairs.scores.registry import SCORES
from firempo_plugin.pairs.scores.rouge_l import ROUGE_L, common, f1
from firempo_plugin.report_metrics import METRICS, UnavailableError

TRUTH = "Small left pleural effusion. No pneumothorax. Heart size is normal."
WRITTEN = (
    "The lungs are clear. Heart size is normal.",
    "Small right pleural effusion. No pneumothorax. Heart size is normal.",
    "Nothing to report.",
    "Small left pleural effusion. No pneumothorax.",
)
ROWS = [("Write a report.", TRUTH, "", "report"), ("Write a report.", "Lungs are clear.", "", "report")]
HOW = {"edit": {"how": "best_worst"}}


@pytest.fixture
def path(tmp_path):
    """A build of two records, of which the second has one response, with the responses in a file."""
    names = ["0", "0/1", "table:0/2", "0/3", "1"]
    lines = [{"id": name, "response": text} for name, text in zip(names, [*WRITTEN, "Clear."], strict=True)]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return written(tmp_path, ROWS, respond={"samples": 4, "file": str(tmp_path / "said.jsonl")}, **HOW)


def slow_common(one, other):
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, j in product(range(len(one)), range(len(other))):
        table[i + 1][j + 1] = table[i][j] + 1 if one[i] == other[j] else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def test_the_longest_common_subsequence_is_the_plain_one():
    chance = random.Random(0)
    for _ in range(400):
        one, other = ([chance.choice("abcd") for _ in range(chance.randint(0, 90))] for _ in range(2))
        assert common(one, other) == slow_common(one, other)


def test_rouge_l_counts_words_and_no_marks():
    assert ROUGE_L.of(["No pleural effusion."], ["no effusion"]) == [pytest.approx(0.8)]
    assert ROUGE_L.of(["左肺有结节。", "a", "a b"], ["右肺有结节", "。", "b a"]) == [pytest.approx(0.8), 0, 0.5]
    assert f1([], []) == 0


def test_the_best_and_the_worst_of_the_responses_make_one_pair(path, capsys):
    assert commands.build(path, []) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^  judged by rouge_l +1$", shown, re.MULTILINE)
    assert "there is only one response to the record" in shown
    assert "already correct" not in shown
    (pair,) = built(path).pairs
    assert (pair.id, pair.chosen, pair.rejected) == ("table:0", WRITTEN[1], WRITTEN[2])
    assert pair.was_correct is None
    assert pair.rejected_spans == ((0, 17),), "the words that differ, as ever"
    (whole,) = built(path, "spans.of=response").pairs
    assert (whole.chosen_spans, whole.rejected_spans) == (((0, len(WRITTEN[1])),), ((0, len(WRITTEN[2])),))
    assert built(path, "spans.of=response").made == 0


def test_responses_that_are_not_asked_for_are_not_left_out_in_silence(path):
    found = "has 1 further responses that are not asked for, the first is '0/3': .*: 3 .* are R, R/1, R/2"
    with pytest.raises(UserError, match=found):
        built(path, "respond.samples=3")


def test_records_whose_ids_are_those_of_further_responses_are_refused(tmp_path):
    (tmp_path / "said.jsonl").write_text(json.dumps({"id": "4/1", "response": "Clear."}) + "\n")
    path = written(tmp_path, ROWS, respond={"samples": 2, "file": str(tmp_path / "said.jsonl")}, **HOW)
    file = tmp_path / "rows.jsonl"
    file.write_text(file.read_text().replace('"id": 0', '"id": "4"').replace('"id": 1', '"id": "4/1"'))
    with pytest.raises(UserError, match="'table:4' and 'table:4/1' cannot be told apart"):
        built(path)


def test_a_gap_is_asked_for_and_changes_what_is_made(path):
    scores = ROUGE_L.of([TRUTH] * 4, WRITTEN)
    gap = max(scores) - min(scores)
    assert len(built(path, f"rank.gap={gap - 1e-9!r}").pairs) == 1
    refused = built(path, f"rank.gap={gap!r}").steps["edit"].rejected.first["table:0"]
    assert refused == f"best and worst response are no more than rank.gap ({gap:g}) apart"


def test_equal_responses_are_no_pair(tmp_path):
    lines = [{"id": name, "response": "Clear."} for name in ("0", "0/1")]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = written(tmp_path, ROWS[:1], respond={"samples": 2, "file": str(tmp_path / "said.jsonl")}, **HOW)
    assert "rank.gap (0) apart" in built(path).steps["edit"].rejected.first["table:0"]


def test_a_record_waits_for_all_of_its_responses_and_none_is_asked_for_twice(tmp_path, capsys):
    def answer(call):
        fails = call.before == 2 and not answer.well
        return error(500, "no") if fails else well(["", *WRITTEN[:3]][call.before % 4])

    answer.well = False
    with PairsServer(answer) as server:
        endpoint = {"base_url": server.url, "model": "m", "temperature": 0.7, "concurrency": 1, "retries": 0}
        respond = {"backend": "endpoint", "samples": 4, "endpoint": endpoint}
        path = written(tmp_path, ROWS[:1], respond=respond, **HOW)
        assert commands.dry_run(path, []) == 0
        assert re.search("^edit:", capsys.readouterr().out, re.MULTILINE) is None
        assert commands.build(path, []) == 3
        assert built(path, make=False).pairs == []
        answer.well = True
        (pair,) = built(path).pairs
        assert len(server.calls) == 5
    assert (pair.chosen, pair.rejected) == (WRITTEN[0], WRITTEN[2]), "the empty one is rejected, the others compared"


def test_sentences_of_different_responses_are_read_and_not_taken_for_edits(path):
    reason = built(path, "spans.of=sentences").steps["spans"].rejected.first["table:0"]
    assert "cannot say whether the truth supports 'Nothing to report.'" in reason

    def judge(call):
        line = next(line for line in call.text.splitlines() if line.startswith("sentences: "))
        return well(json.dumps({"verdicts": ["contradicted"] * len(json.loads(line.removeprefix("sentences: ")))}))

    with PairsServer(judge) as server:
        asked = [f"edit.endpoint.base_url={server.url}", "edit.endpoint.model=m", "spans.by=judge"]
        (pair,) = built(path, "spans.of=sentences", *asked).pairs
    spans = [pair.chosen[start:end] for start, end in pair.chosen_spans]
    assert spans == ["No pneumothorax.", "Heart size is normal."], "not the sentence with the wrong side"


class Metrics:
    """Stands for radeval: the length of a report is its figure."""

    def __init__(self):
        self.loaded = []
        self.scored = []

    def __call__(self, metric):
        self.loaded.append(metric)

        def score(truths, texts, apart):
            assert (len(truths), apart) == (len(texts), True)
            self.scored.append(len(texts))
            return {"other": [0] * len(texts), "green": [len(text) for text in texts]}

        return score


def test_a_metric_of_radeval_is_loaded_once_and_when_it_is_due(path, monkeypatch):
    metrics = Metrics()
    monkeypatch.setattr(radeval, "load", metrics)
    monkeypatch.setattr(radeval, "GREEN", radeval.RadevalScore("green", "green"))
    monkeypatch.setattr(radeval, "radeval_version", lambda key: "2.2.1")
    assert built(path, "rank.by=green", make=False).pairs == []
    assert metrics.loaded == []
    (pair,) = built(path, "rank.by=green").pairs
    assert (pair.chosen, pair.judge) == (WRITTEN[1], "green")
    assert (metrics.loaded, metrics.scored) == (["green"], [5])
    monkeypatch.setattr(radeval, "radeval_version", lambda key: "2.3")
    assert built(path, "rank.by=green").steps["edit"].made == 2, "another version, other figures"


def test_a_metric_that_cannot_be_had_is_said_before_or_stops_the_run(path, monkeypatch):
    def absent(*about):
        raise report_metrics.PackageNotFoundError("radeval")

    monkeypatch.setattr(report_metrics, "version", absent)
    with pytest.raises(ValueError, match=r"rank\.by: green needs the package radeval, which is not installed"):
        built(path, "rank.by=green")

    def no_weights(metric):
        raise UnavailableError("green cannot be loaded: no weights")

    monkeypatch.setattr(radeval, "radeval_version", lambda key: "2.2.1")
    monkeypatch.setattr(radeval, "load", no_weights)
    assert built(path, "rank.by=green").stopped == "green cannot be loaded: no weights"


@pytest.mark.parametrize("name", SCORES)
def test_every_score_is_there_under_its_name(name):
    assert SCORES.load(name).name == name
    assert name == "rouge_l" or name in METRICS


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        (HOW, "edit.how: best_worst needs respond.samples of at least 2, such as 4"),
        (HOW | {"respond": {"samples": 4}}, "respond.samples needs respond.backend: endpoint or engine, or a respond"),
        (
            HOW | {"respond": {"samples": 4, "file": "said.jsonl"}, "label": {"by": "rules"}},
            "label.by needs edit.how: minimal",
        ),
        ({"edit": {"how": "best"}}, "edit.how must be one of minimal, best_worst, .*found 'best'"),
        ({"rank": {"gap": -1}}, r"rank.gap must be a number \(at least 0\), found -1"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, sections, reason):
    with pytest.raises(ValueError, match=reason):
        built(written(tmp_path, ROWS, **sections))
