"""The versions of a model in the memory of a worker: loads them in the background and switches between plans.

``PlanSwitch`` decides; this file has the threads. Scoring reads one attribute and takes no lock.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from surgetank.clock import Clock
from surgetank.serving.model import Model
from surgetank.serving.plan_switch import DropVersions, LoadVersion, PlanSwitch, RefusePlan, ServePlan, SwitchAction
from surgetank.serving.router import ServedModels
from surgetank.serving_plan import ServingPlan

log = logging.getLogger(__name__)

RETRY_SECONDS, RETRY_SECONDS_MAX = 30.0, 600.0  # until a version that did not load is tried again, doubling
LOAD_SECONDS = 120.0  # a version that is not loaded within this time is refused


@dataclass(frozen=True, slots=True)
class ServingStatus:
    """What a worker serves. ``pending`` is a plan whose versions are being loaded.

    ``loaded`` are the versions in memory, ``loading`` those that are being loaded, also for a plan that was replaced or
    refused meanwhile. ``failed`` has by version why its last load failed, until it is loaded or requested again.
    """

    in_force: ServingPlan
    pending: ServingPlan | None
    loaded: frozenset[str]
    loading: frozenset[str]
    failed: Mapping[str, str]


class ServingListener(Protocol):
    """Receives the changes of a worker's plan in their order, from any thread. Methods must return at once."""

    def served(self, models: ServedModels, seconds: float) -> None:
        """A plan is in force, ``seconds`` after it was requested."""
        ...

    def refused(self, plan: ServingPlan, version: str, why: str) -> None:
        """A plan does not come into force, because a version does not load ("": the plan itself is wrong)."""
        ...


class LoadedModels:
    """The loaded versions, and the plan in force. For any thread.

    ``models`` has a model for each version of ``plan``, which is in force from the start. ``load`` returns a version,
    checked and warmed up, or raises; it runs in a thread of its own for each version, because a load that hangs cannot
    be ended. ``listener`` receives each change. A refused plan is tried again after ``retry_seconds``, doubling up to
    ten minutes, until another one comes: a registry or a disk may be available again.
    """

    def __init__(
        self,
        plan: ServingPlan,
        models: Mapping[str, Model],
        load: Callable[[str], Model],
        *,
        listener: ServingListener,
        clock: Clock,
        load_seconds: float = LOAD_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._load = load
        self._listener = listener
        self._clock = clock
        self._load_seconds = load_seconds
        self._lock = threading.RLock()
        self._switch = PlanSwitch(plan)
        self._models = dict(models)
        self._failed: dict[str, str] = {}
        self._requested_at = 0.0
        self._requests = 0
        self._deadline = threading.Timer(load_seconds, lambda: None)  # of the pending plan; this one is never started
        self._wanted = plan
        self._retry_seconds = self._next_retry_seconds = retry_seconds
        self._retry = threading.Timer(retry_seconds, lambda: None)  # this one is never started
        self._current = ServedModels.of(plan, models)

    def current(self) -> ServedModels:
        """Return the models of the plan in force. Takes no lock."""
        return self._current

    def status(self) -> ServingStatus:
        """Return what is served, loaded, loading and failed at this moment."""
        with self._lock:
            switch = self._switch
            return ServingStatus(switch.in_force, switch.pending, switch.loaded, switch.loading, dict(self._failed))

    def apply(self, plan: ServingPlan) -> None:
        """Serve a plan as soon as all its versions are loaded, at once if they are. Returns at once, raises nothing.

        ``ServingListener`` says whether the plan came into force. The newest plan counts.
        """
        with self._lock:
            self._wanted, self._next_retry_seconds = plan, self._retry_seconds
            self._retry.cancel()
            self._request(plan)

    def _again(self, plan: ServingPlan) -> None:
        """Request a refused plan once more, unless another one was applied meanwhile."""
        with self._lock:
            if plan is self._wanted:
                self._request(plan)

    def _request(self, plan: ServingPlan) -> None:
        """Request a plan of the switch. The caller holds the lock."""
        before = self._switch.pending
        actions = self._switch.request(plan)
        pending = self._switch.pending
        if pending is not before or any(isinstance(action, ServePlan) for action in actions):
            self._requested_at = self._clock.monotonic()
            self._deadline.cancel()
            for version in plan.versions:
                self._failed.pop(version, None)
        if pending is not None and pending is not before:
            self._requests += 1
            self._start_deadline()
        self._execute(actions)

    def _start_deadline(self) -> None:
        """Give the next version of the pending plan ``load_seconds``."""
        self._deadline.cancel()
        self._deadline = threading.Timer(self._load_seconds, self._overdue, args=(self._requests,))
        self._deadline.name, self._deadline.daemon = "load deadline", True
        self._deadline.start()

    def _overdue(self, request: int) -> None:
        """Refuse a plan that still loads after ``load_seconds``, or leave out what still loads."""
        with self._lock:
            pending = self._switch.pending
            if request == self._requests and pending is not None:
                why = f"it has been loading for {self._load_seconds:g} s"
                self._execute(self._switch.overdue(pending, why))

    def _execute(self, actions: list[SwitchAction]) -> None:
        for action in actions:
            match action:
                case LoadVersion():
                    self._start_deadline()
                    self._start_load(action.version)
                case ServePlan():
                    self._deadline.cancel()
                    self._current = ServedModels.of(action.plan, self._models)
                    self._tell(self._listener.served, self._current, self._clock.monotonic() - self._requested_at)
                case DropVersions():  # a batch in flight holds its models until it ends
                    for version in action.versions:
                        self._models.pop(version, None)
                case RefusePlan():
                    if action.version:
                        self._failed[action.version] = action.why
                        self._retry_later()
                    if self._switch.pending is None:
                        self._deadline.cancel()
                    self._tell(self._listener.refused, action.plan, action.version, action.why)

    def _retry_later(self) -> None:
        self._retry.cancel()
        self._retry = threading.Timer(self._next_retry_seconds, self._again, args=(self._wanted,))
        self._retry.name, self._retry.daemon = "load again", True
        self._retry.start()
        self._next_retry_seconds = min(2 * self._next_retry_seconds, RETRY_SECONDS_MAX)

    def _start_load(self, version: str) -> None:
        thread = threading.Thread(target=self._run, args=(version,), name=f"load {version}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads can be started
            self._execute(self._switch.version_failed(version, str(error)))

    def _run(self, version: str) -> None:
        """Load a version and report it to the switch."""
        try:
            model = self._load(version)
        except Exception as error:  # noqa: BLE001 - a model may raise anything; the plan in force goes on
            with self._lock:
                self._execute(self._switch.version_failed(version, str(error) or repr(error)))
            return
        with self._lock:
            self._models[version] = model
            self._execute(self._switch.version_loaded(version))

    def _tell(self, listener: Callable[..., None], *what: object) -> None:
        try:
            listener(*what)
        except Exception:
            log.exception("a change of the served versions was not reported; scoring continues")
