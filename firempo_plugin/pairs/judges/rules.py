"""The judge that needs no model: it decides and edits what rules can read, and abstains from the rest."""

from typing import Any

from ...answers import questions
from ...answers.grammar import GRAMMARS
from ...answers.protocol import Abstain
from ...answers.reading import Change, Picker, apply
from ...answers.text import Piece, sentences
from ...answers.units import read_clauses
from ...endpoint.json_reply import ReplyError
from ...records import Edit, Record, RejectedError
from ...store.workspace import later
from .judge import EditJudge
from .reply import ReportReply, VqaReply
from .report_rules import edit_report

_LONGEST_RESPONSE = 8000


class RuleJudge(EditJudge):
    """Decides yes/no and choice questions, short answers, and reports with findings that can be read.

    The same record gets the same edit in every run.
    """

    name = "rules"

    def identity(self, record: Record) -> dict[str, Any]:
        """Nothing else decides them."""
        return {"rules": True} | later(rules_version=questions.VERSION)

    def judge(self, record: Record, response: str, sample: int = 0) -> Edit | Abstain:
        """The edit; abstains where the rules cannot read the response, and where their own edit is refused."""
        try:
            reply = self._reply(record, response)
            if not isinstance(reply, Abstain):
                return self.contract.accept(record, response, reply, self.name)
            reason = reply.reason
        except ReplyError as error:
            reason = f"the rules' own edit breaks the contract: {error}"
        except RejectedError as error:
            reason = str(error)
        return Abstain(f"the rules abstain: {reason}")

    def _reply(self, record: Record, response: str) -> VqaReply | ReportReply | Abstain:
        """The decision and the minimal edit, which the contract has not seen yet."""
        if record.language not in GRAMMARS:
            return Abstain(f"the rules do not know the language {record.language!r}")
        if not record.truth.strip():
            return Abstain("there is no ground truth")
        if len(response) > _LONGEST_RESPONSE:
            return Abstain(f"the response has more than {_LONGEST_RESPONSE} characters")
        if record.kind == "report":
            reply = edit_report(record, response, self.contract.vocabulary)
            return Abstain(reply) if isinstance(reply, str) else reply
        return self._vqa(record, response)

    def _vqa(self, record: Record, response: str) -> VqaReply | Abstain:
        question = questions.understand(record, self.contract.vocabulary)
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
        return VqaReply(sentence, reading.says, reading.correct, apply(response, changes, place))

    def _place(self, response: str, changes: list[Change], language: str) -> Piece:
        """The smallest run of clauses, else of sentences, that has all changes and whose text stands last there."""
        clauses = [Piece(c.start, c.end) for c in read_clauses(response, language, self.contract.vocabulary)]
        for pieces in (clauses, list(sentences(response))):
            touched = [p for p in pieces if any(p.start <= c.start and c.end <= p.end for c in changes)]
            if touched:
                place = Piece(touched[0].start, touched[-1].end)
                inside = all(place.start <= c.start and c.end <= place.end for c in changes)
                if inside and response.rfind(response[place.start : place.end]) == place.start:
                    return place
        return Piece(0, len(response))
