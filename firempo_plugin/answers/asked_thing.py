"""What a question asks for or about, in its own words: "foo bar" of "Is there any foo bar in the image?"."""

import re

from .text import word_set
from .units import Unit

_MOST_NOUN = 4
_DESCRIBING = word_set("side vertical laterality depth size severity amount course extent")
_END = (
    r"(?=\s+(?:in|on|at|of|from|within|around|near|with|to|that|which|who|by|for|and|or|as|than|be|is|are|present"
    r"|visible|seen|shown|observed|visuali[sz]ed|noted|identified|detected|depicted|pictured|displayed|evident|placed"
    r"|able|clearly|easily|here|anywhere|besides|being|into|along|through|adjacent|above|below|across|against)\b"
    r"|\W*$|\s*[,;:(/])"
)
_ASKS_FOR = re.compile(
    r"\W*(?:(?:is|are|was|were)\s+there|(?:do|can|could|did)\s+(?:you|we|i)\s+\w+"
    r"|(?:does|do|did)\s+(?:the|this|these|that)\s+(?:[\w-]+\s+){1,3}?"
    r"(?:show|contain|include|have|display|depict|demonstrate|reveal|exhibit)s?"
    r"|(?:is|are|was|were|can|could)(?=\s.*\b(?:present|visible|seen|shown|observed|visuali[sz]ed|noted|identified"
    r"|detected|depicted|pictured|evident)\b))"
    r"\s+(?:(?:any|an?|some|the|obvious|(?:presence|evidence|signs?)\s+of)\s+)*(?P<noun>\w.*?)" + _END,
    re.IGNORECASE,
)
"""Questions whether something is there, and what."""
_OF_A_THING = re.compile(
    r"\W*(?:is|are|was|were)\s+the\s+(?P<noun>(?:[\w-]+\s+){0,3}?[\w-]+)\s+(?:\w+ly\s+|also\s+)?"
    r"(?![\w-]*(?:ment|tion|sion)\b)[\w-]+"
    r"(?=\s+(?:in|on|at|within|by|from|than|here)\b|\W*$)",
    re.IGNORECASE,
)
"""Questions what a thing is like: "Is the celiac trunk patent?"."""
_LEADING = word_set("increased decreased enhanced widened dilated thickened enlarged")
_ABSTRACT = re.compile(
    r"^(?:abnormal\w*|normal|finding|sign|problem|issue|difference|change|alteration|patholog\w+|disease|process"
    r"|injury|damage|anything|something|organ|tissue|structure|system|condition|etiology|cause|reason|shift|effect"
    r"|image|picture|scan|film|study|x-?ray|radiograph|view|patient|symptom|history|abnormality|no|not|other|more"
    r"|same|evidence|content|both|all|possible|adequate|good|any|one|two|it|this|these|they|high|low|brian|anatomy)s?$",
    re.IGNORECASE,
)
"""Words of which no thing's name has any."""
_NO_THING = word_set(
    "air fluid blood gas water contrast signal intensity density level levels atrophy loss diffusion region area side"
    " part parts midline deviation wall inflammation congestion inspiration expiration shape size contour outline"
)
_DOING = re.compile(r"(?:ing|ment|tion|sion|ance|ence|ity|ness|ectomy|ostomy|scopy|trophy|ed)$", re.IGNORECASE)
"""How nouns end that name no thing which one could point at."""


def asked_noun(question: str) -> re.Match[str] | None:
    """What an English question asks for: its group `noun` is "foo bar" of "Is there any foo bar in the image?"."""
    return _ASKS_FOR.match(question) if question.isascii() else None


def named_thing(question: str, asked: tuple[Unit, ...]) -> str:
    """What a question plainly names, in its own words, where the vocabulary lacks them; "" where it is no thing."""
    there = asked_noun(question)
    match = there or _OF_A_THING.match(question)
    if match is None:
        return ""
    words = match["noun"].split()
    while words and words[0].lower() in _LEADING:
        words = words[1:]
    inside = [unit for unit in asked if match.start("noun") <= unit.start < match.end("noun")]
    if any(u.term and u.group not in _DESCRIBING for u in inside) or all(u.group in _DESCRIBING for u in inside):
        return ""
    if question[match.end() :].startswith(" of "):
        return ""
    if not 0 < len(words) <= _MOST_NOUN or any(not _is_plain(word) for word in words):
        return ""
    if words[-1].lower() in _NO_THING or _DOING.search(words[-1]):
        return ""
    return " ".join(word if word.isupper() else word.lower() for word in words)


def _is_plain(word: str) -> bool:
    return bool(re.fullmatch(r"[a-z][a-z0-9-]*", word, re.IGNORECASE)) and not _ABSTRACT.search(word)
