"""The vocabulary: what radiology calls the same, the opposite, and where a finding would be.

The data is in `vocabulary.yaml`, which explains its form.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import text_digest
from .text import is_word, tokens

_LISTS = frozenset({"en", "adj", "zh", "opposites", "implies"})
_TEXTS = frozenset({"region", "organ", "kin"})
_FLAGS = frozenset({"uncountable", "paired"})
_GROUP_FLAGS = frozenset({"exclusive", "complement"})
_GROUP_KEYS = _GROUP_FLAGS | {"ties"}
FINDINGS = frozenset({"finding", "device"})
"""Groups of what may be there or not."""


@dataclass(frozen=True)
class Term:
    """Something that radiology has a name for.

    Attributes:
        name: Unique.
        group: What kind of thing it is: "side", "organ", "finding".
        en, adj, zh: Ways to write it: English noun or adjective, English form before a noun, Chinese. The first
            is the one that rules write.
        region: Part of the body; "" where it can be anywhere.
        organ: Name of the organ's term that a finding would be in, or "".
        kin: Terms of one kin are neither opposites nor proofs of an error; "" for none.
        opposites: Names of the terms that may take its place; None: every term of the group and region.
        uncountable: Takes no article.
        paired: Has a plural that reads well.
        implies: Words that it states too.
        exclusive: Whether another term of the group answers a question differently.
        complement: Whether what is another term of the group is not this one.
        ties: Groups of which no term is exchanged beside this one.
    """

    name: str
    group: str
    en: tuple[str, ...] = ()
    adj: tuple[str, ...] = ()
    zh: tuple[str, ...] = ()
    region: str = ""
    organ: str = ""
    kin: str = ""
    opposites: tuple[str, ...] | None = None
    uncountable: bool = False
    paired: bool = False
    implies: tuple[str, ...] = ()
    exclusive: bool = False
    complement: bool = False
    ties: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Terms by name, and by the words that write them.

    Attributes:
        terms: By name.
        forms: By first word, the forms that begin with it, longest first: all words, and the term's name.
        fixed: By first word, names of several words of which no part is exchanged.
    """

    terms: Mapping[str, Term]
    forms: Mapping[str, tuple[tuple[tuple[str, ...], str], ...]]
    fixed: Mapping[str, tuple[tuple[str, ...], ...]]

    def alternatives(self, term: Term) -> tuple[Term, ...]:
        """Terms that may take a term's place: another answer of the same sort, plausible at the same place."""
        if term.opposites is not None:
            return tuple(self.terms[name] for name in term.opposites)
        peers = (other for other in self.terms.values() if other.group == term.group and other.name != term.name)
        return tuple(other for other in peers if other.region == term.region and not akin(term, other))


def akin(one: Term, other: Term) -> bool:
    """Whether two terms are too near for one to prove the other wrong."""
    return bool(one.kin) and one.kin == other.kin


@lru_cache(maxsize=16)
def load_vocabulary(path: Path | None = None) -> Vocabulary:
    """Reads the built-in vocabulary, and a file of the user's own over it.

    Args:
        path: A YAML file of the same form; its forms are added to a term of the same name, its other keys replace.

    Raises:
        UserError: The file cannot be read, has an unknown key or a value of the wrong type, or names a term
            that does not exist.
    """
    builtin = files(__package__) / "vocabulary.yaml"
    data = _read(builtin.read_text(encoding="utf-8"), "vocabulary.yaml")
    terms, fixed = _parse(data, "vocabulary.yaml", {}), _fixed(data, "vocabulary.yaml")
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"the vocabulary {path} cannot be read: {error}") from error
        data = _read(text, str(path))
        terms, fixed = _parse(data, str(path), terms), fixed | _fixed(data, str(path))
    return Vocabulary(terms, _index(terms), _by_first(fixed))


def _read(text: str, name: str) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.load(text, yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UserError(f"the vocabulary {name} is not readable YAML: {error}") from error
    if not isinstance(data, dict) or not data or set(data) - {"groups", "fixed"}:
        raise UserError(f"the vocabulary {name} must hold groups by name, or fixed, or both, and nothing else")
    return data


def _fixed(data: Mapping[str, Any], name: str) -> frozenset[tuple[str, ...]]:
    """The words of every fixed name."""
    lists = data.get("fixed", {})
    if not isinstance(lists, dict) or set(lists) - {"en", "zh"}:
        raise UserError(f"{name}: fixed must hold lists of names under en and zh, found {lists!r}")
    phrases = [phrase for key, values in lists.items() for phrase in _texts(values, f"{name}: fixed.{key}")]
    return frozenset(_words(phrase) for phrase in phrases)


def _parse(data: Mapping[str, Any], name: str, base: Mapping[str, Term]) -> dict[str, Term]:
    terms = dict(base)
    groups = data.get("groups", {})
    if not isinstance(groups, dict):
        raise UserError(f"{name}: groups must be a mapping, found {groups!r}")
    for group, body in groups.items():
        place = f"{name}: groups.{group}"
        known = isinstance(body, dict) and not set(body) - _GROUP_KEYS - {"terms"}
        if not known or not isinstance(body.get("terms"), dict):
            raise UserError(f"{place} must hold terms, and may hold {', '.join(sorted(_GROUP_KEYS))}")
        flags: dict[str, Any] = {k: _flag(body[k], f"{place}.{k}") for k in body if k in _GROUP_FLAGS}
        if "ties" in body:
            flags["ties"] = _texts(body["ties"], f"{place}.ties")
        for title, values in body["terms"].items():
            term = _term(str(title), str(group), values, f"{place}.terms.{title}", terms.get(str(title)))
            terms[term.name] = replace(term, **flags) if flags else _as_group(term, terms)
    for term in terms.values():
        for other in (*(term.opposites or ()), *([term.organ] if term.organ else [])):
            if other not in terms:
                raise UserError(f"{name}: the term {term.name} names {other!r}, which is no term; add it")
    return terms


def _term(title: str, group: str, values: Any, place: str, known: Term | None) -> Term:
    if not isinstance(values, dict) or set(values) - _LISTS - _TEXTS - _FLAGS:
        allowed = ", ".join(sorted(_LISTS | _TEXTS | _FLAGS))
        raise UserError(f"{place} must be a mapping with some of these keys: {allowed}; found {values!r}")
    if known is not None and known.group != group:
        raise UserError(f"{place} is a term of the group {known.group} already; use another name")
    read: dict[str, Any] = {}
    for key, value in values.items():
        if key in _LISTS:
            read[key] = _texts(value, f"{place}.{key}")
        elif key in _FLAGS:
            read[key] = _flag(value, f"{place}.{key}")
        elif isinstance(value, str):
            read[key] = value
        else:
            raise UserError(f"{place}.{key} must be a text, found {value!r}")
    if known is None:
        return Term(title, group, **read)
    for key in ("en", "adj", "zh"):
        if key in read:
            read[key] = tuple(dict.fromkeys((*vars(known)[key], *read[key])))
    return replace(known, **read)


def _as_group(term: Term, terms: Mapping[str, Term]) -> Term:
    """A term with the flags of its group, where the file that adds it does not repeat them."""
    for other in terms.values():
        if other.group == term.group:
            return replace(term, exclusive=other.exclusive, complement=other.complement, ties=other.ties)
    return term


def _flag(value: object, place: str) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{place} must be true or false, found {value!r}")
    return value


def _texts(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and _words(item) for item in value):
        raise UserError(f"{place} must be a list of texts, found {value!r}; quote yes, no and on")
    return tuple(value)


def _words(phrase: str) -> tuple[str, ...]:
    return tuple(token.word for token in tokens(phrase) if is_word(token))


def _by_first(phrases: frozenset[tuple[str, ...]]) -> dict[str, tuple[tuple[str, ...], ...]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for words in sorted(phrases):
        found.setdefault(words[0], []).append(words)
    return {first: tuple(names) for first, names in found.items()}


def _index(terms: Mapping[str, Term]) -> dict[str, tuple[tuple[tuple[str, ...], str], ...]]:
    found: dict[str, dict[tuple[str, ...], str]] = {}
    for term in terms.values():
        for form in (*term.en, *term.adj, *term.zh):
            words = _words(form)
            found.setdefault(words[0], {}).setdefault(words, term.name)
    return {first: tuple(sorted(forms.items(), key=lambda item: -len(item[0]))) for first, forms in found.items()}


@lru_cache(maxsize=8)
def vocabulary_digest(file: str | None) -> str | None:
    """SHA-256 of the text of a vocabulary of one's own; None where there is none."""
    return text_digest(Path(file).read_text(encoding="utf-8")) if file else None
