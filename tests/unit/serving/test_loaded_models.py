"""surgetank.serving.loaded_models: versions are loaded in the background, and switched between two batches."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from surgetank.clock import SystemClock
from surgetank.errors import ModelError
from surgetank.serving.loaded_models import LoadedModels
from surgetank.serving.model import Model
from surgetank.serving.router import PlanRouter, ServedModels
from surgetank.serving.scorer import Scorer
from surgetank.serving_plan import Canary, ServingPlan
from tests.support.small_models import constant_times_first, keyed_events

SECONDS = 30.0
KEYS: list[bytes | None] = [f"k{number}".encode() for number in range(200)]


class Listener:
    """Notes every change, and waits for one."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, ServingPlan, str]] = []
        self._changed = threading.Condition()

    def served(self, models: ServedModels, seconds: float) -> None:
        """Note a plan that is in force."""
        assert seconds >= 0
        self._note("served", models.plan, "")

    def refused(self, plan: ServingPlan, version: str, why: str) -> None:
        """Note a plan that is refused."""
        self._note("refused", plan, f"{version}: {why}")

    def wait(self, count: int) -> tuple[str, ServingPlan, str]:
        """Wait until there were so many changes; return the last."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.changes) >= count, SECONDS), self.changes
            return self.changes[count - 1]

    def _note(self, *change: str | ServingPlan) -> None:
        with self._changed:
            self.changes.append(change)  # type: ignore[arg-type]
            self._changed.notify_all()


class Loads:
    """Loads versions: that of a number at once, ``slow`` when the test says so, ``broken`` not at all."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.may_end = threading.Event()

    def __call__(self, version: str) -> Model:
        """Return a model that multiplies by its version."""
        self.started.append(version)
        if version == "broken":
            raise ModelError("an operator is missing")
        if version == "slow":
            assert self.may_end.wait(SECONDS)
            version = "9"
        return constant_times_first(float(version), version)


@pytest.fixture
def loads() -> Iterator[Loads]:
    """Return what loads; a load that hangs ends with the test."""
    loads = Loads()
    yield loads
    loads.may_end.set()


def models_of(loads: Callable[[str], Model], listener: Listener, load_seconds: float = SECONDS) -> LoadedModels:
    """Return the models of a worker that serves version 1."""
    first = {"1": constant_times_first(1.0, "1")}
    return LoadedModels(
        ServingPlan("1"), first, loads, listener=listener, clock=SystemClock(), load_seconds=load_seconds
    )


@contextmanager
def scoring(models: LoadedModels) -> Iterator[list[set[str]]]:
    """Score batches all the time; yield the versions of each. Each score must be that of the version it names."""
    batches: list[set[str]] = []
    ending, events = threading.Event(), keyed_events(KEYS)
    matrix, failures = np.ones((len(KEYS), 2), dtype=np.float32), list[BaseException]()

    def run() -> None:
        scorer = Scorer(PlanRouter(models.current), SystemClock())
        try:
            while not ending.is_set():
                scored = scorer.score(events, matrix)
                named = np.array([float(model.version) for model in scored.models])[scored.model]
                assert scored.kept.tolist() == list(range(len(KEYS)))
                assert scored.dead == ()
                assert scored.scores.tolist() == named.tolist()
                batches.append({model.version for model in scored.models})
        except BaseException as error:  # noqa: BLE001 - the test raises it
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield batches
    finally:
        ending.set()
        thread.join(SECONDS)
    assert not failures, failures


def wait_for_more(batches: list[set[str]]) -> None:
    """Wait until a batch was scored that began after this call."""
    count, pause = len(batches), threading.Event()
    for _ in range(30_000):
        if len(batches) >= count + 2:
            return
        pause.wait(0.001)
    raise AssertionError("scoring stopped")


def test_every_row_is_scored_once_by_one_plan_while_plans_change(loads: Loads) -> None:
    """Forty switches while batches are scored: no batch has versions of two plans, no row is missing or doubled."""
    listener = Listener()
    models = models_of(loads, listener)
    plans = [
        ServingPlan("2", loaded=frozenset({"1"})),
        ServingPlan("2", Canary("3", 0.5)),
        ServingPlan("3"),
        ServingPlan("1", Canary("2", 0.3), shadow="3"),
    ]
    with scoring(models) as batches:
        wait_for_more(batches)
        for number in range(40):
            models.apply(plans[number % 4])
            assert listener.wait(number + 1)[:2] == ("served", plans[number % 4])
            wait_for_more(batches)  # at least one whole batch by each plan
    possible = [{"1"}, {"2"}, {"2", "3"}, {"3"}, {"1", "2"}]
    assert all(each in possible for each in batches)
    assert all(each in batches for each in possible)


def test_a_rollback_to_a_loaded_version_loads_nothing(loads: Loads) -> None:
    """It counts from the next batch on."""
    listener = Listener()
    models = models_of(loads, listener)
    models.apply(ServingPlan("2", loaded=frozenset({"1"})))
    listener.wait(1)
    back = ServingPlan("1", loaded=frozenset({"2"}))
    models.apply(back)
    assert models.current().plan == back  # without waiting
    assert loads.started == ["2"]


def test_a_version_that_does_not_load_leaves_the_old_one_in_force(loads: Loads) -> None:
    """The reason is reported, and is in the status until the version is requested again."""
    listener = Listener()
    models = models_of(loads, listener)
    plan = ServingPlan("broken")
    with scoring(models) as batches:
        models.apply(plan)
        assert listener.wait(1) == ("refused", plan, "broken: an operator is missing")
        status = models.status()
    assert (status.in_force, status.pending, status.loaded) == (ServingPlan("1"), None, frozenset({"1"}))
    assert status.failed == {"broken": "an operator is missing"}
    assert all(each == {"1"} for each in batches)


def test_a_load_that_hangs_stops_neither_scoring_nor_the_next_plan(loads: Loads) -> None:
    """Its version is dropped when it comes at last."""
    listener = Listener()
    models = models_of(loads, listener)
    with scoring(models):
        models.apply(ServingPlan("slow"))
        assert models.status().loading == {"slow"}
        models.apply(ServingPlan("2"))
        assert listener.wait(1) == ("served", ServingPlan("2"), "")
        loads.may_end.set()
    done = threading.Event()
    while models.status().loading:
        assert not done.wait(0.01)
    assert models.status().loaded == {"2"}
    assert [kind for kind, _, _ in listener.changes] == ["served"]


def test_a_plan_that_takes_too_long_to_load_is_refused(loads: Loads) -> None:
    """Requested again it waits for the load that still runs."""
    listener = Listener()
    models = models_of(loads, listener, load_seconds=0.05)
    models.apply(ServingPlan("slow"))
    assert listener.wait(1) == ("refused", ServingPlan("slow"), "slow: it has been loading for 0.05 s")
    assert models.status().failed == {"slow": "it has been loading for 0.05 s"}
    loads.may_end.set()
    models.apply(ServingPlan("slow"))
    assert loads.started.count("slow") <= 2


def test_versions_that_no_plan_names_are_released(loads: Loads) -> None:
    """After the batch in flight, which holds its model until it ends."""
    listener = Listener()
    models = models_of(loads, listener)
    router = PlanRouter(models.current)
    in_flight = list(router.primary(keyed_events([b"a"])))
    old = weakref.ref(in_flight[0].model)
    models.apply(ServingPlan("2"))
    listener.wait(1)
    assert models.status().loaded == {"2"}
    gc.collect()
    assert old() is not None
    in_flight.clear()
    gc.collect()
    assert old() is None


def test_an_error_of_the_listener_does_not_concern_the_switch(loads: Loads, caplog: pytest.LogCaptureFixture) -> None:
    """The plan is in force."""

    class Faulty(Listener):
        """Raises at each plan."""

        def served(self, models: ServedModels, seconds: float) -> None:
            """Raise."""
            raise RuntimeError("a bug")

    models = models_of(loads, Faulty())
    plan = ServingPlan("1", Canary("1", 0.5))
    models.apply(plan)
    assert models.current().plan == plan
    assert "scoring continues" in caplog.text


def test_a_plan_whose_version_did_not_load_is_tried_again() -> None:
    """A registry or a disk may be available again; no operator repeats the command."""
    failures = iter([ModelError("the registry is away"), ModelError("the registry is away")])

    def load(version: str) -> Model:
        for failure in failures:
            raise failure
        return constant_times_first(float(version), version)

    listener, first = Listener(), {"1": constant_times_first(1.0, "1")}
    models = LoadedModels(ServingPlan("1"), first, load, listener=listener, clock=SystemClock(), retry_seconds=0.01)
    models.apply(ServingPlan("2"))
    assert listener.wait(3) == ("served", ServingPlan("2"), "")
    assert [kind for kind, _, _ in listener.changes] == ["refused", "refused", "served"]


def test_a_refused_plan_is_not_tried_again_after_another_one() -> None:
    """The newest plan counts, also one that is in force already."""
    listener, first, loaded = Listener(), {"1": constant_times_first(1.0, "1")}, list[str]()

    def load(version: str) -> Model:
        loaded.append(version)
        raise ModelError("an operator is missing")

    models = LoadedModels(ServingPlan("1"), first, load, listener=listener, clock=SystemClock(), retry_seconds=0.2)
    models.apply(ServingPlan("2"))
    assert listener.wait(1)[0] == "refused"
    models.apply(ServingPlan("1"))
    models.apply(ServingPlan("3"))
    assert listener.wait(3)[1] == ServingPlan("3")
    assert set(loaded[1:]) == {"3"}


def test_a_shadow_that_does_not_load_keeps_no_primary_back(loads: Loads) -> None:
    """It is reported; what loads too long is left out as well."""
    listener = Listener()
    models = models_of(loads, listener, load_seconds=0.1)
    plan = ServingPlan("2", shadow="broken", loaded=frozenset({"slow"}))
    models.apply(plan)
    assert listener.wait(3)[0] == "refused"
    assert sorted(listener.changes, key=lambda change: (change[0], change[2])) == [
        ("refused", plan, "broken: an operator is missing"),
        ("refused", plan, "slow: it has been loading for 0.1 s"),
        ("served", ServingPlan("2"), ""),
    ]
    assert models.current().plan == ServingPlan("2")
