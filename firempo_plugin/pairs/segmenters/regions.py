"""Which named regions a phrase means: "left lung" is "Lung_Left", "lung" is left and right lung together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

SIDES = {"left", "right"}
FILLERS = {"the", "a", "an", "both", "bilateral", "region", "area", "of", "in", "within", "and"}
PARTS = {
    *("upper", "lower", "middle", "lobe", "segment", "anterior", "posterior", "superior", "inferior", "medial"),
    *("lateral", "head", "body", "tail", "ventricle", "atrium", "myocardium", "cortex", "medulla", "core"),
}
"""Words that, behind an organ's name, name a part of it ("heart ventricle"), not a finding in it ("lung opacity")."""

SPELLINGS = {
    "vertebrae": "vertebra",
    "atria": "atrium",
    "bronchi": "bronchus",
    "hila": "hilum",
    "hippocampi": "hippocampus",
    "metastases": "metastasis",
    "thrombi": "thrombus",
    "nuclei": "nucleus",
    "emboli": "embolus",
    "stenoses": "stenosis",
    "septa": "septum",
    "tumour": "tumor",
    "oedema": "edema",
    "oesophagus": "esophagus",
    "haemorrhage": "hemorrhage",
    "haematoma": "hematoma",
    "ischaemia": "ischemia",
    "caecum": "cecum",
    "disk": "disc",
    "foetus": "fetus",
    "foetal": "fetal",
    "sinuses": "sinus",
    "sulci": "sulcus",
    "gyri": "gyrus",
    "foci": "focus",
    "ganglia": "ganglion",
}
"""One form for irregular plurals and British spellings."""

_TAKES_BACK = re.compile(r"\s(?:of|in|within)\s")
_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)")
_SINGULAR = ((r"(.{2,})ies", r"\1y"), (r"(.+(?:ss|x|ch|sh))es", r"\1"), (r"(.{2,}[^siu])s", r"\1"))


@dataclass(frozen=True)
class Name:
    """A region's name, or a phrase, as words that can be compared.

    Attributes:
        words: In the order of English compounds, the head noun last, singular, lower case, without side.
        side: "left", "right", or "" for neither or both.
    """

    words: tuple[str, ...]
    side: str


def parse(text: str) -> Name:
    """Splits at anything but letters and digits and at camel case; "cyst of the left kidney" is "left kidney cyst"."""
    spaced = _CAMEL.sub(" ", text).casefold()
    spaced = re.sub(r"\bnon[-_+ ]+", "non", spaced)
    parts = _TAKES_BACK.split(re.sub(r"[-_+/]", " ", spaced))
    words = [_one_form(word) for part in reversed(parts) for word in _WORD.findall(part)]
    sides = {word for word in words if word in SIDES}
    return Name(
        tuple(word for word in words if word not in SIDES and word not in FILLERS),
        sides.pop() if len(sides) == 1 else "",
    )


def _one_form(word: str) -> str:
    ordinal = _ORDINAL.fullmatch(word)
    if ordinal:
        return ordinal.group(1)
    for pattern, singular in _SINGULAR if word not in SPELLINGS else ():
        if re.fullmatch(pattern, word):
            word = re.sub(f"^{pattern}$", singular, word)
            break
    return SPELLINGS.get(word, word)


def matching(phrase: str, names: Sequence[str]) -> list[int]:
    """Indices of the regions that together are what a phrase means; empty where no name fits.

    The first of these rules that fits any name decides. A phrase with a side takes regions of that side, or, where
    no rule finds one, regions without a side, which hold both; a phrase without a side takes all.

    1. The same words: "left lung" takes "Lung_Left"; "lungs" takes "left lung" and "right lung".
    2. A kind of it, its name ending in the phrase's words, or a part of it, its name beginning with them and going
       on in `PARTS` and numbers: "tumor" takes "enhancing tumor", "heart" takes "heart_ventricle_left"; "lung" does
       not take "lung opacity".
    3. The name is how the phrase ends: "lung nodule" takes "nodule"; "liver tumor" does not take "kidney tumor".
    """
    wanted = parse(phrase)
    if not wanted.words:
        return []
    parsed = [(index, parse(name)) for index, name in enumerate(names)]
    for sides in (("left", "right", ""),) if not wanted.side else ((wanted.side,), ("",)):
        for rule in (_same, _kind_or_part, _head):
            found = [index for index, name in parsed if name.side in sides and rule(wanted.words, name.words)]
            if found:
                return found
    return []


def _same(wanted: tuple[str, ...], name: tuple[str, ...]) -> bool:
    return sorted(wanted) == sorted(name)


def _kind_or_part(wanted: tuple[str, ...], name: tuple[str, ...]) -> bool:
    rest = name[len(wanted) :]
    is_part = name[: len(wanted)] == wanted and all(word in PARTS or word[-1].isdigit() for word in rest)
    return name[-len(wanted) :] == wanted or is_part


def _head(wanted: tuple[str, ...], name: tuple[str, ...]) -> bool:
    return bool(name) and wanted[-len(name) :] == name
