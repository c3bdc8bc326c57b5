"""Questions of how large or how severe something is, answered by a word of a scale ("small") or by a measure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .grammar import GRAMMARS
from .plausible import explains
from .reading import Change, Picker, Reading, put, written
from .text import word_set
from .units import Clause, Unit, content, read_clauses, read_units
from .vocabulary import Term, Vocabulary, akin

_ASKS = {
    "en": re.compile(
        r"\bhow\s+(?:large|big|small|wide|long|thick|tall|deep|severe|bad|extensive)\b|\b(?:what|which)\s+size\b"
        r"|\b(?:what|describe)\b.*\b(?:size|severity|diameter|dimensions?|length|width|thickness|degree)\b",
        re.IGNORECASE,
    ),
    "zh": re.compile("多大|大小|多长|多宽|多厚|直径|严重程度|多严重|程度"),
}
_NUMBER = r"\d+(?:[.,]\d{1,2})?(?![\d.,]*\d)"
_LENGTH = r"mm|millimet(?:er|re)s?|cm|centimet(?:er|re)s?|毫米|厘米|公分"
_MEASURE = re.compile(
    rf"(?<![\w.,]){_NUMBER}(?:\s*(?:{_LENGTH})?\s*(?:x|×|by|\*)\s*{_NUMBER}){{0,2}}[\s-]*({_LENGTH})(?![a-z])",
    re.IGNORECASE,
)
_MEASURE_ZH = re.compile(_MEASURE.pattern.replace(r"(?<![\w.,])", r"(?<![\d.,])", 1), re.IGNORECASE)
_EACH = re.compile(_NUMBER)
_LIMITS = re.compile(
    r"\b(?:less|more|greater|over|under|below|above|exceed\w*|least|most|up|between|to|from|per|either|or|not|half"
    r"|twice|times|very|extremely|prior|increas\w*|decreas\w*|changed?)\b|[<>≤≥~±/]|小于|大于|超过|不足|以上|以下|至|到|或",
    re.IGNORECASE,
)
"""What makes a size a bound, a range or a comparison."""
_NO_SIZE = re.compile("大小|大约|多大")
"""Chinese words of which no part tells a size."""
_GROUPS = frozenset({"size", "severity"})
_POSITIONS = frozenset({"side", "laterality", "vertical", "depth"})
_NOUNS = frozenset({"organ", "lobe", "portion", "part"})
_PLACES = _POSITIONS | _NOUNS | {"modality", "projection", "plane"}
_MEASURING = word_set(
    "size diameter dimension length width thickness severity degree grade extent approximately about around roughly"
    " estimated maximum maximal greatest longest axis quite relatively fairly overall 直 径 约 长 宽 厚 度 程 很 较 比"
)
_VOWELS = ("8", "11", "18")
"""Numbers after "an"."""
_NEAR = 1.2
"""Measures of which none is so many times the other are too near for one to prove the other wrong."""
_FACTORS = (1 / 3, 1 / 2, 2.0, 3.0)
_CLEARLY = 1.5
_LONGEST = 300.0
"""Millimetres; no wrong measure is made longer."""


@dataclass(frozen=True)
class _Place:
    """Where a text tells a size: by a term, or by one length to three, in millimetres."""

    start: int
    end: int
    unit: Unit | None = None
    lengths: tuple[float, ...] = ()

    @property
    def term(self) -> Term | None:
        return self.unit.term if self.unit else None


class ScaleQuestion:
    """A question of how large or how severe something is.

    Args:
        question: The question.
        truth: A text that tells one size, and nothing else.
        language: "en" or "zh".
        vocabulary: The terms.

    Raises:
        ValueError: The question asks for no size, or the truth tells none that the rules can read.
    """

    closed = False

    def __init__(self, question: str, truth: str, language: str, vocabulary: Vocabulary) -> None:
        self._language = language
        self._vocabulary = vocabulary
        self._asked = content(read_units(question, language, vocabulary))
        self._things = [u for u in self._asked if u.words[0] not in _MEASURING and u.group not in _GROUPS]
        self._truth = truth
        places, doubt = self._told(truth) if _ASKS[language].search(question) else ([], "")
        if len(places) != 1 or doubt:
            raise ValueError("no question of a size")
        self._right = places[0]

    def read(self, text: str) -> Reading:
        """Whether a text tells the size of the ground truth, or plainly another one."""
        places, doubt = self._told(text)
        if doubt or not places:
            return Reading(None, "", doubt or "the response tells no size that the rules can read")
        first, says = places[0], text[places[0].start : places[0].end]
        if any(_key(place) != _key(first) for place in places):
            return Reading(None, "", "the response tells several sizes", disputed=True)
        correct = _same(first, self._right)
        if correct is None:
            return Reading(None, "", f"the rules cannot compare {says!r} with {self._truth!r}")
        return Reading(correct, says, f"the response says {says!r}")

    def states(self, text: str) -> bool:
        """Whether a text tells the size of the ground truth."""
        return self.read(text).correct is True

    def turn(self, text: str, pick: Picker) -> list[Change] | str:
        """Puts an opposite, or a clearly other measure, in the place of the right size; the right one for a wrong."""
        if explains(text):
            return "the response gives reasons for its answer"
        places, _ = self._told(text)
        if self.read(text).correct:
            ways = list(self._other(text, places))
            return pick(ways) if ways else "the vocabulary has no opposite for the size of the ground truth"
        term = self._right.term
        if term is None:
            measure = self._truth[self._right.start : self._right.end]
            forms: list[str | None] = [measure if _fits(text, place, measure) else None for place in places]
        else:
            forms = [written(term, place.unit, text, self._language) if place.unit else None for place in places]
        changes = [put(text, p.start, p.end, form) for p, form in zip(places, forms, strict=True) if form]
        return changes if len(changes) == len(places) else "the ground truth does not fit the grammar of the response"

    def _other(self, text: str, places: list[_Place]) -> Iterator[list[Change]]:
        """Ways to tell another size in all places."""
        term = self._right.term
        if term is None:
            for factor in _FACTORS:
                forms = [_scaled(text[place.start : place.end], factor) for place in places]
                if all(form and _fits(text, place, form) for form, place in zip(forms, places, strict=True)):
                    yield [put(text, p.start, p.end, f) for p, f in zip(places, forms, strict=True)]
            return
        scale = {place.term.group for place in (self._right, *places) if place.term}
        sized = any(unit.key == "size" or unit.key in ("large", "big", "small") for unit in self._asked)
        others = [t for t in self._vocabulary.alternatives(term) if t.group in scale]
        if sized and term.group == "severity":
            others = [self._vocabulary.terms["small"], self._vocabulary.terms["large"]]
        for other in others:
            words = [written(other, place.unit, text, self._language) for place in places if place.unit]
            if all(words):
                yield [put(text, p.start, p.end, word) for p, word in zip(places, words, strict=True) if word]

    def _told(self, text: str) -> tuple[list[_Place], str]:
        """Where a text tells a size, and why that is in doubt, or ""."""
        hidden = _NO_SIZE.sub(lambda match: " " * len(match[0]), text)
        found: list[_Place] = []
        for match in (_MEASURE_ZH if self._language == "zh" else _MEASURE).finditer(text):
            found.append(_Place(*match.span(), lengths=_millimetres(match[0], match[1])))
            hidden = hidden[: match.start()] + "q" * len(match[0]) + hidden[match.end() :]
        measures = {place.start for place in found}
        for clause in read_clauses(hidden, self._language, self._vocabulary):
            terms = [unit for unit in clause.units if unit.group in _GROUPS and not self._asks_again(unit, text)]
            if not terms and not any(unit.start in measures for unit in clause.units):
                continue
            doubt = self._doubt(text[clause.start : clause.end], clause, terms, measures)
            if doubt:
                return [], doubt
            found += [_Place(unit.start, unit.end, unit) for unit in terms]
        return sorted(found, key=lambda place: place.start), ""

    def _asks_again(self, unit: Unit, text: str) -> bool:
        """Whether "large" is the question's own, as in "How large it is: ..."."""
        return bool(re.search(r"\bhow\s+$", text[: unit.start], re.IGNORECASE))

    def _doubt(self, words: str, clause: Clause, terms: list[Unit], measures: set[int]) -> str:
        if clause.lead or any(unit.role in ("negator", "blur", "veto", "guess") for unit in clause.units):
            return f"the response leaves open whether {words!r}"
        if any(pattern.search(words) for pattern in (_LIMITS, GRAMMARS[self._language].comparison)):
            return f"{words!r} tells a bound or a comparison"
        for unit in content(clause.units):
            known = unit in terms or unit.start in measures or unit.group in _PLACES or unit.words[0] in _MEASURING
            if not known and not self._is_asked(unit):
                return f"{words!r} says more than the rules can read"
        elsewhere = any(u.group in _NOUNS and not self._is_asked(u) for u in clause.units)
        named = any(u.means(thing) or thing.means(u) for thing in self._things for u in clause.units)
        if (elsewhere and not named) or any(self._describes_another(clause, unit) for unit in terms):
            return f"{words!r} tells the size of something else"
        return ""

    def _describes_another(self, clause: Clause, term: Unit) -> bool:
        """Whether a noun follows a size that was not asked for: "the large left lung"."""
        for unit in (unit for unit in clause.units if unit.start >= term.end):
            if unit.role not in ("word", "term") or self._is_asked(unit) or unit.words[0] in _MEASURING:
                return False
            if unit.group not in _POSITIONS:
                return True
        return False

    def _is_asked(self, unit: Unit) -> bool:
        return any(unit.means(asked) or asked.means(unit) for asked in self._asked)


def _key(place: _Place) -> object:
    return place.term.name if place.term else place.lengths


def _same(one: _Place, right: _Place) -> bool | None:
    """Whether two sizes are the same; None where they cannot be compared, or are too near."""
    if one.term and right.term:
        if one.term.name == right.term.name:
            return True
        alike = one.term.group == right.term.group or "moderate" in (one.term.name, right.term.name)
        return None if akin(one.term, right.term) or not alike else False
    if len(one.lengths) != len(right.lengths):
        return None
    ratios = [max(a, b) / min(a, b) for a, b in zip(sorted(one.lengths), sorted(right.lengths), strict=True)]
    if max(ratios) < 1.001:
        return True
    return False if max(ratios) >= _NEAR else None


def _millimetres(words: str, unit: str) -> tuple[float, ...]:
    """The lengths of a measure, each of them more than nothing."""
    factor = 1.0 if unit.lower().startswith("mm") or unit.lower().startswith("mil") or unit == "毫米" else 10.0
    return tuple(max(float(number.replace(",", ".")) * factor, 1e-3) for number in _EACH.findall(words))


def _scaled(measure: str, factor: float) -> str:
    """A measure with all its numbers so many times as large, in as many digits; "" where it is not clearly another."""
    numbers = _EACH.findall(measure)
    places = [len(number.replace(",", ".").partition(".")[2]) for number in numbers]
    values = [float(number.replace(",", ".")) for number in numbers]
    new = [round(value * factor, digits) for value, digits in zip(values, places, strict=True)]
    if any(not b or not a or max(a, b) / min(a, b) < _CLEARLY for a, b in zip(values, new, strict=True)):
        return ""
    match = _MEASURE_ZH.fullmatch(measure)
    if match is None or max(_millimetres(measure, match[1])) * factor > _LONGEST:
        return ""
    written_out = iter(f"{value:.{digits}f}" for value, digits in zip(new, places, strict=True))
    return _EACH.sub(lambda _: next(written_out), measure)


def _fits(text: str, place: _Place, measure: str) -> bool:
    """Whether a measure can follow the article before it."""
    article = re.search(r"\ban?\s+$", text[: place.start], re.IGNORECASE)
    return not (article and measure.startswith(_VOWELS))
