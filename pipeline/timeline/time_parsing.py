"""Times as people write them on a command line: a span before now, a time of today, or a date with a time. In UTC."""

import re
from datetime import UTC, datetime, timedelta

from pipeline.errors import SettingsError

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")


def span_seconds(text: str) -> float:
    """Return the seconds of '90s', '15m', '1h', '2d', '1w'. Raises SettingsError."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise SettingsError(f"{text!r} is no span of time; write it as 90s, 15m, 1h, 2d or 1w")
    return float(found[1]) * _SECONDS[found[2]]


def moment_ms(text: str, now: float) -> int:
    """Return a time as milliseconds since the epoch; ``now`` is seconds since the epoch. Raises SettingsError.

    'now', '15m' (so long ago), '22:05' (the last time that it was), '2026-11-24T22:05' (UTC unless it says otherwise).
    """
    text = text.strip()
    if text == "now":
        return round(now * 1000)
    if _SPAN.fullmatch(text):
        return round((now - span_seconds(text)) * 1000)
    today = datetime.fromtimestamp(now, UTC)
    try:
        if _TIME_OF_DAY.fullmatch(text):
            hour, minute, second = ([int(part) for part in text.split(":")] + [0])[:3]
            at = today.replace(hour=hour, minute=minute, second=second, microsecond=0)
            at = at if at <= today else at - timedelta(days=1)
        else:
            at = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{text!r} is no time; write now, 15m (so long ago), 22:05 or 2026-11-24T22:05, in UTC"
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
