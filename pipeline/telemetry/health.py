"""Is the worker alive, and is it ready? Running parts give signs of life; readiness has conditions.

Alive means that every part gave a sign within its own deadline: a process that is not is best restarted.
Ready means alive and every condition met: tasks may well be restoring in a worker that is alive.
"""

import asyncio
import sys
import threading
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.clock import Clock
from pipeline.errors import SurgetankError

NOT_TOLD = "not told yet"
FRAMES = 5  # of a silent thread's stack are shown, innermost first


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of life of a part. Times are seconds on the monotonic clock."""

    part: str
    at: float
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that readiness needs, and since when (monotonic seconds) it is as it is."""

    name: str
    met: bool
    why: str
    since: float


@dataclass(frozen=True, slots=True)
class Failure:
    """What fails, why, and since when (monotonic seconds)."""

    name: str
    why: str
    since: float


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What fails; nothing failing is good."""

    silent: tuple[Failure, ...]
    unmet: tuple[Failure, ...]

    @property
    def live(self) -> bool:
        """Whether every part gave a sign of life within its deadline."""
        return not self.silent

    @property
    def ready(self) -> bool:
        """Whether the worker is alive and every condition is met."""
        return not self.silent and not self.unmet


def health_report(now: float, beats: Collection[Heartbeat], conditions: Collection[Condition]) -> HealthReport:
    """Judge signs of life and conditions at a time on the monotonic clock.

    No condition at all is not ready: nobody has said yet what being ready means.
    """
    silent = tuple(
        Failure(
            beat.part,
            f"blocked or dead: silent for {now - beat.at:.1f} s, {beat.deadline_seconds:g} s are allowed",
            beat.at,
        )
        for beat in beats
        if now - beat.at > beat.deadline_seconds
    )
    unmet = tuple(
        Failure(condition.name, condition.why or NOT_TOLD, condition.since)
        for condition in conditions
        if not condition.met
    )
    if not conditions:
        unmet = (Failure("conditions", "nobody has said yet what being ready means", now),)
    return HealthReport(silent, unmet)


class Health:
    """Collects signs of life and conditions from all threads. A beat costs about a microsecond.

    ``conditions`` names what readiness needs; each counts as not met until it is set.
    """

    def __init__(self, clock: Clock, conditions: Collection[str] = ()) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        start = clock.monotonic()
        self._beats: dict[str, Heartbeat] = {}
        self._threads: dict[str, int] = {}
        self._conditions = {name: Condition(name, False, NOT_TOLD, start) for name in conditions}

    def watch(self, part: str, *, deadline_seconds: float) -> None:
        """Expect a beat of ``part`` at least every ``deadline_seconds`` from now on."""
        if not deadline_seconds > 0:
            raise SurgetankError(f"health of {part!r}: its deadline is {deadline_seconds} s; it must be above 0")
        with self._lock:
            self._beats[part] = Heartbeat(part, self._clock.monotonic(), deadline_seconds)
            self._threads.pop(part, None)

    def beat(self, part: str) -> None:
        """Give a sign of life of ``part``, from the thread that does its work.

        Raises SurgetankError if nobody watches it: a beat under a mistyped name would hide a dead part.
        """
        with self._lock:
            if part not in self._beats:
                raise SurgetankError(f"health: nobody watches {part!r}; watched: {', '.join(self._beats) or 'none'}")
            self._beats[part] = replace(self._beats[part], at=self._clock.monotonic())
            self._threads[part] = threading.get_ident()

    def set(self, condition: str, met: bool, why: str = "") -> None:
        """Say whether a condition is met, and if not, why."""
        with self._lock:
            before = self._conditions.get(condition)
            since = before.since if before and before.met == met else self._clock.monotonic()
            self._conditions[condition] = Condition(condition, met, why, since)

    def verdict(self) -> HealthReport:
        """Judge as of now."""
        with self._lock:
            beats, conditions = tuple(self._beats.values()), tuple(self._conditions.values())
        return health_report(self._clock.monotonic(), beats, conditions)

    def live(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the worker is alive, and the body of ``/live``."""
        found = self.verdict()
        return found.live, {"live": found.live, "failing": self._body(found.silent)}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the worker is ready, and the body of ``/ready``."""
        found = self.verdict()
        return found.ready, {"ready": found.ready, "failing": self._body(found.silent + found.unmet)}

    def _body(self, failures: tuple[Failure, ...]) -> list[dict[str, Any]]:
        """Put failures for a reader: since when by the wall clock, and where a silent thread stands."""
        behind = self._clock.now() - self._clock.monotonic()
        body = []
        for failure in failures:
            since = datetime.fromtimestamp(failure.since + behind, UTC).isoformat(timespec="milliseconds")
            entry: dict[str, Any] = {"name": failure.name, "why": failure.why, "since": since}
            if stack := _stack(self._threads.get(failure.name)):
                entry["stack"] = stack
            body.append(entry)
        return body


async def beat_forever(health: Health, part: str = "event loop", *, every_seconds: float = 0.5) -> None:
    """Give the event loop's sign of life until cancelled. Run it as a task of the loop that is watched."""
    while True:
        health.beat(part)
        await asyncio.sleep(every_seconds)


def _stack(thread: int | None) -> list[str]:
    """Return where a thread stands, innermost first; nothing if it has ended."""
    frame = sys._current_frames().get(thread) if thread is not None else None
    lines: list[str] = []
    while frame is not None and len(lines) < FRAMES:
        code = frame.f_code
        lines.append(f"{code.co_qualname} ({Path(code.co_filename).name}:{frame.f_lineno})")
        frame = frame.f_back
    return lines
