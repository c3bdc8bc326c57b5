"""How long to wait before a call is made again: what the server asks for, or twice as long each time."""

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_BACKOFF = 60.0


def backoff(first: float, repetition: int) -> float:
    """Seconds before repetition 0, 1, ...: doubling, up to a minute, scattered so that threads do not march in step."""
    return min(first * 2.0**repetition, LONGEST_BACKOFF) * random.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait, given as milliseconds, seconds or a date; None: it does not ask."""
    try:
        seconds = _asked(headers)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if math.isnan(seconds) else max(seconds, 0.0)


def _asked(headers: Mapping[str, str]) -> float:
    if "retry-after-ms" in headers:
        return float(headers["retry-after-ms"]) / 1000
    asked = headers.get("retry-after", "").strip()
    if asked.replace(".", "", 1).isdigit():
        return float(asked)
    # By the server's own clock where it tells it, since ours may be wrong.
    now = parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)
    return (parsedate_to_datetime(asked) - now).total_seconds()
