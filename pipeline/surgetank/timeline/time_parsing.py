"""Parses times of the command line, in UTC: a duration before now, a time of day, or a date with a time."""

import re
from datetime import UTC, datetime, timedelta

from surgetank.errors import SettingsError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")


def duration_seconds(text: str) -> float:
    """Parse a duration such as '90s', '15m', '1h', '2d' or '1w'; return seconds. Raises SettingsError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise SettingsError(f"{text!r} is not a duration; write it as 90s, 15m, 1h, 2d or 1w")
    return float(match[1]) * _SECONDS[match[2]]


def parse_time_ms(text: str, now: float) -> int:
    """Parse a time; return milliseconds since the epoch. ``now`` is seconds since the epoch. Raises SettingsError.

    Accepts 'now', '15m' (ago), '22:05' (the latest such time), '2026-11-24T22:05' (UTC without an offset).
    """
    text = text.strip()
    if text == "now":
        return round(now * 1000)
    if _DURATION.fullmatch(text):
        return round((now - duration_seconds(text)) * 1000)
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
            f"{text!r} is not a time; write now, 15m (ago), 22:05 or 2026-11-24T22:05, in UTC"
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
