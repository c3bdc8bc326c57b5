"""How the words of an edit differ from those that were there, and what no edit may do to them."""

import re
from collections import Counter

from ...answers.text import count_words, scripts
from ...endpoint.json_reply import ReplyError
from ...phrases import WORD, diff_spans
from ...records import Record

_MARKUP = re.compile(r"<[^<>]{1,40}>|```|https?://|[*_#`{}\[\]|\\<>\n\r\t\x00-\x08\x0b-\x1f]")
_STAMMER = re.compile(r"\b([a-z]+(?: [a-z]+){0,2}) \1\b", re.IGNORECASE)


def changed_words(before: str, after: str) -> int:
    """Words that differ between two texts, counted on the side where they are more."""
    spans = diff_spans(before, after)
    return max(
        sum(count_words(text[start:end]) for start, end in side)
        for text, side in zip((before, after), spans, strict=True)
    )


def counted_apart(before: str, after: str) -> int:
    """Words that one text has and the other lacks, wherever they stand: never more than differ, and quick to count."""
    old, new = Counter(words_of(before)), Counter(words_of(after))
    return max((old - new).total(), (new - old).total())


def words_of(text: str) -> list[str]:
    return [match.group().lower() for match in WORD.finditer(text) if match.group()[0].isalnum()]


def check_text(record: Record, before: str, after: str) -> None:
    """Refuses an edit that is empty, brings markup, leaves the language, or stammers."""
    if not any(c.isalnum() for c in after):
        raise ReplyError("edited_sentence is empty")
    old, new = Counter(_MARKUP.findall(before)), Counter(_MARKUP.findall(after))
    if new - old:
        raise ReplyError(f"the edit brings markup ({next(iter(new - old))!r}); change words only")
    if _leaves_language(record, before, after):
        raise ReplyError("the edit leaves the language of the response; keep it")
    stammer = _stammers(after) - _stammers(before)
    if stammer:
        raise ReplyError(f"the edit says {min(stammer)!r} twice in a row; replace the words that it repeats")


def _leaves_language(record: Record, before: str, after: str) -> bool:
    """Whether an edit brings a script that the sentence does not have, or takes its own away.

    A Chinese sentence may take a Latin word that question or truth have, or an acronym ("CT").
    """
    had = set(words_of(before))
    brought = [word for word in WORD.findall(after) if word[0].isalnum() and word.lower() not in had]
    foreign = scripts(" ".join(brought)) - scripts(before)
    known = set(words_of(f"{record.truth} {record.question}"))
    named = all(word.isupper() or word.lower() in known for word in brought if word.isascii())
    if foreign == {"LATIN"} and "CJK" in scripts(before) and named:
        foreign = frozenset()
    lost = "CJK" in scripts(before) and "CJK" not in scripts(after) and "CJK" in scripts(record.truth)
    return bool(foreign) or lost


def _stammers(text: str) -> set[str]:
    """Runs of Latin words that a text repeats at once, as in "normal in size in size"."""
    return {match.group(1).lower() for match in _STAMMER.finditer(text)}
