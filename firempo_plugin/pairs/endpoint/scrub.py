"""Keeps secrets out of everything that is stored, logged or shown."""

import re
import string

HIDDEN = "***"
SHORTEST_SECRET = 6
"""A shorter key (vLLM's customary "EMPTY") is no secret, and hiding it everywhere would damage texts."""
LONGEST_SHOWN = 7
"""So many characters of a key, in a row or reversed, may be shown: servers echo its beginning and end to tell keys
apart."""

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
    """Replaces the key, whole or in part, forwards or backwards, and nothing else: replies stay as they are."""
    if key is None or len(key) < SHORTEST_SECRET:
        return text
    length = min(len(key), LONGEST_SHOWN + 1)
    plain = text.translate(_CASE)
    found: list[tuple[int, int]] = []
    for way in (key.translate(_CASE), key.translate(_CASE)[::-1]):
        for part in {way[start : start + length] for start in range(len(way) - length + 1)}:
            start = plain.find(part)
            while start >= 0:
                found.append((start, start + length))
                start = plain.find(part, start + 1)
    kept: list[str] = []
    edge = 0
    for start, end in sorted(found):
        if start > edge or not kept:
            kept += [text[edge:start], HIDDEN]
        edge = max(edge, end)
    return "".join([*kept, text[edge:]])
