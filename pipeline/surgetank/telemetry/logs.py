"""Structured logs on the standard library: one line per event, as text or JSON.

Our code calls ``event(log, "task_opened", task=task, epoch=2)``; messages of libraries have the same format. An
exception is part of the line: its frames, innermost first, and its causes.
"""

import json
import logging
import math
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from surgetank.settings import TelemetrySettings

FRAMES = 30  # innermost frames of a trace
# Libraries whose INFO messages are of no use to operators.
QUIET = ("faust", "mode", "aiokafka", "kafka", "aiohttp", "asyncio", "urllib3", "httpx", "httpx2")


def event(
    log: logging.Logger,
    name: str,
    *,
    level: int = logging.INFO,
    error: BaseException | None = None,
    **fields: Any,
) -> None:
    """Log an event with its fields. ``error`` adds the exception and its frames."""
    if log.isEnabledFor(level):
        log.log(level, "%s", name, extra={"fields": fields}, exc_info=error, stacklevel=2)


def configure(
    settings: TelemetrySettings, *, worker: str = "", pipeline: str = "", stream: TextIO | None = None
) -> None:
    """Send all logs of the process to ``stream`` (default: standard error) in the configured format.

    ``worker`` and ``pipeline`` are added to each JSON line. A further call replaces the configuration; handlers of
    other code, such as a test runner, are kept.
    """
    handler = _LogHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(worker, pipeline) if settings.log_format == "json" else TextLines())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _LogHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


class _LogHandler(logging.StreamHandler[TextIO]):
    """Marks our handler, so that ``configure`` replaces no other."""


class TextLines(logging.Formatter):
    """``12:00:00.123 INFO    task_opened task=flights/3 epoch=2 (tasks.service)``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one readable line."""
        fields = " ".join(f"{name}={_text(value)}" for name, value in _fields(record).items())
        trace = _trace(record)
        parts = (
            _time(record).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
            f"{record.levelname:<7}",
            _one_line(record.getMessage()),
            fields,
            f"error={_one_line(trace)}" if trace else "",
            f"({record.name.removeprefix('surgetank.')})",
        )
        return " ".join(part for part in parts if part)


class JsonLines(logging.Formatter):
    """One JSON object per line: time (UTC), level, logger, event, worker, pipeline, error, trace, fields."""

    def __init__(self, worker: str, pipeline: str) -> None:
        super().__init__()
        self._constant_fields = {name: value for name, value in (("worker", worker), ("pipeline", pipeline)) if value}

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON. A field with the name of a fixed one gets the suffix ``_``."""
        line: dict[str, Any] = {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **self._constant_fields,
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = _describe(record.exc_info[1])
            line["trace"] = _trace(record)
        for name, value in _fields(record).items():
            line[f"{name}_" if name in line else name] = _json_value(value)
        return json.dumps(line, allow_nan=False)


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _trace(record: logging.LogRecord) -> str:
    """Return the exception with its frames and causes on one line; '' without one."""
    error = record.exc_info[1] if record.exc_info else None
    return " || from ".join(_chain(error, set()))


def _chain(error: BaseException | None, seen: set[int]) -> list[str]:
    if error is None or id(error) in seen:
        return []
    seen.add(id(error))
    frames = reversed(traceback.extract_tb(error.__traceback__, limit=-FRAMES))
    where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return [
        " < ".join([_describe(error), *where]),
        *(line for each in inner for line in _chain(each, seen)),
        *_chain(error.__cause__ or (None if error.__suppress_context__ else error.__context__), seen),
    ]


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _json_value(value: Any) -> Any:
    """Convert a value to JSON: numpy numbers to numbers, NaN and other types to text."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if type(value) in (list, tuple):
        return [_json_value(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _json_value(each) for name, each in value.items()}
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return str(value)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = _one_line(str(_json_value(value)))
    return json.dumps(text, ensure_ascii=False) if not text or " " in text or "=" in text else text


def _one_line(text: str) -> str:
    """Escape line breaks and control characters, so that outside text cannot forge a line."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
