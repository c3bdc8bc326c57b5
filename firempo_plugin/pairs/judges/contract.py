"""The contract with a judge: what a reply must satisfy before it becomes an edit. Pure functions.

Nothing that a record's text says changes what is accepted: these checks decide, whatever the judge was talked into.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...answers.findings import contradictions, read_statements
from ...answers.grammar import GRAMMARS
from ...answers.questions import LONGEST_RESPONSE, understand
from ...answers.reading import Question, Reading
from ...answers.text import Piece, count_words, sentences
from ...answers.units import Unit, read_units
from ...answers.vocabulary import Vocabulary, load_vocabulary
from ...endpoint.json_reply import ReplyError
from ...records import Edit, Record, RejectedError
from ..config import EditConfig
from .reply import ReportReply, VqaReply
from .wording import changed_words, check_text, counted_apart, words_of

Scope = Literal["response", "answer_sentence"]

_FREE_WORDS = 4
"""So many words may always change, however short the sentence: a polarity word, a verb and its negation."""
_GRAMMAR_WORDS = 2
"""So many words beside those of the ground truth may come with a correction: an article, "and"."""
_LONGEST_ANSWER = 20
_LONGEST_ADDED = 400
"""Characters; no edit within the bounds adds as many, and reading a text takes longer the longer it is."""
_PLACEHOLDER = re.compile(r"</?\s*(?:mask|image|video|audio)\s*/?>", re.IGNORECASE)
_ENDS = r".,;:!?。\uff0c\uff1b\uff1a\uff01\uff1f\n"
_STANDS_ALONE = (re.compile(rf"(?:^|[{_ENDS})])[\s\"'“*]*$"), re.compile(rf"^[\s\"'”*]*(?:$|[{_ENDS}(])"))


@dataclass(frozen=True)
class EditBounds:
    """How much an edit may change.

    Attributes:
        max_words: Most words changed in an answer sentence.
        max_share: Largest share of its words; four words may change in any sentence, and in a correction those of
            the ground truth and two more.
        max_words_per_sentence: Most words changed in a sentence of a report; where a correction affirms a finding,
            those in which the ground truth tells of it may come too.
    """

    max_words: int
    max_share: float
    max_words_per_sentence: int


@dataclass(frozen=True)
class Contract:
    """The contract of a run, which makes every edit of a judge's reply, once.

    Attributes:
        bounds: How much an edit may change.
        scope: Whether chosen and rejected are the whole response, or its answer sentence only.
        vocabulary: Synonyms and opposites.
    """

    bounds: EditBounds
    scope: Scope
    vocabulary: Vocabulary

    @classmethod
    def of(cls, config: EditConfig) -> "Contract":
        """The one that a configuration asks for."""
        bounds = EditBounds(config.max_words, config.max_share, config.max_words_per_sentence)
        vocabulary = load_vocabulary(Path(config.vocabulary) if config.vocabulary else None)
        return cls(bounds, config.scope, vocabulary)

    def accept(self, record: Record, response: str, reply: VqaReply | ReportReply, judge: str) -> Edit:
        """Makes the edit that a judge's reply describes, if the reply keeps the contract.

        Of an answer sentence that the response has several times, the last one is edited: a response that reasons
        concludes at its end. Of a report, spaces, line breaks and sentences whose words did not change are taken from
        the response itself.

        Args:
            record: Question and ground truth; or instruction and ground truth report.
            response: The model's answer or report.
            reply: The judge's reply, of the record's kind.
            judge: The judge's name, for the edit.

        Raises:
            ReplyError: The reply breaks the contract; another reply may keep it.
            RejectedError: No reply can: the response is empty or holds a placeholder of the training format.
        """
        check_response(response)
        if isinstance(reply, ReportReply):
            return _accept_report(self, record, response, reply, judge)
        return _accept_vqa(self, record, response, reply, judge)


def _accept_vqa(contract: Contract, record: Record, response: str, reply: VqaReply, judge: str) -> Edit:
    vocabulary = contract.vocabulary
    sentence, edited = reply.answer_sentence.strip(), reply.edited_sentence.strip()
    start = response.rfind(sentence) if sentence else -1
    if start < 0:
        raise ReplyError("answer_sentence is not in the response; copy it verbatim, with its case and punctuation")
    if len(reply.final_answer) > _LONGEST_ADDED or count_words(reply.final_answer) > _LONGEST_ANSWER:
        raise ReplyError(f"final_answer must have few words, at most {_LONGEST_ANSWER}")
    _check_length(record, sentence, edited)
    check_text(record, sentence, edited)
    least = 0 if reply.is_correct else count_words(record.truth) + _GRAMMAR_WORDS
    _check_size(sentence, edited, contract.bounds, least)
    if meaning(sentence, record.language, vocabulary) == meaning(edited, record.language, vocabulary):
        raise ReplyError("edited_sentence means the same as answer_sentence; change its answer, not its wording")
    whole = response[:start] + edited + response[start + len(sentence) :]
    if record.language in GRAMMARS:
        place = Piece(start, start + len(sentence))
        _check_answer(understand(record, vocabulary), response, whole, place, edited, reply.is_correct)
    before, after = (response, whole) if contract.scope == "response" else (sentence, edited)
    chosen, rejected = (before, after) if reply.is_correct else (after, before)
    return Edit(chosen, rejected, reply.is_correct, reply.final_answer.strip(), judge)


def _accept_report(contract: Contract, record: Record, response: str, reply: ReportReply, judge: str) -> Edit:
    vocabulary = contract.vocabulary
    _check_length(record, response, reply.rewritten_report)
    old, new = sentences(response), sentences(reply.rewritten_report)
    if len(old) != len(new):
        raise ReplyError(f"rewritten_report has {len(new)} sentences, the report {len(old)}; keep each in its place")
    pieces: list[str] = []
    edge = 0
    changed = 0
    for number, (was, now) in enumerate(zip(old, new, strict=True), start=1):
        before, after = response[was.start : was.end], reply.rewritten_report[now.start : now.end]
        kept = words_of(before) == words_of(after)
        if not kept:
            changed += 1
            most = contract.bounds.max_words_per_sentence + _description(record, before, vocabulary)
            _check_sentence(record, before, after, number, most, vocabulary)
            if not reply.all_correct:
                _check_introduced(record, before, after, number, vocabulary)
        pieces += [response[edge : was.start], before if kept else after]
        edge = was.end
    if not changed:
        raise ReplyError("rewritten_report changes no word")
    whole = "".join(pieces) + response[edge:]
    _check_report(record, response, whole, reply.all_correct, vocabulary)
    chosen, rejected = (response, whole) if reply.all_correct else (whole, response)
    return Edit(chosen, rejected, reply.all_correct, "", judge)


def check_response(response: str) -> None:
    """Refuses a response that no edit can make a pair of.

    Raises:
        RejectedError: It is empty, far too long, or holds a placeholder of the training format.
    """
    if not any(c.isalnum() for c in response):
        raise RejectedError("the response is empty")
    if len(response) > LONGEST_RESPONSE:
        raise RejectedError(f"the response has more than {LONGEST_RESPONSE} characters")
    placeholder = _PLACEHOLDER.search(response)
    if placeholder:
        raise RejectedError(f"the response holds the placeholder {placeholder.group()}")


def meaning(text: str, language: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """What a text says, synonyms and small words evened out; the words themselves where there is no grammar."""
    if language not in GRAMMARS:
        return tuple(words_of(text))
    units = read_units(text, language, vocabulary)
    return tuple(unit.key for unit in units if unit.role not in ("filler", "mark"))


def _check_length(record: Record, before: str, after: str) -> None:
    """Refuses what is far too long before it is read word by word."""
    if len(after) > 2 * len(before) + len(record.truth) + _LONGEST_ADDED:
        raise ReplyError(f"the edit has {len(after)} characters in the place of {len(before)}; change the answer only")


def _check_size(before: str, after: str, bounds: EditBounds, least: int) -> None:
    surely = counted_apart(before, after)
    changed = changed_words(before, after) if surely <= bounds.max_words else surely
    if changed == 0:
        raise ReplyError("edited_sentence changes no word of answer_sentence")
    share = max(_FREE_WORDS, least, round(bounds.max_share * count_words(before)))
    allowed = min(bounds.max_words, share)
    if changed > allowed:
        raise ReplyError(f"the edit changes {changed} words, at most {allowed} may change; change the answer only")


def _check_answer(question: Question, response: str, whole: str, place: Piece, edited: str, is_correct: bool) -> None:
    """Holds the judge's decision and its edit against what the rules can read."""
    sentence = response[place.start : place.end]
    alone = _STANDS_ALONE[0].search(response[: place.start]) and _STANDS_ALONE[1].search(response[place.end :])
    said = _first_decided(question.read(response), question.read(sentence) if alone else None)
    if said.correct is not None and said.correct != is_correct:
        raise ReplyError(f"is_correct is {str(is_correct).lower()}, but {said.reason}, which is {_word(said.correct)}")
    after = question.read(whole)
    if is_correct:
        if after.correct or (question.states(edited) and not question.read(edited).disputed):
            raise ReplyError("edited_sentence still states the ground truth; it must state a wrong answer")
        if after.disputed and said.correct:
            raise ReplyError(f"after the edit, {after.reason}; change all of the answer")
        return
    if said.correct is None and question.states(sentence) and not question.read(sentence).disputed:
        raise ReplyError("answer_sentence states the ground truth already, so the response is not wrong there")
    if after.correct is False:
        raise ReplyError(f"edited_sentence must state the ground truth, but {after.reason}")
    if after.disputed and not question.read(response).disputed:
        raise ReplyError(f"after the edit, {after.reason}; change all of the answer")
    if after.correct is None and not question.states(edited):
        raise ReplyError("edited_sentence does not state the ground truth plainly; use the words of the ground truth")


def _first_decided(first: Reading, second: Reading | None) -> Reading:
    return second if second is not None and first.correct is None and not first.disputed else first


def _word(correct: bool) -> str:
    return "correct" if correct else "not correct"


def _check_sentence(record: Record, before: str, after: str, number: int, most: int, vocabulary: Vocabulary) -> None:
    """Holds one changed sentence of a report against the bounds, with `most` words that may change."""
    try:
        check_text(record, before, after)
    except ReplyError as error:
        raise ReplyError(f"sentence {number}: {error}") from error
    changed = changed_words(before, after)
    if changed > most:
        raise ReplyError(f"sentence {number} changes {changed} words, at most {most} may change")
    if meaning(before, record.language, vocabulary) == meaning(after, record.language, vocabulary):
        raise ReplyError(f"sentence {number} changes the wording, not the meaning")


def _description(record: Record, before: str, vocabulary: Vocabulary) -> int:
    """Words in which the ground truth tells of a finding that a sentence denies: they may come with it."""
    if record.language not in GRAMMARS:
        return 0
    wrong = contradictions(before, record.truth, record.language, vocabulary)
    denied = {found.finding for found in wrong if found.statement.present is False}
    told = read_statements(record.truth, record.language, vocabulary)
    return max(
        (count_words(record.truth[s.clause.start : s.clause.end]) for s in told if s.finding in denied), default=0
    )


def _check_introduced(record: Record, before: str, after: str, number: int, vocabulary: Vocabulary) -> None:
    """Refuses words that a correction brings from elsewhere than the ground truth."""
    if record.language not in GRAMMARS:
        known_words = set(words_of(f"{before} {record.truth}"))
        units: list[Unit] = []
        strange = [word for word in words_of(after) if word not in known_words]
    else:
        old, truth = (read_units(text, record.language, vocabulary) for text in (before, record.truth))
        units = [
            u for u in read_units(after, record.language, vocabulary) if not any(o.means(u) for o in (*old, *truth))
        ]
        opposites = {other.name for unit in old if unit.term for other in vocabulary.alternatives(unit.term)}
        same = {word for unit in truth if unit.term for form in unit.term.en for word in form.lower().split()}
        plain = [u for u in units if u.role not in ("filler", "mark", "negator")]
        strange = [u.key for u in plain if u.key not in opposites and not same.issuperset(u.words)]
    if strange:
        raise ReplyError(f"sentence {number} brings {strange[0]!r}, which the ground truth does not say")


def _check_report(record: Record, response: str, whole: str, all_correct: bool, vocabulary: Vocabulary) -> None:
    """Holds the judge's decision on a report against the findings that the rules can read."""
    if record.language not in GRAMMARS:
        return
    old, new = (contradictions(text, record.truth, record.language, vocabulary) for text in (response, whole))
    if all_correct and old:
        raise ReplyError(f"all_correct is true, but the ground truth says otherwise of {old[0].finding}")
    if not all_correct:
        worse = {statement.finding for statement in new} - {statement.finding for statement in old}
        if worse:
            raise ReplyError(f"the rewrite contradicts the ground truth on {min(worse)}")
