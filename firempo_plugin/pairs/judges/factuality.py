"""Sentence by sentence: does the ground truth support it? For Mask-DPO's spans (arXiv 2503.02846).

Sentences are told apart by characters, never by the token counts of separately encoded ones, which leave the end of a
sentence in the loss where line breaks part them.
"""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal

from ...answers.findings import contradictions
from ...answers.grammar import GRAMMARS
from ...answers.questions import understand
from ...answers.text import sentences
from ...answers.vocabulary import Vocabulary
from ...endpoint.json_reply import ReplyError, read_object
from ...phrases import Span
from ...records import Edit, Record, RejectedError
from .report_rules import comparable

Verdict = Literal["supported", "contradicted", "silent"]
VERDICTS: tuple[Verdict, ...] = ("supported", "contradicted", "silent")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"verdicts": {"type": "array", "items": {"type": "string", "enum": list(VERDICTS)}}},
    "required": ["verdicts"],
    "additionalProperties": False,
}


def texts_of(response: str) -> list[str]:
    """The sentences of a response."""
    return [response[piece.start : piece.end] for piece in sentences(response)]


def rule_verdicts(record: Record, edit: Edit, vocabulary: Vocabulary, *, minimal: bool) -> dict[str, Verdict]:
    """What is known of sentences of a pair without a model, by their text.

    Of the sentences that a minimal edit changed, chosen's state the ground truth and rejected's contradict it: its
    judge and the contract have seen to that. Of the others, the rules read those that they can.

    Args:
        record: Question and ground truth.
        edit: Chosen and rejected.
        vocabulary: Terms.
        minimal: Whether one was made of the other.
    """
    chosen, rejected = texts_of(edit.chosen), texts_of(edit.rejected)
    found: dict[str, Verdict] = {}
    for how, a, b, c, d in SequenceMatcher(None, chosen, rejected, autojunk=False).get_opcodes():
        if minimal and how != "equal":
            found |= dict.fromkeys(chosen[a:b], "supported")
            found |= dict.fromkeys(rejected[c:d], "contradicted")
    for sentence in [*chosen, *rejected]:
        verdict = None if sentence in found else _read(record, sentence, vocabulary)
        if verdict is not None:
            found[sentence] = verdict
    return found


def _read(record: Record, sentence: str, vocabulary: Vocabulary) -> Verdict | None:
    """What the rules read of one sentence; None where they cannot say."""
    if record.language not in GRAMMARS:
        return None
    if record.kind == "vqa":
        return "supported" if understand(record, vocabulary).read(sentence).correct else None
    if contradictions(sentence, record.truth, record.language, vocabulary):
        return "contradicted"
    return "supported" if record.language == "en" and comparable(sentence, record.truth, vocabulary) else None


def parse_verdicts(text: str, asked: Sequence[str]) -> dict[str, Verdict]:
    """Reads a judge's reply, a verdict for each sentence in turn.

    Raises:
        ReplyError: There is no JSON object, it has another number of verdicts, or one is none of VERDICTS.
    """
    given = read_object(text).get("verdicts")
    if not isinstance(given, list) or len(given) != len(asked):
        raise ReplyError(f"verdicts must be a list of {len(asked)} words, one for each sentence, found {given!r:.80}")
    for word in given:
        if word not in VERDICTS:
            raise ReplyError(f"a verdict must be one of {', '.join(VERDICTS)}, found {word!r:.80}")
    return dict(zip(asked, given, strict=True))


def sentence_spans(edit: Edit, verdicts: Mapping[str, Verdict]) -> tuple[list[Span], list[Span]]:
    """The supported sentences of chosen and the contradicted ones of rejected, as [start, end) in code points.

    Raises:
        RejectedError: There is none on one side.
    """
    sides = []
    for name, text, wanted in (("chosen", edit.chosen, "supported"), ("rejected", edit.rejected, "contradicted")):
        pieces = [p for p in sentences(text) if verdicts[text[p.start : p.end]] == wanted]
        if not pieces:
            raise RejectedError(f"no sentence of {name} is {wanted} by the ground truth")
        sides.append([(piece.start, piece.end) for piece in pieces])
    return sides[0], sides[1]
