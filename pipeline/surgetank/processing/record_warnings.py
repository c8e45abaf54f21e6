"""Log lines about odd records: one at the first record of a kind, then at most one a minute for all that followed."""

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from surgetank.clock import Clock
from surgetank.records import Bools, DeadLetter, Int64s, RecordBatch
from surgetank.text_columns import as_text

log = logging.getLogger(__name__)

PAUSE_SECONDS = 60.0
_MESSAGE_MAX = 200
_UNITS = {
    "s": ("seconds", 1000.0),
    "ms": ("milliseconds", 1.0),
    "us": ("microseconds", 1e-3),
    "ns": ("nanoseconds", 1e-6),
}


@dataclass(slots=True)
class _Pause:
    until: float
    count: int = 0  # records since the last line


class RecordWarnings:
    """Writes warnings about the records of batches. Call it in one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pauses: dict[Hashable, _Pause] = {}

    def dead_lettered(self, records: RecordBatch, dead: Sequence[DeadLetter]) -> None:
        """Warn of the dead letters of a batch, by topic and reason."""
        kinds: dict[Hashable, list[DeadLetter]] = {}
        for letter in dead:
            kinds.setdefault((records.sources[records.source[letter.row]].topic, letter.reason), []).append(letter)
        for kind, letters in kinds.items():
            last = letters[-1]
            if count := self._due(kind, len(letters)):
                log.warning(
                    "%s of %s dead-lettered (%s, %s), the last at %s: %s",
                    _number(count, "record"),
                    records.sources[records.source[last.row]].topic,
                    last.stage,
                    last.reason.label,
                    _position(records, last.row),
                    _printable(last.message),
                )

    def implausible_times(
        self,
        records: RecordBatch,
        rows: Int64s,
        times_ms: Int64s,
        field_unit: str,
        is_plausible: Callable[[Int64s, Int64s], Bools],
    ) -> None:
        """Warn of the rows int64 [k] whose event times, int64 [k] in ms, are too far from their arrival.

        ``field_unit`` is the unit of the field of the time, by Arrow's name: s, ms, us or ns.
        """
        if not len(rows):
            return
        row, time = int(rows[-1]), int(times_ms[-1])
        topic, arrived = records.sources[records.source[row]].topic, int(records.arrived_ms[row])
        if count := self._due(topic, len(rows)):
            unit = probable_unit(time, field_unit, arrived, is_plausible)
            hint = f"; it fits if the number is in {unit}, not {_UNITS[field_unit][0]}" if unit else ""
            log.warning(
                "%s of %s with an event time too far from the arrival, which update no state; the last at %s has %s "
                "and arrived at %s%s",
                _number(count, "record"),
                topic,
                _position(records, row),
                _time(time),
                _time(arrived),
                hint,
            )

    def key_mismatches(self, records: RecordBatch, rows: Int64s, missing: Bools, field: str) -> None:
        """Warn of the rows int64 [k], k > 0, whose keys do not repeat a field; ``missing`` bool [k]: they have none."""
        row = int(rows[-1])
        topic = records.sources[records.source[row]].topic
        if count := self._due((topic, field), len(rows)):
            log.warning(
                "%s of %s with a key that does not repeat the field %r: they use the state of their record key, if "
                "they have one; the last at %s has %s",
                _number(count, "record"),
                topic,
                field,
                _position(records, row),
                "no key" if missing[-1] else "another key",
            )

    def _due(self, kind: Hashable, count: int) -> int:
        """Return the number of records to report now, 0 while the last line of this kind is recent."""
        now = self._clock.monotonic()
        pause = self._pauses.setdefault(kind, _Pause(now))
        pause.count += count
        if now < pause.until:
            return 0
        self._pauses[kind] = _Pause(now + PAUSE_SECONDS)
        return pause.count


def probable_unit(
    time_ms: int, field_unit: str, arrived_ms: int, is_plausible: Callable[[Int64s, Int64s], Bools]
) -> str | None:
    """Return the unit in which the number of an implausible event time would be plausible; None if there is none.

    ``field_unit`` is the unit that the number should have, by Arrow's name.
    """
    number = time_ms / _UNITS[field_unit][1]
    arrived = np.array([arrived_ms], dtype=np.int64)
    for name, (unit, unit_ms) in _UNITS.items():
        if name == field_unit:
            continue
        in_ms = number * unit_ms
        if abs(in_ms) < 2**62 and is_plausible(np.array([in_ms]).astype(np.int64), arrived)[0]:
            return unit
    return None


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _position(records: RecordBatch, row: int) -> str:
    return f"{records.sources[records.source[row]]} offset {records.offsets[row]}"


def _time(ms: int) -> str:
    return str(as_text(pa.array([ms], pa.timestamp("ms", "UTC")))[0])


def _printable(text: str) -> str:
    """Return a text of one line: values from records may contain line breaks and control characters."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)[
        :_MESSAGE_MAX
    ]
