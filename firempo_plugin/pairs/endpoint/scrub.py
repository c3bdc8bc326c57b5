"""Keeps secrets out of everything that is stored, logged or shown."""

import re

HIDDEN = "***"
SHORTEST_SECRET = 6
"""A shorter key (vLLM's customary "EMPTY") is no secret, and hiding it everywhere would damage texts."""

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
    """Replaces the key, and whatever looks like a key, a token or a password in a URL, by asterisks."""
    text = hide(text, key)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def hide(text: str, key: str | None) -> str:
    """Replaces the key itself and nothing else: for replies, whose text must stay as it is."""
    return text.replace(key, HIDDEN) if key is not None and len(key) >= SHORTEST_SECRET else text
