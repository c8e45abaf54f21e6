"""Liveness and readiness from heartbeats and conditions.

Live: every part sent a heartbeat within its own deadline; restart a process that is not live.
Ready: live, and every condition is met; a live worker may still restore tasks.
Warnings are shown beside the conditions of ``/ready`` and do not change its status: no restart and no other route
removes their cause.
"""

import asyncio
import sys
import threading
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from surgetank.clock import Clock
from surgetank.errors import SurgetankError

NOT_REPORTED = "not reported yet"
FRAMES = 5  # innermost frames shown of a silent thread


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last heartbeat of a part. Times are seconds on the monotonic clock."""

    part: str
    at: float
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Condition:
    """A readiness condition; ``since`` is the time of its last change in monotonic seconds."""

    name: str
    met: bool
    why: str
    since: float


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The silent parts, as conditions named like them, and the unmet conditions."""

    silent: tuple[Condition, ...]
    unmet: tuple[Condition, ...]

    @property
    def live(self) -> bool:
        """Return whether every part sent a heartbeat within its deadline."""
        return not self.silent

    @property
    def ready(self) -> bool:
        """Return whether the worker is live and every condition is met."""
        return not self.silent and not self.unmet


def health_report(now: float, beats: Collection[Heartbeat], conditions: Collection[Condition]) -> HealthReport:
    """Evaluate heartbeats and conditions at a time on the monotonic clock.

    Without any condition the worker is not ready, because readiness is undefined.
    """
    silent = tuple(
        Condition(
            beat.part,
            False,
            f"blocked or dead: silent for {now - beat.at:.1f} s, {beat.deadline_seconds:g} s are allowed",
            beat.at,
        )
        for beat in beats
        if now - beat.at > beat.deadline_seconds
    )
    unmet = tuple(replace(each, why=each.why or NOT_REPORTED) for each in conditions if not each.met)
    if not conditions:
        unmet = (Condition("conditions", False, "no readiness condition is defined yet", now),)
    return HealthReport(silent, unmet)


class Health:
    """Collects heartbeats and conditions from all threads. A beat costs about a microsecond.

    ``conditions`` are the names of the readiness conditions; each is unmet until it is set.
    """

    def __init__(self, clock: Clock, conditions: Collection[str] = ()) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        start = clock.monotonic()
        self._beats: dict[str, Heartbeat] = {}
        self._threads: dict[str, int] = {}
        self._conditions = {name: Condition(name, False, NOT_REPORTED, start) for name in conditions}
        self._warnings: dict[str, Condition] = {}

    def watch(self, part: str, *, deadline_seconds: float) -> None:
        """Expect a beat of ``part`` at least every ``deadline_seconds`` from now on."""
        if not deadline_seconds > 0:
            raise SurgetankError(f"health of {part!r}: its deadline is {deadline_seconds} s; it must be above 0")
        with self._lock:
            self._beats[part] = Heartbeat(part, self._clock.monotonic(), deadline_seconds)
            self._threads.pop(part, None)

    def beat(self, part: str) -> None:
        """Record a heartbeat of ``part``; call it from the thread that does the work.

        Raises SurgetankError for an unknown part, because a beat under a mistyped name would hide a dead part.
        """
        with self._lock:
            if part not in self._beats:
                raise SurgetankError(f"health: unknown part {part!r}; watched: {', '.join(self._beats) or 'none'}")
            self._beats[part] = replace(self._beats[part], at=self._clock.monotonic())
            self._threads[part] = threading.get_ident()

    def set(self, condition: str, met: bool, why: str = "") -> None:
        """Set whether a condition is met, and the reason if it is not."""
        with self._lock:
            before = self._conditions.get(condition)
            since = before.since if before and before.met == met else self._clock.monotonic()
            self._conditions[condition] = Condition(condition, met, why, since)

    def warn(self, name: str, why: str) -> None:
        """Set a warning; an empty ``why`` removes it."""
        with self._lock:
            before = self._warnings.pop(name, None)
            if why:
                since = before.since if before else self._clock.monotonic()
                self._warnings[name] = Condition(name, False, why, since)

    def report(self) -> HealthReport:
        """Return the report of now."""
        with self._lock:
            beats, conditions = tuple(self._beats.values()), tuple(self._conditions.values())
        return health_report(self._clock.monotonic(), beats, conditions)

    def live(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the worker is live, and the body of ``/live``."""
        report = self.report()
        return report.live, {"live": report.live, "failing": self._failing(report.silent)}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the worker is ready, and the body of ``/ready``."""
        report = self.report()
        with self._lock:
            warnings = tuple(self._warnings.values())
        body = {"ready": report.ready, "failing": self._failing(report.silent + report.unmet)}
        return report.ready, body | ({"warnings": self._failing(warnings)} if warnings else {})

    def _failing(self, failures: tuple[Condition, ...]) -> list[dict[str, Any]]:
        """Return failures or warnings as JSON values, with wall-clock times and the stack of a silent thread."""
        clock_offset = self._clock.now() - self._clock.monotonic()
        body = []
        for failure in failures:
            since = datetime.fromtimestamp(failure.since + clock_offset, UTC).isoformat(timespec="milliseconds")
            entry: dict[str, Any] = {"name": failure.name, "why": failure.why, "since": since}
            if stack := _stack(self._threads.get(failure.name)):
                entry["stack"] = stack
            body.append(entry)
        return body


async def beat_forever(health: Health, part: str = "event loop", *, every_seconds: float = 0.5) -> None:
    """Send the heartbeat of the event loop until cancelled. Run it as a task of that loop."""
    while True:
        health.beat(part)
        await asyncio.sleep(every_seconds)


def _stack(thread: int | None) -> list[str]:
    """Return the innermost frames of a thread; empty if it has ended."""
    frame = sys._current_frames().get(thread) if thread is not None else None
    lines: list[str] = []
    while frame is not None and len(lines) < FRAMES:
        code = frame.f_code
        lines.append(f"{code.co_qualname} ({Path(code.co_filename).name}:{frame.f_lineno})")
        frame = frame.f_back
    return lines
