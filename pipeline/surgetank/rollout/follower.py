"""Follows the rollout topic of a pipeline in a thread, and passes on each plan that it names.

The topic is never a condition of the work: while it cannot be read, the last known plan goes on.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from surgetank.clock import Clock
from surgetank.errors import BrokerError, SurgetankError, TopicsError
from surgetank.rollout.control_topic import RecordReader, add_records
from surgetank.rollout.followed_plan import FollowedPlan, KnownPlan, PlanSource, followed_plan
from surgetank.rollout.kept_plan import KeptPlan
from surgetank.rollout.rollout_log import RolloutLog
from surgetank.serving_plan import ServingPlan

log = logging.getLogger(__name__)

READ_SECONDS = 0.5
IDENTITY_SECONDS = 30.0  # how often it is checked that the topic is still the same one
AGAIN_SECONDS = 0.5  # before the topic is opened again; doubled with each failure up to
AGAIN_SECONDS_MAX = 8.0


class RolloutTopic:
    """The topic as the follower uses it.

    ``open`` opens it at its first record, and raises TopicsError if it is missing; ``identity`` returns its id, None if
    it is missing. Both raise BrokerError if the brokers do not answer.
    """

    def __init__(
        self, open_topic: Callable[[], AbstractContextManager[RecordReader]], identity: Callable[[], str | None]
    ) -> None:
        self.open = open_topic
        self.identity = identity


class RolloutFollower:
    """Follows the commands for one model. ``report`` is called with each change of what is followed, also of a warning.

    ``start`` starts the thread and waits for the first plan, ``follow`` says who gets the later ones. Callbacks run in
    the follower's thread one at a time: they must return soon, since the next command waits for them. An exception of
    a callback is logged.
    """

    def __init__(
        self,
        topic: RolloutTopic,
        model: str,
        kept: KeptPlan,
        clock: Clock,
        *,
        report: Callable[[FollowedPlan], None],
        identity_seconds: float = IDENTITY_SECONDS,
    ) -> None:
        self._topic = topic
        self._model = model
        self._kept = kept
        self._clock = clock
        self._report = report
        self._identity_seconds = identity_seconds
        self._closed = threading.Event()
        self._first = threading.Event()
        self._lock = threading.RLock()  # guards what follows; a callback may ask for ``current``
        self._known = kept.read()
        self._current = followed_plan(model, None, self._known)
        self._apply: Callable[[ServingPlan], None] = _nothing
        self._applied: ServingPlan | None = None
        self._warned: Mapping[int, str] = {}
        self._thread = threading.Thread(target=self._run, name="rollout", daemon=True)

    def start(self, seconds: float) -> FollowedPlan:
        """Start to follow; return what is followed when the topic was read, or after this many seconds at the latest.

        A missing topic is not waited for.
        """
        self._thread.start()
        self._first.wait(seconds)
        with self._lock:
            if not self._first.is_set():
                self._found(None, f"Kafka did not return it within {seconds:.0f} s")
            self._applied = self._current.plan
            return self._current

    def follow(self, apply: Callable[[ServingPlan], None]) -> None:
        """Pass each plan that differs from the one before to ``apply``, at once if that is so already."""
        with self._lock:
            self._apply = apply
            self._pass_on()

    @property
    def current(self) -> FollowedPlan:
        """What is followed now."""
        with self._lock:
            return self._current

    def close(self) -> None:
        """Stop the thread; return when it has ended, or after a few seconds."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(4 * READ_SECONDS)

    def _run(self) -> None:
        pause = AGAIN_SECONDS
        while not self._closed.is_set():
            try:
                with self._topic.open() as reader:
                    self._read(reader)
            except Exception as error:  # whatever is wrong with the topic, the worker goes on
                if not isinstance(error, SurgetankError):
                    log.warning("the rollout topic cannot be followed", exc_info=error)
                with self._lock:
                    followed = self._current.source is PlanSource.TOPIC
                    self._found(None, str(error) or repr(error))
                    if isinstance(error, TopicsError):
                        self._first.set()
                pause = AGAIN_SECONDS if followed else min(2 * pause, AGAIN_SECONDS_MAX)
                self._closed.wait(pause)

    def _read(self, reader: RecordReader) -> None:
        """Read the topic from its start until it is deleted or the follower is closed."""
        identity, rollout = self._identity_or(None), RolloutLog(self._model)
        for records in reader.catch_up():
            add_records(rollout, records)
        self._found(rollout)
        checked = self._clock.monotonic()
        while not self._closed.is_set():
            records = reader.read(timeout=READ_SECONDS)
            if len(records):
                add_records(rollout, records)
                self._found(rollout)
            if self._clock.monotonic() - checked >= self._identity_seconds:
                now = self._identity_or(identity)
                if identity is not None and now != identity:
                    log.warning("the rollout topic was deleted or made again; it is read from its start")
                    return
                identity, checked = now, self._clock.monotonic()

    def _identity_or(self, known: str | None) -> str | None:
        """Return the id of the topic; the known one if the brokers do not answer."""
        try:
            return self._topic.identity()
        except BrokerError as error:
            log.debug("%s", error)
            return known

    def _found(self, rollout: RolloutLog | None, problem: str = "") -> None:
        """Follow what a log names, or go on without the topic because of a problem."""
        with self._lock:
            self._warn_of_mangled(rollout)
            followed, first = followed_plan(self._model, rollout, self._known, problem), not self._first.is_set()
            if rollout is not None:
                self._first.set()
            if followed == self._current and not first:
                return
            self._current = followed
            if followed.source is PlanSource.TOPIC and followed.plan is not None:
                self._known = KnownPlan(self._model, followed.revision, followed.plan)
            self._pass_on()
            try:
                self._report(followed)
            except Exception:
                log.exception("the rollout is not reported; it is followed")
        if followed.source is PlanSource.TOPIC and self._known is not None:
            self._kept.write(self._known)

    def _pass_on(self) -> None:
        """Pass the current plan on unless it was the last one. The caller holds the lock."""
        plan = self._current.plan
        if plan is None or plan == self._applied or self._apply is _nothing:
            return
        self._applied = plan
        try:
            self._apply(plan)
        except Exception:
            log.exception("the plan of revision %d is not carried out", self._current.revision)

    def _warn_of_mangled(self, rollout: RolloutLog | None) -> None:
        mangled = {} if rollout is None else {each.offset: each.reason for each in rollout.mangled}
        for offset, reason in mangled.items():
            if self._warned.get(offset) != reason:
                log.warning("record %d of the rollout topic is no command and is skipped: %s", offset, reason)
        if rollout is not None:
            self._warned = mangled


def _nothing(_: ServingPlan) -> None:
    """Stand for a receiver of plans before there is one."""
