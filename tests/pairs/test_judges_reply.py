"""Reading what a judge wrote: its usual slips are mended, and no text takes longer than its length allows."""

import time
import warnings
from contextlib import suppress

import pytest

from firempo_plugin.endpoint.json_reply import ReplyError, read_object
from firempo_plugin.pairs.config import EditConfig
from firempo_plugin.pairs.judges.contract import Contract
from firempo_plugin.pairs.judges.reply import ReportReply, VqaReply, parse_reply
from firempo_plugin.pairs.judges.targets import parse_target
from firempo_plugin.records import Record

GOOD = '{"all_correct": true, "rewritten_report": "It\'s \\"normal\\"."}'
CONTRACT = Contract.of(EditConfig())
READ = ReportReply(True, 'It\'s "normal".')


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Let me think about {{this}} and {{\"that.\nHere it is: {GOOD} I hope it's fine.",
        f"[{GOOD}]",
        GOOD.replace("true", "True").replace("}", ",}"),
        GOOD.replace('{"', "{“").replace('":', "”:"),
        "It's: {'all_correct': True, 'rewritten_report': 'It\\'s \"normal\".'}",
        "{'all_correct': True, 'rewritten_report': \"It's \\\"normal\\\".\",}",
        GOOD + GOOD,
    ],
    ids=["plain", "fenced", "prose", "list", "Python words", "curly", "Python", "Python mixed", "twice"],
)
def test_slips_are_mended(text: str) -> None:
    assert parse_reply(text, "report") == READ


def crafted(size: int) -> dict[str, str]:
    pieces = {
        "escaped quotes": ("{", '\\"'), "open strings": ("", '{"a'), "objects in objects": ("", '{"a":'),
        "lists in objects": ("", '{"a":['), "braces": ("", "{"), "braces in lines": ("", '{"a"\n'),
        "spaces": ("{", " "), "commas": ("{", ", "), "curly quotes": ('{“a”: “', "”"), "single quotes": ("{'", "a'"),
        "backslashes": ('{"', "\\"), "Python strings": ("{", "b'' "), "Python braces": ("", "{'a':"),
        "objects": ("", "{}"), "digits": ('{"a": ', "9"), "brackets": ("{", "["), "signs": ("{", "-"),
    }  # fmt: skip
    return {name: start + part * (size // len(part)) for name, (start, part) in pieces.items()}


@pytest.mark.parametrize("name", crafted(0))
def test_no_text_takes_longer_than_its_length_allows(name: str) -> None:
    """320 kB in a fraction of a second; with a square somewhere it would be minutes."""
    text = crafted(320_000)[name]
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for read in (read_object, parse_target, lambda reply: parse_reply(reply, "vqa")):
            with suppress(ReplyError):
                read(text)
    assert time.process_time() - start < 3


def test_nor_does_an_edit_without_end() -> None:
    vqa, report = Record("a", (), "Is there an effusion?", "No"), Record("b", (), "Write.", "Normal.", kind="report")
    sentence = "No, there is no pleural effusion."
    start = time.process_time()
    for noise in ("(" * 320_000, "Dr. " * 80_000, "no " * 100_000):
        edited = VqaReply(sentence, "no", True, f"Yes, there is a pleural effusion. {noise}")
        with pytest.raises(ReplyError, match="characters in the place of 33"):
            CONTRACT.accept(vqa, sentence, edited, "judge")
        with pytest.raises(ReplyError, match="few words"):
            CONTRACT.accept(vqa, sentence, VqaReply(sentence, noise, True, "Yes."), "judge")
        with pytest.raises(ReplyError, match="characters in the place of 33"):
            CONTRACT.accept(report, sentence, ReportReply(True, noise), "judge")
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("none", "no JSON object that can be read"),
        (GOOD + GOOD.replace("true", "false"), "2 JSON objects; write one"),
        ('{"all_correct": true}', "'rewritten_report' is missing"),
        ('{"all_correct": "maybe", "rewritten_report": "x"}', "must be true or false, found 'maybe'"),
        ('{"all_correct": true, "rewritten_report": "a \\ud83d b"}', "half a surrogate pair"),
        ('{"all_correct": ' + "[" * 100_000 + "}", "no JSON object that can be read"),
        ('{"all_correct": ' + "9" * 5000 + ', "rewritten_report": "x"}', "no JSON object that can be read"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(text: str, message: str) -> None:
    with pytest.raises(ReplyError, match=message):
        parse_reply(text, "report")
