"""Keeps secrets out of everything that is stored, logged or shown."""

import base64
import re
import string
from urllib.parse import quote

HIDDEN = "***"
SHORTEST_SECRET = 6
"""A shorter key (vLLM's customary "EMPTY") is no secret, and hiding it everywhere would damage texts."""
LONGEST_SHOWN = 7
"""So many characters of a key, in a row, reversed or encoded, may be shown: servers echo its beginning and end to tell
keys apart."""

_BEFORE = ((0, 0), (1, 2), (2, 3))
"""Bytes that may stand before a key in Base64, and how many digits they have a part in."""
_CASE = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_PATTERNS = (
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)[\w.~+/=*-]{6,}"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(?:sk|pk|rk|gsk|hf|xai|nvapi)[-_][\w*-]{8,}"), HIDDEN),
    (re.compile(r"\bAIza[\w-]{16,}"), HIDDEN),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"(?i)(\b\w+://)[^/\s@\"']+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"(?i)(\b(?:x-)?api[ _-]?key\b[^:=\n]{0,20}[:=]\s*[\"']?)[^\s\"',}&]{6,}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)([?&](?:key|token|access_token|sig)=)[^\s&\"']+"), rf"\1{HIDDEN}"),
)


def scrub(text: str, key: str | None = None) -> str:
    """Replaces what is told of the key, and whatever looks like a key, a token or a password in a URL, by asterisks."""
    text = hide(text, key)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def hide(text: str, key: str | None) -> str:
    """Replaces the key, whole or in part, also backwards or encoded, and nothing else: replies stay as they are."""
    if key is None or len(key) < SHORTEST_SECRET:
        return text
    plain = text.translate(_CASE)
    told = bytearray(len(text))
    for way in _ways(key):
        length = min(len(way), LONGEST_SHOWN + 1)
        for part in {way[start : start + length] for start in range(len(way) - length + 1)}:
            start = plain.find(part)
            while start >= 0:
                told[start : start + length] = b"\1" * length
                start = plain.find(part, start + 1)
    kept: list[str] = []
    edge = 0
    for run in re.finditer(b"\1+", told):
        kept += [text[edge : run.start()], HIDDEN]
        edge = run.end()
    return "".join([*kept, text[edge:]])


def _ways(key: str) -> list[str]:
    """What a key can be told by, in lower case."""
    content = key.encode()
    # What stands before it decides how it looks in Base64; the digits at its ends are also its neighbours'.
    packed = [base64.b64encode(bytes(before) + content).decode().rstrip("=")[cut:-1] for before, cut in _BEFORE]
    return [way.translate(_CASE) for way in (key, key[::-1], quote(key, safe=""), content.hex(), *packed)]
