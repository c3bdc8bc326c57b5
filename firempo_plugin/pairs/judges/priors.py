"""References to earlier examinations in a report, which one image cannot show, and the report without them.

After Rad-DPO (arXiv 2406.06496). The rules take away what they can take away whole, and leave every report in which a
reference would remain; a model's rewriting is held to the same contract.
"""

import re
from collections import Counter

from ...answers.english import indefinite
from ...answers.text import sentences, word_set
from ...endpoint.json_reply import ReplyError
from .wording import words_of

_STUDY = (
    r"(?:stud(?:y|ies)|exam(?:ination)?s?|radiographs?|radiography|films?|x-?rays?|images?|imaging|cts?|scans?|mris?"
    r"|cxrs?|reports?|priors?)"
)
_DATE = r"(?:x{3,}|_{2,}|\d+(?:[/.-]\d+)*(?: years? ago)?)"
_EARLIER = (
    rf"(?:(?:the|a|an|his|her|multiple|several|most|more) )*(?:recent |last |old |remote )?"
    rf"(?:(?:prior|previous|preceding|earlier|comparison)s?(?: (?:[\w/-]+ ){{0,3}}?{_STUDY}\b)?|priors)"
    rf"(?: (?:of|from|dated|on) {_DATE}(?:,? {_DATE})*)?(?: \d+ \w+ ago)?"
)
_TAIL = (
    rf"(?: (?:(?:as|when) )?(?:compared (?:to|with)|in comparison (?:to|with)|from|since|to|with|relative to)"
    rf" (?:{_EARLIER}|{_DATE}(?:,? {_DATE})*))"
)
_HOW = r"(?:(?:grossly|largely|essentially|relatively|overall|otherwise|also|roughly|not significantly|appearing) )?"
_STATE = (
    rf"{_HOW}(?:(?:unchanged|stable)(?: and (?:unchanged|stable))?"
    rf"(?: in (?:size and appearance|size|appearance|position)| appearance)?"
    rf"|similar(?: in (?:size|appearance))?(?={_TAIL}))"
)
_NO_CHANGE = r"no (?:(?:significant|appreciable|definite|substantial|interval|other|acute) )*changes?"
_OTHER_SIDE = r"(?! (?:to|with|than) (?:the )?(?:left|right|contralateral|opposite|other))"
REFERENCE = re.compile(
    rf"\b(?:(?:prior|previous|preceding|earlier|old|recent|last|comparison) (?:[\w/-]+ ){{0,3}}?{_STUDY}\b"
    r"|(?:from|to|with|since|than|on|the) (?:the )?(?:priors?|previous|comparison)\b(?=\W*(?:$|[,.;)]))"
    rf"|compar(?:ed|isons?|ing|e)\b{_OTHER_SIDE}|worse(?:n\w*)?\b{_OTHER_SIDE}|improv(?:ed|ement|ing|es)\b"
    r"|interval(?:ly)?\b|interim\b|unchanged\b|stable\b|stability\b|again\b|since\b|previously\b|dating back"
    r"|re-?demonstrat\w*|re-?identified|persist\w*|remain(?:s|ed)?\b|continued\b|continues?\b|progress(?:ed|ion)\b"
    r"|new(?:ly)?\b|now\b|no longer\b|similar to\b|resol(?:ved|ving|ution of)\b"
    r"|(?:has|have|had) (?:\w+ )?(?:increased|decreased|improved|worsened|resolved|progressed|developed|cleared"
    r"|enlarged|changed|x{3,})|(?:slightly|mildly|markedly|now|been) (?:increased|decreased) (?:as|from|since|in)"
    r"|(?:no|without|any) (?:\w+ ){0,2}change\b|not (?:\w+ )?(?:changed|x{3,})"
    r"|has been (?:\w+ )?(?:remov|plac|insert|reposition|retract|exchang|advanc|withdrawn|extubat)\w*"
    r"|(?:removal|placement|clearing|development) of\b)",
    re.IGNORECASE,
)
"""Words that only one who has seen an earlier examination can write; also some that others write, to be safe."""
_WHOLE = re.compile(
    rf"(?:(?:otherwise|overall|there (?:is|has been|are),?) )*{_NO_CHANGE}{_TAIL}?"
    rf"|(?:this|these|it|they|findings|(?:the )?appearances?)(?: findings?)?(?: is| are| appears?)? {_STATE}{_TAIL}?"
    rf"|(?:stable|unchanged)(?: appearance of the)? (?:chest|exam(?:ination)?|appearance)(?: {_STUDY})?{_TAIL}?"
    rf"|comparison(?: is made)? (?:to|with) {_EARLIER}|comparison:.*",
    re.IGNORECASE,
)
"""A sentence that says nothing else."""
_ADJECTIVE = r"(?:stable|unchanged|persistent|redemonstrated|continued)(?: and (?:stable|unchanged))?"
_NO_NOUN = word_set("is are was were be been appears appear remains remain and or with not both all still also")
_AFTER_NOUN = "".join(rf"(?<!\b{word})" for word in sorted(_NO_NOUN)) + "(?<!ically)"
_HOW_IT_IS = (
    r"(?:(?:grossly|mildly|moderately|severely|markedly|top|upper|borderline|low|normal|within|unremarkable|enlarged|clear"
    r"|prominent|tortuous|compatible|consistent|suggestive)\b)"
)
_OF = r"(?: (?:appearance|position) of(?: the)?| appearing)?"
_FINITE = "".join(rf"(?<!\b{word} )" for word in ("not", "to", "does", "do", "did", "may", "can", "will", "should"))
_LESS_OR_MORE = r"(?!.*\b(?:increas|decreas|larger|smaller|more|less|greater|better|x{3}))"
_CUTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), new)
    for pattern, new in (
        (rf"^(?:(?:as |when )?compared (?:to|with)|in comparison (?:to|with)) {_EARLIER}, {_LESS_OR_MORE}", ""),
        (rf",? (?:and |but )?(?:which|that) (?:is|are|appears?) {_STATE}{_TAIL}?(?=\.*$)", ""),
        (r",? (?:which|that) (?:is|are) again (?:noted|seen)(?=\.*$)", ""),
        (rf",? (?:and|but) {_STATE}{_TAIL}?(?=\.*$)", ""),
        (rf", {_STATE}{_TAIL}?(?=\.*$)", ""),
        (rf",? without (?:(?:significant|interval|appreciable) )*change{_TAIL}?(?=\.*$)", ""),
        (rf" (?:is|appears|remains) {_STATE}{_TAIL}?(?=\.*$)", " is noted"),
        (rf" (?:are|appear|remain) {_STATE}{_TAIL}?(?=\.*$)", " are noted"),
        (rf"{_AFTER_NOUN} {_STATE}{_TAIL}?(?=\.*$)", ""),
        (rf" (?:stable|unchanged)(?: in size)? and (?={_HOW_IT_IS})", " "),
        (rf"^{_NO_CHANGE} in (?:the |an? )?(?!.*\bor\b)", ""),
        (r"^redemonstration of (?:the |an? )?", ""),
        (r"\b(?:once )?again ", ""),
        (r"\bredemonstrated(?=\.*$)", "noted"),
        (r"\bremains\b", "is"),
        (rf"{_FINITE}\bremain\b", "are"),
        (rf"^{_ADJECTIVE}{_OF} (?!(?:the )?(?:chest|exam|appearance|and)\b)", ""),
        (rf"(?<=\bthere is ){_ADJECTIVE}(?:,| appearing)? ", ""),
        (rf"(?<=\bthere are ){_ADJECTIVE}(?:,| appearing)? ", ""),
        (rf"(?<=\bthere is a ){_ADJECTIVE}(?:,| appearing)? ", ""),
        (rf"(?<=\bthere is an ){_ADJECTIVE}(?:,| appearing)? ", ""),
    )
)
"""What is taken out of a sentence, in turn, and the words that grammar then wants."""
_CLAUSE = re.compile(rf", (?:and )?{_ADJECTIVE} (?P<said>[^,.]*)(?=\.*$)", re.IGNORECASE)
_NUMBER = re.compile(r"\W*\d+[.)]\s+")
_ARTICLE = re.compile(r"\b(an?) (?=\w)", re.IGNORECASE)
_GRAMMAR = word_set("is are a an noted there")
_ABOUT = word_set(
    "heart cardiac cardiopulmonary mediastinum mediastinal cardiomediastinal cardio hilar hila hilum silhouette"
    " silhouettes contour contours pulmonary vasculature vascularity vascular osseous bony bones structures soft"
    " tissues lung lungs chest thorax thoracic"
)
"""Words that say what a sentence is about, and nothing of it."""
_SMALL = word_set("size shape configuration appearance position and the of in this these it overall both")
_BARE = _GRAMMAR | _ABOUT | _SMALL
_COMPARING = word_set(
    "prior priors previous previously preceding earlier recent most last comparison compared comparing compare interval"
    " interim unchanged stable stability again once redemonstration redemonstrated persistent persistently persists"
    " remain remains remained continued continues since similar significant significantly appreciable definite"
    " substantial change changes changed which that from with to than as when but study studies exam exams examination"
    " examinations radiograph radiographs film films x ray rays xray image images imaging ct scan scans mri cxr report"
    " dated on was were has have been grossly largely essentially relatively otherwise also roughly appearing appears"
    " appear seen made ago year years month months week weeks day days developed development now new newly no not"
    " without"
)
_DENYING = word_set("no not without")
_CHANGING = word_set("change changes changed significantly")
_NOTHING_NEW = re.compile(r"\b(?:no|without|any) (?:\w+ )?new\b", re.IGNORECASE)


def without_priors(report: str) -> str:
    """An English report without its references to earlier examinations, by rules.

    Raises:
        ReplyError: The rules do not know how to take one away; names the sentence.
    """
    kept: list[str] = []
    for sentence, gap in _parts(report):
        text = _cut(sentence) if REFERENCE.search(sentence) else sentence
        if REFERENCE.search(text) or (not text and _NUMBER.match(sentence)):
            raise ReplyError(f"they cannot take the reference out of {sentence!r}")
        kept += [text, gap] if text else []
    after = "".join(kept).rstrip()
    check_priors(report, after)
    return after


def _cut(sentence: str) -> str:
    """A sentence without its references, as far as they are known; "" where it says nothing else."""
    number = _NUMBER.match(sentence)
    head, sentence = (number.group(), sentence[number.end() :]) if number else ("", sentence)
    if _WHOLE.fullmatch(sentence.rstrip(". ")):
        return ""
    clause = _CLAUSE.search(sentence)
    if clause and _is_bare(clause["said"]):
        sentence = sentence[: clause.start()] + sentence[clause.end() :]
    for pattern, new in _CUTS:
        found = pattern.search(sentence)
        if found is None or ("noted" in new and sentence.lower().startswith("there ")):
            continue
        rest = sentence[: found.start()] + new + sentence[found.end() :]
        if _is_bare(rest):
            return ""
        sentence = _articles(rest, found.start())
    return head + sentence[:1].upper() + sentence[1:]


def _is_bare(text: str) -> bool:
    return _BARE.issuperset(words_of(text))


def _articles(sentence: str, place: int) -> str:
    """The article right before a place, as the word after it wants it."""
    for found in _ARTICLE.finditer(sentence):
        if found.end() == place:
            new = indefinite(sentence[place:].split()[0])
            new = new.capitalize() if found[1][0].isupper() else new
            return f"{sentence[: found.start()]}{new} {sentence[place:]}"
    return sentence


def _parts(report: str) -> list[tuple[str, str]]:
    """The sentences, each with what stands between it and the next one."""
    pieces = sentences(report)
    ends = [*(piece.start for piece in pieces[1:]), len(report)]
    return [(report[p.start : p.end], report[p.end : end]) for p, end in zip(pieces, ends, strict=True)]


def check_priors(before: str, after: str) -> None:
    """Holds a report without references against the one with them.

    Raises:
        ReplyError: A reference is left, a sentence without one changed, words were brought in or moved, or what the
            image shows was lost.
    """
    if not any(c.isalnum() for c in after):
        raise ReplyError("nothing is left of the report")
    left = REFERENCE.search(after)
    if left:
        raise ReplyError(f"the report still refers to an earlier examination: {left.group()!r}")
    for sentence, _ in _parts(before):
        if not REFERENCE.search(sentence) and sentence not in after:
            raise ReplyError(f"the sentence {sentence!r} has no reference; keep it as it is")
    old, new = ([word for word in words_of(text) if word not in _GRAMMAR] for text in (before, after))
    place = iter(old)
    strange = next((word for word in new if word not in place), None)
    if strange:
        raise ReplyError(f"the report brings or moves {strange!r}; only take away")
    gone = Counter(old) - Counter(new)
    clauses = [words_of(clause) for clause in re.split(r"[,;.\n]", before)]
    spare = Counter(word for words in clauses if (_BARE | _COMPARING).issuperset(words) for word in words)
    spare.update(word for tail in re.finditer(_TAIL, before, re.IGNORECASE) for word in words_of(tail.group()))
    for word, count in gone.items():
        if word not in _COMPARING | _SMALL and count > spare[word]:
            raise ReplyError(f"{word!r} is lost; keep what the image shows")
    denied, changed = (sum(gone[word] for word in words) for words in (_DENYING, _CHANGING))
    if denied > changed or (gone["new"] and _NOTHING_NEW.search(before)):
        raise ReplyError("a denial is lost, or denies more than it did; keep what the image shows")
