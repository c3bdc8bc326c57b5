"""Turns an English clause around with as few words as grammar allows: a negation goes in, or comes out."""

import re

from .text import tokens
from .units import read_units
from .vocabulary import Vocabulary

_ADVERBS = r"((?:\s+(?:\w+ly|also|still|indeed|actually))*)"
_COUNTED = (
    r"(?=(?:the|this|these|\d+|one|two|three|four|five|six|multiple|several|many|numerous|both|all|only|exactly"
    r"|at (?:least|most)|(?:more|less|fewer) than)\b)"
)
_QUANTIFIER = re.compile(
    r"\b(?:all|both|each|every\w*|any\w*|some|something|several|multiple|numerous|many|most|few|either|only"
    r"|at (?:least|most)|(?:more|less|fewer) than)\b",
    re.IGNORECASE,
)
"""Before a negation these say something else than denied: "Some ribs are not broken"."""
_SHOWING = (
    "show|contain|include|demonstrate|reveal|display|depict|exhibit|indicate|suggest|present|feature|involve|represent"
    "|confirm|support|have|use|need|require|cause|affect|compress|belong|exist|lie|extend|appear|seem|look|correspond"
    "|match|cover|provide|help|allow|enhance|carry|constitute|occupy|perform|produce|communicate|cross|come|fill"
)
_THIRD = {verb: verb[:-1] + "ies" if verb.endswith("ry") else verb + "s" for verb in _SHOWING.split("|")} | {
    "have": "has", "compress": "compresses", "match": "matches", "cross": "crosses"
}  # fmt: skip
_BASE = {third: verb for verb, third in _THIRD.items()}
_AUXILIARIES = "is|are|was|were|can|could|may|might|will|would|should|must|has been|have been|had been"
_THERE_IS = re.compile(
    rf"\b(there\s+(?:is|are|was|were|exists?|(?:appears?|seems?)\s+to\s+be)){_ADVERBS}\s+"
    rf"(?:{_COUNTED}|(?:(?:an?|any|some)\s+)?)",
    re.IGNORECASE,
)
_SHOWS_A = re.compile(
    rf"\b({'|'.join((*_THIRD, *_BASE))})\s+"
    r"(?:an?\s+(?!healthy|normal)|any\s+|some\s+|(?=(?:evidence|signs?|indications?)\b))",
    re.IGNORECASE,
)
_EMPHATIC = re.compile(rf"\b(do|does|did)\s+({'|'.join(_THIRD)})\b", re.IGNORECASE)
_AUXILIARY = re.compile(rf"\b(?:{_AUXILIARIES})\b", re.IGNORECASE)
_VERB = re.compile(rf"\b({'|'.join((*_THIRD, *_BASE))})\b(?=\s)", re.IGNORECASE)
_TWO_VERBS = re.compile(
    rf"\s+and\s+(?:\w+ly\s+)?(?:{'|'.join(_BASE)}|{_AUXILIARIES}|does|do|without|with no)\b",
    re.IGNORECASE,
)
_CONTRACTED = re.compile(
    r"\b(is|are|was|were|has|have|had|could|would|should|does|do|did)n['’]t\b|\bcannot\b|\bcan['’]t\b", re.IGNORECASE
)
_DO_NOT = re.compile(r"\b(does|do|did)\s+not\s+((?:\w+ly\s+)?)(\w+)(\s+any|\s+an?)?\b", re.IGNORECASE)
_NOT = re.compile(
    rf"\b((?:there\s+)?(?:{_AUXILIARIES}|has|have|had)){_ADVERBS}\s+not\b(\s+any\b|\s+an?\b)?", re.IGNORECASE
)
_NO = re.compile(r"\bno\s+", re.IGNORECASE)
_PHRASE_END = re.compile(
    r"\s(?:in|on|of|at|within|along|around|near|is|are|was|were|seen|present|visible|noted|identified|to|with|from|that"
    r"|or|and|can|evident|observed|detected|involving|suggesting|compatible|consistent|related|belonging|associated|showing|which)\b|[,.;:()]",
    re.IGNORECASE,
)
_MASS_NOUN = re.compile(
    r"(?:ing|tion|ment|ness|ia|itis|osis|ema|sis|ity|ism|evidence|fluid|air|contrast|blood|fat|disease|damage|tissue"
    r"|effect|pathology|gas|bowel|stool|widespread)$"
)
_VOWEL_SOUND = re.compile(r"(?!uni|ute|ure|uri|eu|one\b|us\b)[aeiou]|h(?=our|onest)", re.IGNORECASE)
_SPOKEN = re.compile(r"(?:FLAIR|STIR|SPECT|HIDA|LASIX|NASH|RECIST)\b")
"""Acronyms that are said as words."""
_VOWEL_LETTER = re.compile(r"[AEFHILMNORSX](?:[A-Z0-9]|-|\b)")


def negate(clause: str) -> str | None:
    """A clause without a negation, negated; None where these rules do not know how."""
    negated = _negated(clause)
    if negated is None:
        return None
    same = next((i for i, (old, new) in enumerate(zip(clause, negated, strict=False)) if old != new), len(clause))
    return None if _QUANTIFIER.search(clause[:same]) else negated


def _negated(clause: str) -> str | None:
    if _TWO_VERBS.search(clause):
        return None
    match = _THERE_IS.search(clause)
    if match:
        counted = re.match(_COUNTED, clause[match.end() :], re.IGNORECASE)
        return _replace(clause, match, f"{match[1]}{match[2]} {'not' if counted else 'no'} ")
    emphatic = _EMPHATIC.search(clause)
    if emphatic:
        return _replace(clause, emphatic, f"{emphatic[1]} not {emphatic[2]}")
    shows, auxiliary, verb = _SHOWS_A.search(clause), _AUXILIARY.search(clause), _VERB.search(clause)
    places = [found.start() for found in (shows, auxiliary, verb) if found]
    if not places:
        return None
    if shows and shows.start() == min(places):
        return _replace(clause, shows, f"{shows[1]} no ")
    if auxiliary and auxiliary.start() == min(places):
        if auxiliary[0].lower() == "can":
            return _replace(clause, auxiliary, f"{auxiliary[0]}not")
        first, _, rest = auxiliary[0].partition(" ")
        return _replace(clause, auxiliary, f"{first} not {rest}".rstrip())
    assert verb is not None
    word = verb[0].lower()
    helper = f"does not {_BASE[word]}" if word in _BASE else f"do not {word}"
    return _replace(clause, verb, helper)


def affirm(clause: str, vocabulary: Vocabulary) -> str | None:
    """A clause with one negation, without it; None where these rules do not know how."""
    if _TWO_VERBS.search(clause):
        return None
    clause = _CONTRACTED.sub(lambda match: f"{match[1] or match[0][:3]} not", clause)
    match = _DO_NOT.search(clause)
    if match:
        return _affirm_do(clause, match, vocabulary)
    match = _NOT.search(clause)
    if match:
        named = match[3] or ""
        before = f"{match[1]}{match[2]}"
        if named.strip() == "any":
            return _replace(clause, match, _with_article(before, clause[match.end() :], vocabulary).rstrip())
        return _replace(clause, match, before + named)
    match = _NO.search(clause)
    if match:
        rest = clause[match.end() :]
        verb = clause[: match.start()].split()[-1:]
        many = bool(verb and verb[0].lower() in ("are", "were"))
        article = "" if many else article_for(rest, vocabulary)
        return _replace(clause, match, _as_cased(match[0], f"{article} " if article else "", rest), rest)
    if re.match(r"not\s", clause, re.IGNORECASE):
        bare = clause[4:].lstrip()
        return bare[:1].upper() + bare[1:] if clause[:1].isupper() else bare
    return None


def article_for(rest: str, vocabulary: Vocabulary) -> str:
    """The indefinite article for the noun phrase that a text begins with: "a", "an" or none."""
    end = _PHRASE_END.search(rest)
    phrase = rest[: end.start()] if end else rest
    words = tokens(phrase)
    if not words or words[-1].plural or re.match(r"(?:evidence|signs?|other)\b", phrase, re.IGNORECASE):
        return ""
    known = [unit.term for unit in read_units(phrase, "en", vocabulary) if unit.term]
    mass = known[-1].uncountable if known else _MASS_NOUN.search(words[-1].word)
    return "" if mass else indefinite(phrase)


def indefinite(phrase: str) -> str:
    """ "a" or "an", by the sound that a phrase begins with."""
    acronym = phrase[:2].isupper() or phrase[1:2] in ("-", "")
    vowel = _VOWEL_LETTER.match(phrase[:2]) if acronym else _VOWEL_SOUND.match(phrase)
    if _SPOKEN.match(phrase):
        return "a"
    return "an" if vowel or re.match(r"x-?ray", phrase, re.IGNORECASE) else "a"


def _affirm_do(clause: str, match: re.Match[str], vocabulary: Vocabulary) -> str | None:
    helper, adverb, verb, named = match[1].lower(), match[2], match[3].lower(), match[4] or ""
    if helper == "did":
        return None
    finite = verb if helper == "do" else _THIRD.get(verb) or third_person(verb)
    before = f"{adverb}{finite}"
    rest = clause[match.end() :]
    if named.strip() == "any":
        return _replace(clause, match, _with_article(before, rest, vocabulary).rstrip())
    return _replace(clause, match, before + named)


def third_person(verb: str) -> str:
    """The third person singular of a regular verb."""
    if verb.endswith(("s", "x", "ch", "sh", "o")):
        return verb + "es"
    return verb[:-1] + "ies" if verb.endswith("y") and verb[-2:-1] not in "aeiou" else verb + "s"


def lower_first(text: str) -> str:
    """The text with a small first letter, unless the word is an acronym."""
    return text if text[1:2].isupper() or text[1:2] in ("-", "") or text[:1].isdigit() else text[:1].lower() + text[1:]


def _with_article(before: str, rest: str, vocabulary: Vocabulary) -> str:
    article = article_for(rest.lstrip(), vocabulary)
    return f"{before} {article}" if article else before


def _as_cased(model: str, text: str, rest: str) -> str:
    """A text with the case of the one it replaces; without text, the case goes to what follows."""
    return text[:1].upper() + text[1:] if model[:1].isupper() else text


def _replace(clause: str, match: re.Match[str], text: str, rest: str | None = None) -> str:
    """The clause with a match replaced; a capital at its start is kept at its start."""
    after = clause[match.end() :] if rest is None else rest
    changed = clause[: match.start()] + text + after
    if clause[:1].isupper() and match.start() == 0:
        if text.strip():
            after_text = text.rstrip()
            gap = text[len(after_text) :]
            return after_text[:1].upper() + after_text[1:] + gap + after
        return changed[:1].upper() + changed[1:]
    return changed
