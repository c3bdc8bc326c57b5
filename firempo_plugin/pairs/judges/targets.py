"""What the noise should hide: a short noun phrase for a segmenter, or nothing in particular."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from ...answers.asked_thing import asked_noun, named_thing
from ...answers.findings import read_statements
from ...answers.grammar import GRAMMARS
from ...answers.questions import polar_truth
from ...answers.text import count_words
from ...answers.units import Unit, content, read_clauses, read_units
from ...answers.vocabulary import FINDINGS, Term, Vocabulary, load_vocabulary
from ...endpoint.json_reply import ReplyError, read_object
from ...records import Record, Target
from .priors import REFERENCE

_MOST_WORDS = 6
_MOST_CHARACTERS = 12
_WHOLE_IMAGE = {
    "modality": (
        r"\bmodality|\b(?:kind|type) of (?:scan|image|imaging)",
        r"\bis (?:this|it|the image) (?:an? )?(?:\w+ )?(?:ct|mri?|x-?ray|film)\b",
        r"\b(?:image|scan|film|picture) (?:is |was )?(?:taken|obtained|acquired)",
        r"什么(?:类型|模态|成像|检查)|(?:CT|MRI|X光|核磁共振)(?:图像|扫描)?[吗么]",
    ),
    "weighting": (r"\bweight(?:ing|ed)\b|\bsequence\b|加权",),
    "plane": (r"\bplanes?\b|\b(?:axial|coronal|sagittal|transverse)\b|平面|断面|冠状|矢状|横截面",),
    "projection": (r"\b(?:pa|ap)\b|\bprojection\b",),
    "contrast": (r"\bcontrast\b(?!.*\b(?:in|within|of) the\b)|造影|增强扫描",),
    "part of the body": (
        r"\borgans in the (?:image|picture) exist\b|\bpart of (?:the )?(?:body|human)|\bbody part\b",
        r"\bwhere does the (?:picture|image)|\b(?:study|scan|image) of the\b",
        r"哪个部位|身体的哪|关于\w+部",
    ),
    "organ system": (r"\borgan systems?\b|\bwhat system\b|器官系统|哪个系统",),
    "whole image": (
        r"\b(?:image|picture|scan|film|x-?ray|ct|mri) (?:\w+ )?(?:normal|abnormal)\b",
        r"\babnormalit\w+ in (?:this|the) (?:image|picture|scan)|图(?:像|片)?中?(?:正常|异常)",
    ),
}
"""What questions without a target are about, and how such questions are put."""
_CONTAINS = re.compile(
    r"\b(?:contain|appear|exist|show|include)s?\b|\bis there\b|\bare there\b|包含|存在|有|出现", re.IGNORECASE
)
_DEFINITE = re.compile(
    r"\b(?:this\s+|(?:the|these|its)\s+(?:(?!an?\b|patient|image|picture|scan|film|x-?ray|ct|mri?\b)[\w-]+\s+){0,2})$",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"\b(?:is|are|was|were|shows?|contains?|the|this|that|there|should|please|because)\b", re.IGNORECASE
)
_PARTS = re.compile(
    r"(?P<new>;\s+(?:and\s+|but\s+)?|；|,?\s+(?:but|while)\s+)|,\s+(?:and\s+)?|，|\s+(?:and|with)\s+|\s+(?=without\b)",
    re.IGNORECASE,
)
"""Where a sentence of a report may have another statement; behind `new` no denial goes on."""
_SAYS = re.compile(r"\b(?:is|are|was|were|has|have|shows?|appears?)\b", re.IGNORECASE)
_DIRECTION = re.compile(
    r"\b(?:to|towards?) the (?:left|right)\b|(?:(?<=deviated )|(?<=shifted ))(?:left|right)\b"
    r"|\b(?:left|right) (?:side )?(?:greater|more|worse|larger) than (?:the )?(?:left|right)\b",
    re.IGNORECASE,
)
"""Where something has gone, as a trachea, which has no side; which of two sides has more of it."""
_COURSE = re.compile(r"\b(?:(?:in|de)creas(?:ed?|ing)|larger|smaller|bigger|growing)\b", re.IGNORECASE)
"""What beside a reference tells how it was before."""
_GONE = re.compile(
    r"\b(?:has|have)(?: been| \w+ly)? (?:resolved|cleared|removed)\b"
    r"|\b(?:resolution|clearing|removal) of\b|\bno longer\b",
    re.IGNORECASE,
)
_DENIES_BEHIND = frozenset({"no", "without"})
"""Words that deny only what stands behind them, not the mass of "a mass without calcification"."""
_PHRASE = re.compile(r"\w[\w -]*\w|\w")
_NOTHING = frozenset({"", "none", "null", "no target", "nothing", "n/a", "na", "无", "没有"})
_POSITIONS = frozenset({"side", "vertical", "laterality"})
_POSITION_WORDS = frozenset({"left", "right", "upper", "lower"})
_CHAMBERS = frozenset({"atrium", "ventricle"})
"""Parts that "right" names, and not the side of the body."""
_LOCATED = ("organ", "lobe", "matter", "portion")
"""Groups of places; a portion is one only where it has a region: "costophrenic angle", but no "half"."""


def rule_target(record: Record, final_answer: str, vocabulary: Vocabulary | None = None, claimed: str = "") -> Target:
    """Names the part of the image that a question is about, from the question, the ground truth and the answer.

    A phrase is written in English whatever the record's language: segmenters and data sets name regions so.

    Args:
        record: Question and ground truth.
        final_answer: The response's answer; asked last, since it may be wrong.
        vocabulary: Findings and their organs; None: the built-in ones.
        claimed: The side of the pair that is wrong; where the truth is no, it may say where the finding would be.
    """
    if record.kind == "report":
        return Target(None, "a report is about the whole image")
    if record.language not in GRAMMARS:
        return Target(None, f"the rules do not know the language {record.language!r}")
    for about, patterns in _WHOLE_IMAGE.items():
        if any(re.search(pattern, record.question, re.IGNORECASE) for pattern in patterns):
            return Target(None, f"the question is about the {about}")
    vocabulary = vocabulary or load_vocabulary()
    asked = read_units(record.question, record.language, vocabulary)
    polarity = polar_truth(record.question, record.truth, record.language)
    if polarity:
        if polarity == "yes":
            return _present(record.question, asked)
        return _absent(record.question, record.language, asked, vocabulary, claimed)
    told = read_units(record.truth, record.language, vocabulary)
    answered = read_units(final_answer, record.language, vocabulary)
    return _open(asked, told, answered)


def statement_target(right: str, wrong: str, language: str, vocabulary: Vocabulary) -> Target:
    """Names the part of the image that a statement of a report is about.

    Of a sentence with several statements that is the one that the two differ in. Where the right statement denies a
    finding, says that it has gone, or names an organ alone, as normal or clear, it is the organ, on the side that the
    wrong one names: there the evidence of absence lies. Statements that differ in what only an earlier examination
    can tell have no target, so that the whole image is noised.

    Args:
        right, wrong: The statement as the ground truth has it, and turned.
        language: Of the report.
        vocabulary: Findings and their organs.
    """
    if language not in GRAMMARS:
        return Target(None, f"the rules do not know the language {language!r}")
    if only_compares(right, wrong):
        return Target(None, "the statement compares with an earlier examination")
    right, wrong = _changed_part(_DIRECTION.sub("", right), _DIRECTION.sub("", wrong), language, vocabulary)
    told, turned = (read_units(text, language, vocabulary) for text in (right, wrong))
    # Behind what is told, so that a side of the one stands before no organ of the other.
    turned = tuple(replace(unit, start=unit.start + len(right), end=unit.end + len(right)) for unit in turned)
    finding = _first(told, FINDINGS)
    denied = finding is not None and _is_denied(right, finding, told, language, vocabulary)
    target = _present("", told) if finding and not denied else _absent("", language, (*told, *turned), vocabulary)
    if target.phrase is None:
        return Target(None, "the statement names no part of the image")
    return replace(target, reason="where the statement sees nothing" if denied else "what the statement names")


def only_compares(right: str, wrong: str) -> bool:
    """Whether two statements differ in nothing but what an earlier examination alone can tell; of English ones."""
    return _without_course(right, wrong) == _without_course(wrong, right)


def _without_course(text: str, other: str) -> list[str]:
    """The words of one of two statements that one image can show."""
    shown = REFERENCE.sub("", text)
    compared = REFERENCE.search(text) or REFERENCE.search(other)
    return (_COURSE.sub("", shown) if compared else shown).split()


def _is_denied(right: str, finding: Unit, told: tuple[Unit, ...], language: str, vocabulary: Vocabulary) -> bool:
    """Whether a statement says that its first finding is not there, or no longer."""
    said = read_statements(right, language, vocabulary)
    if _GONE.search(right) or any(one.present is False and one.finding == finding.key for one in said):
        return True
    compared = [match.span() for match in REFERENCE.finditer(right)]  # "no change in"
    denials = [u for u in told if u.role == "negator" and not any(a <= u.start < b for a, b in compared)]
    return any(u.end <= finding.start or not _DENIES_BEHIND.intersection(u.words) for u in denials)


def _changed_part(right: str, wrong: str, language: str, vocabulary: Vocabulary) -> tuple[str, str]:
    """The one part of two sentences in which they differ, where it says something by itself; else both whole."""
    sides = [_parts(text) for text in (right, wrong)]
    differing = [n for n, parts in enumerate(zip(*sides, strict=False)) if parts[0][0] != parts[1][0]]
    if len(sides[0]) != len(sides[1]) or len(differing) != 1:
        return right, wrong
    (place,) = differing
    part = read_units(sides[0][place][0], language, vocabulary)
    verb = language == "zh" or _SAYS.search(sides[0][place][0])
    says = _first(part, FINDINGS) or (_first(part, _LOCATED) and verb)
    if not says or _is_denied_before(sides[0][: place + 1], language, vocabulary):
        return right, wrong
    return sides[0][place][0], sides[1][place][0]


def _is_denied_before(parts: list[tuple[str, bool]], language: str, vocabulary: Vocabulary) -> bool:
    """Whether a denial of an earlier part goes on into the last one: "no consolidation, pneumothorax, or mass"."""
    for number in range(len(parts) - 1, 0, -1):
        part, is_new = parts[number]
        if is_new or _SAYS.search(part):
            return False
        if _denies(read_units(parts[number - 1][0], language, vocabulary)):
            return True
    return False


def _parts(sentence: str) -> list[tuple[str, bool]]:
    """What may be statements of a sentence, and whether a denial before it ends there."""
    parts, edge, is_new = [], 0, False
    for cut in _PARTS.finditer(sentence):
        parts.append((sentence[edge : cut.start()].strip(" ."), is_new))
        edge, is_new = cut.end(), cut["new"] is not None
    return [(part, new) for part, new in (*parts, (sentence[edge:].strip(" ."), is_new)) if part]


def _denies(units: tuple[Unit, ...]) -> bool:
    return any(unit.role == "negator" for unit in units)


def parse_target(text: str) -> Target:
    """Reads a judge's reply: a noun phrase of at most six words, or none; also as {"target": ...}.

    Raises:
        ReplyError: It is a sentence, too long, or holds other characters than letters, digits, spaces and hyphens.
    """
    phrase = _bare(text)
    if phrase.lower() in _NOTHING:
        return Target(None, "the judge names no part of the image")
    if not _PHRASE.fullmatch(phrase):
        raise ReplyError(f"the target may have letters, digits, spaces and hyphens only, found {phrase[:60]!r}")
    chinese = not phrase.isascii()
    if count_words(phrase) > (_MOST_CHARACTERS if chinese else _MOST_WORDS):
        raise ReplyError(f"the target must be a noun phrase of at most {_MOST_WORDS} words, found {phrase[:60]!r}")
    if _SENTENCE.search(phrase):
        raise ReplyError(f"the target must be a noun phrase, not a sentence, found {phrase!r}")
    return Target(phrase.lower(), "the judge names it")


def _bare(text: str) -> str:
    """The phrase in a reply, without quotes, labels and a final stop."""
    stripped = re.sub(r"^```\w*|```$", "", text.strip()).strip()
    if stripped.startswith("{"):
        value = read_object(stripped).get("target", "")
        if not (value is None or isinstance(value, str)):
            raise ReplyError(f"the target must be a text or null, found {json.dumps(value)[:60]}")
        stripped = value or ""
    unlabelled = re.sub(r"^(?:target|phrase|region)\s*:\s*", "", stripped, flags=re.IGNORECASE)
    return unlabelled.strip(" \t\n\"'`*.。")


def _present(question: str, asked: tuple[Unit, ...]) -> Target:
    finding, place = _first(asked, FINDINGS), _first(asked, _LOCATED)
    if finding is not None:
        return Target(_phrase(finding, asked), "the finding that the question names")
    if place is not None:
        return Target(_phrase(place, asked), "the organ that the question names")
    return _named(asked) or _thing(question, asked) or _part(asked)


def _absent(question: str, language: str, asked: tuple[Unit, ...], vocabulary: Vocabulary, claimed: str = "") -> Target:
    """Where one sees that the answer is no: the finding that it is about, the place asked for, or where it would be."""
    finding, place = _first(asked, FINDINGS), _first(asked, _LOCATED)
    if finding is None or finding.term is None:
        alone = place is not None and all(u.key == place.key or u.group in _POSITIONS for u in content(asked))
        if alone and _CONTAINS.search(question):
            return Target(None, "the organ that the question names is not in the image")
        if place is not None:
            return Target(_phrase(place, asked), "the organ that the question names")
        thing = _thing(question, asked)
        if thing and asked_noun(question) is not None:
            return Target(None, "what the question asks for is not there, and the rules know no place for it")
        return _named(asked) or thing or _part(asked)
    if _is_spoken_of(question, finding) and (place is None or asked_noun(question) is None):
        side = _side(finding, asked)
        return Target(f"{side} {_name(finding.term)}".strip(), "the finding that the question speaks of")
    if place is not None:
        return Target(_phrase(place, asked), "where the question looks for a finding that is not there")
    organ = vocabulary.terms.get(finding.term.organ)
    if organ is not None:
        name = _sided(organ.en[0], asked) if organ.paired else organ.en[0]
        return Target(name, "the organ that a finding which is not there would be in")
    part = _first(asked, ("part", "category"))
    if part is not None and part.term is not None:
        return Target(_as_written(part), "where the question looks for a finding that is not there")
    claim = _claimed_place(finding, claimed, language, vocabulary)
    if claim:
        return Target(claim, "where the response says that a finding is which is not there")
    return Target(None, "the finding is not there, and could be anywhere")


def _is_spoken_of(question: str, finding: Unit) -> bool:
    """Whether a finding is known to be there: "the mass" of "Is the mass enhancing?", which asks for no mass."""
    if not _DEFINITE.search(question[: finding.start]):
        return False
    noun = asked_noun(question)
    return noun is None or not noun.start("noun") <= finding.start < noun.end("noun")


def _claimed_place(finding: Unit, claimed: str, language: str, vocabulary: Vocabulary) -> str:
    """Where a text says that a finding is; "" where it does not say."""
    clauses = read_clauses(claimed, language, vocabulary)
    leading = {clause.sentence for clause in clauses if clause.lead == "yes"}
    for clause in clauses:
        named = clause.sentence in leading or any(unit.means(finding) for unit in clause.units)
        place = _first(clause.units, _LOCATED)
        if named and place is not None and not any(unit.role in ("negator", "blur") for unit in clause.units):
            return _phrase(place, clause.units)
    return ""


def _open(asked: tuple[Unit, ...], told: tuple[Unit, ...], answered: tuple[Unit, ...]) -> Target:
    if any(unit.key == "0" for unit in told):
        return Target(None, "the ground truth says that there is none")
    for units, groups, reason in (
        (told, FINDINGS, "the finding that the ground truth names"),
        (asked, ("finding",), "the finding that the question names"),
        (told, _LOCATED, "the organ that the ground truth names"),
        (asked, _LOCATED, "the organ that the question names"),
        (() if _named(told) else asked, ("device",), "the device that the question names"),
        (answered, (*FINDINGS, *_LOCATED), "what the answer names"),
    ):
        unit = _first(units, groups)
        if unit is not None and unit.term is not None:
            phrase = _phrase(unit, units) if _side(unit, units) else _sided(_name(unit.term), told)
            return Target(phrase, reason)
    return _part((*told, *asked))


def _part(asked: tuple[Unit, ...]) -> Target:
    part = _first(asked, ("part",))
    if part is not None and part.term is not None:
        return Target(_as_written(part), "the part of the body that the question names")
    return _named(asked) or Target(None, "neither question nor answer names a part of the image")


def _named(asked: tuple[Unit, ...]) -> Target | None:
    name = next((unit for unit in asked if unit.term is None and unit.role == "word" and len(unit.words) > 1), None)
    if name is None or not name.key.isascii():
        return None
    return Target(_sided(name.key, asked), "the fixed name that the question or the ground truth has")


def _thing(question: str, asked: tuple[Unit, ...]) -> Target | None:
    thing = named_thing(question, asked)
    return Target(thing, "what the question asks for, in its own words") if thing else None


def _first(units: tuple[Unit, ...], groups: Iterable[str]) -> Unit | None:
    found = (unit for unit in units if unit.term and unit.group in groups)
    return next((unit for unit in found if unit.group != "portion" or (unit.term and unit.term.region)), None)


def _as_written(unit: Unit) -> str:
    """A unit's English noun as the text has it ("skull"), else as the vocabulary writes it."""
    assert unit.term is not None
    (first, *others) = unit.words
    return first if first in unit.term.en and not others else _name(unit.term)


def _side(unit: Unit, units: tuple[Unit, ...]) -> str:
    """The side, and upper or lower, that stand before a unit; "" for none."""
    words: list[str] = []
    for other in reversed([u for u in units if u.end <= unit.start]):
        if other.term is None or other.key not in _POSITION_WORDS:
            break
        words.insert(0, other.term.en[0])
    return " ".join(words)


def _phrase(unit: Unit, units: tuple[Unit, ...]) -> str:
    """A unit's English name, with the side that the text gives it."""
    assert unit.term is not None
    side = _side(unit, units)
    name = _name(unit.term)
    # A lead "in the right ventricle" is on no side of the body for that.
    chambers = {side for side, part in pairwise(units) if unit.group == "device" and part.key in _CHAMBERS}
    return f"{side} {name}" if side else _sided(name, tuple(one for one in units if one not in chambers))


def _sided(name: str, units: tuple[Unit, ...]) -> str:
    """A name with the side of the text, where it gives exactly one."""
    sides = {unit.term.en[0] for unit in units if unit.group == "side" and unit.term}
    return f"{sides.pop()} {name}" if len(sides) == 1 else name


def _name(term: Term) -> str:
    return term.en[0] if term.en[0].isupper() else term.en[0].lower()
