"""The judge that needs no model: it decides and edits what rules can read, and abstains from the rest."""

from dataclasses import dataclass

from ..records import Record, RejectedError
from .answers import Change, Picker, apply
from .contract import EditBounds, accept_report, accept_vqa
from .grammar import GRAMMARS
from .questions import understand
from .reply import ReplyError, ReportReply, VqaReply
from .report_rules import edit_report
from .text import Piece, sentences
from .units import read_clauses
from .vocabulary import Vocabulary, load_vocabulary

VERSION = 1
"""Raised when the rules read, judge or edit an answer otherwise, be it for a word of vocabulary.yaml: what they decided
is kept under it, in builds and in evaluations."""

_LONGEST_RESPONSE = 8000


@dataclass(frozen=True)
class Abstain:
    """The rules cannot decide, or cannot edit.

    Attributes:
        reason: Why.
    """

    reason: str


class RuleJudge:
    """Decides yes/no and choice questions, short answers, and reports with findings that can be read.

    The same record gets the same edit in every run. Every reply has passed the contract.

    Args:
        vocabulary: Synonyms and opposites; None: the built-in ones.
        bounds: How much an edit may change; None: the contract's defaults.
    """

    name = "rules"

    def __init__(self, vocabulary: Vocabulary | None = None, bounds: EditBounds | None = None) -> None:
        self._vocabulary = vocabulary or load_vocabulary()
        self._bounds = bounds or EditBounds()

    def edit(self, record: Record, response: str) -> VqaReply | ReportReply | Abstain:
        """The reply to a response: its decision and its minimal edit."""
        if record.language not in GRAMMARS:
            return Abstain(f"the rules do not know the language {record.language!r}")
        if not record.truth.strip():
            return Abstain("there is no ground truth")
        if len(response) > _LONGEST_RESPONSE:
            return Abstain(f"the response has more than {_LONGEST_RESPONSE} characters")
        try:
            return self._report(record, response) if record.kind == "report" else self._vqa(record, response)
        except ReplyError as error:
            return Abstain(f"the rules' own edit breaks the contract: {error}")
        except RejectedError as error:
            return Abstain(str(error))

    def _vqa(self, record: Record, response: str) -> VqaReply | Abstain:
        question = understand(record, self._vocabulary)
        reading = question.read(response)
        if reading.correct is None:
            return Abstain(reading.reason)
        changes = question.turn(response, Picker(record.id))
        if isinstance(changes, str):
            return Abstain(changes)
        place = self._place(response, changes, record.language)
        after = question.read(apply(response, changes, Piece(0, len(response))))
        if after.correct is reading.correct or (not reading.correct and not after.correct):
            return Abstain(f"after the rules' edit, {after.reason}")
        sentence = response[place.start : place.end]
        reply = VqaReply(sentence, reading.says, reading.correct, apply(response, changes, place))
        accept_vqa(record, response, reply, self._bounds, self.name, "response", self._vocabulary)
        return reply

    def _report(self, record: Record, response: str) -> ReportReply | Abstain:
        reply = edit_report(record, response, self._vocabulary, self._bounds)
        if isinstance(reply, str):
            return Abstain(reply)
        accept_report(record, response, reply, self._bounds, self.name, self._vocabulary)
        return reply

    def _place(self, response: str, changes: list[Change], language: str) -> Piece:
        """The smallest run of clauses, else of sentences, that has all changes and whose text stands last there."""
        clauses = [Piece(c.start, c.end) for c in read_clauses(response, language, self._vocabulary)]
        for pieces in (clauses, list(sentences(response))):
            touched = [p for p in pieces if any(p.start <= c.start and c.end <= p.end for c in changes)]
            if touched:
                place = Piece(touched[0].start, touched[-1].end)
                inside = all(place.start <= c.start and c.end <= place.end for c in changes)
                if inside and response.rfind(response[place.start : place.end]) == place.start:
                    return place
        return Piece(0, len(response))
