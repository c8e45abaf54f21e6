"""Logs: one line per event, as text and as JSON, for any value."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from surgetank.records import TaskId
from surgetank.settings import TelemetrySettings
from surgetank.telemetry.logs import QUIET, configure, event

log = logging.getLogger("surgetank.runtime.faust_host")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Restore the logging configuration after each test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in QUIET}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)


def lines(log_format: str = "json", level: str = "INFO", **who: str) -> io.StringIO:
    """Configure logging into a buffer and return it."""
    stream = io.StringIO()
    configure(TelemetrySettings.model_validate({"log_format": log_format, "log_level": level}), stream=stream, **who)
    return stream


def only(stream: io.StringIO) -> dict[str, Any]:
    """Return the one JSON line that was written."""
    assert stream.getvalue().count("\n") == 1
    line: dict[str, Any] = json.loads(stream.getvalue())
    return line


def fail() -> None:
    """Raise an error that has a cause."""
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        raise ValueError("first line\nsecond line") from error


def test_an_event_in_json_has_its_fields_and_origin() -> None:
    """Time, level, logger, event, worker, pipeline and the fields with their types."""
    stream = lines(worker="w-1", pipeline="flights")
    event(
        log,
        "task_opened",
        task=TaskId("flights", 3),
        epoch=np.int64(2),
        rate=0.5,
        share=float("nan"),
        key=None,
    )
    line = only(stream)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "surgetank.runtime.faust_host",
        "event": "task_opened",
        "worker": "w-1",
        "pipeline": "flights",
        "task": "flights/3",
        "epoch": 2,
        "rate": 0.5,
        "share": "nan",
        "key": None,
    }


def test_an_event_in_text_is_one_readable_line() -> None:
    """Time, level, event, fields and the logger's short name; values with blanks are quoted."""
    stream = lines("text")
    event(log, "task_opened", level=logging.WARNING, task=TaskId("flights", 3), why="a b", at=1 / 3, none="")
    _, _, rest = stream.getvalue().split(" ", 2)
    assert rest == 'WARNING task_opened task=flights/3 why="a b" at=0.333333 none="" (runtime.faust_host)\n'


def test_a_library_message_has_the_same_format() -> None:
    """Percent arguments are filled in; warnings of the warnings module are logged too."""
    stream = lines()
    logging.getLogger("somelibrary").warning("%s of %d", "3", 4)
    assert only(stream)["event"] == "3 of 4"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_exception_is_part_of_its_line(log_format: str) -> None:
    """Type, message, frames (innermost first) and cause are on the one line."""
    stream = lines(log_format)
    try:
        fail()
    except ValueError as error:
        event(log, "gave_up", level=logging.ERROR, error=error, task="t")
    text = stream.getvalue()
    assert text.count("\n") == 1
    if log_format == "json":
        line = json.loads(text)
        assert line["error"] == "ValueError: first line\nsecond line"
        text = line["trace"]
    inner, outer = text.index(" fail < "), text.index("test_an_exception_is_part_of_its_line")
    assert text.index("ValueError: first line") < inner < outer < text.index("|| from ZeroDivisionError")


def test_an_exception_group_is_logged_with_its_errors() -> None:
    """All errors of a group are in the trace."""
    stream = lines()
    event(log, "gave_up", error=ExceptionGroup("two", [KeyError("a"), OSError("b")]))
    trace = only(stream)["trace"]
    assert "KeyError: 'a'" in trace
    assert "OSError: b" in trace


def test_a_field_cannot_replace_a_fixed_field() -> None:
    """A field with the name of a fixed one is kept under another name."""
    stream = lines(worker="w-1")
    event(log, "x", worker="other", time=5, logger="y")
    line = only(stream)
    assert (line["worker"], line["worker_"], line["time_"], line["logger_"]) == ("w-1", "other", 5, "y")
    assert line["logger"] == "surgetank.runtime.faust_host"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(object),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example(name="a\u2028b\x85c\rd", value="\ud800", log_format="json")
@example(name="a\u2028b\x85c\rd", value="\ud800", log_format="text")
@given(name=st.text(min_size=1), value=values, log_format=st.sampled_from(["text", "json"]))
def test_every_log_entry_is_one_line(name: str, value: object, log_format: str) -> None:
    """Text, bytes and objects from outside cannot break a line, forge a line or make JSON invalid."""
    stream = lines(log_format)
    event(log, name, value=value)
    assert len(stream.getvalue().splitlines()) == 1
    stream.getvalue().encode()
    if log_format == "json":
        line = json.loads(stream.getvalue(), parse_constant=pytest.fail)
        assert line["event"] == name
        assert "value" in line


def test_messages_below_the_level_are_dropped() -> None:
    """The level applies to our loggers; for libraries it is at least WARNING."""
    stream = lines(level="DEBUG")
    log.debug("ours")
    logging.getLogger("faust.worker").info("theirs")
    logging.getLogger("mode").debug("theirs")
    assert only(stream)["event"] == "ours"
    stream = lines(level="ERROR")
    log.warning("ours")
    logging.getLogger("faust").warning("theirs")
    assert stream.getvalue() == ""


def test_configuring_again_replaces_our_handler_only() -> None:
    """The second call writes each event once, to the new stream; other handlers stay."""
    others = logging.NullHandler()
    logging.getLogger().addHandler(others)
    first, second = lines(), lines()
    event(log, "x")
    assert first.getvalue() == ""
    assert only(second)["event"] == "x"
    assert others in logging.getLogger().handlers
