"""pipeline.tasks.restore.Restorer: a store that is damaged, or that nobody waits for any more."""

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import pytest
from confluent_kafka import KafkaError, Message

from pipeline.batch import Life, Source, TaskId
from pipeline.clock import SystemClock
from pipeline.errors import StateCorrupt
from pipeline.kafka import clients
from pipeline.settings import KafkaSettings
from pipeline.state.store import Store
from pipeline.tasks.restore import Restorer
from pipeline.tasks.vault import Kept, Vault
from pipeline.telemetry.metrics import Metrics
from tests.unit.state.stores import FORMATS, SHAPES

LIFE: Life = (TaskId("payments", 3), 1)
STARTS = {Source("payments.events", 3): 10}
SECONDS = 20


class Brokers:
    """A consumer that says of every changelog how long it is, and gives what is put there."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rest: list[Message] = []

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        """Return its first offset and its end."""
        return 0, self._world.records

    def incremental_assign(self, _partitions: object) -> None:
        """Take partitions."""

    def incremental_unassign(self, _partitions: object) -> None:
        """Give them back."""

    def poll(self, seconds: float) -> Message | None:
        """Return the first of what there is."""
        try:
            first, *self._rest = self._world.messages.get(timeout=seconds)
        except queue.Empty:
            return None
        return first

    def consume(self, _count: int, _seconds: float) -> list[Message]:
        """Return what came along."""
        return self._rest

    def close(self) -> None:
        """Leave."""


class World:
    """A vault of one store and who waits for it. The store is ``damaged`` until it is condemned."""

    kept = Kept("payments", 12, FORMATS, SHAPES, {"cards": "payments.cards.changelog"}, {"cards": ""})

    def __init__(self) -> None:
        self.records = 0
        self.messages: queue.SimpleQueue[list[Message]] = queue.SimpleQueue()
        self.metrics = Metrics()
        self.damaged = False
        self.given_up = False  # while the store is opened
        self.gone = threading.Event()
        self.closed = threading.Event()
        self.restored = threading.Event()
        self.failures: list[BaseException] = []

    def open(self, _life: Life) -> Store:
        """Take long enough for the task to be given up meanwhile, where that is asked for."""
        if self.given_up:
            self.gone.set()
        return cast("Store", self)

    def positions(self) -> dict[str, int]:
        """Return nothing: it is new. Raises StateCorrupt if it is damaged."""
        if self.damaged:
            raise StateCorrupt("a block is not what it was")
        return {}

    def write(self, _changes: Mapping[str, object], positions: Mapping[str, int]) -> None:
        """Take how far it has come."""
        assert positions

    def condemn(self, _partition: int, _why: str) -> None:
        """Make it anew with the next opening."""
        self.damaged = False

    def install(self, _life: Life) -> bool:
        """Let it be used."""
        return True

    def close(self, _tasks: Iterable[TaskId]) -> None:
        """Give it back."""
        self.closed.set()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world whose changelogs are empty to begin with."""
    found = World()
    monkeypatch.setattr(clients, "reader", lambda *_, **__: Brokers(found))
    return found


@pytest.fixture
def restorer(world: World) -> Iterator[Restorer]:
    """Return one that works in that world."""
    found = Restorer(
        KafkaSettings(),
        cast("Vault", world),
        client_id="w",
        share=0.5,
        wanted=lambda _: not world.gone.is_set(),
        moved=lambda _: None,
        restored=lambda *_: world.restored.set(),
        running=lambda: 0.0,
        clock=SystemClock(),
        metrics=world.metrics,
        beat=lambda: None,
        on_failure=world.failures.append,
    )
    found.start()
    yield found
    found.stop(SECONDS)
    assert not world.failures


def test_a_store_that_is_damaged_where_its_positions_are_is_made_anew(world: World, restorer: Restorer) -> None:
    """As one is that turns out so later: it is dropped, and the worker lives on."""
    world.damaged = True

    restorer.restore(LIFE, STARTS)

    assert world.restored.wait(SECONDS), world.failures


def test_a_task_that_is_given_up_while_its_store_is_opened_leaves_it_closed(world: World, restorer: Restorer) -> None:
    """Who gave it up found nothing to close yet; open, it would be asked for last scores of another's task."""
    world.given_up = True

    restorer.restore(LIFE, STARTS)

    assert world.closed.wait(SECONDS)
    assert not world.restored.is_set()


def test_nothing_remains_of_a_task_that_is_given_up(world: World, restorer: Restorer) -> None:
    """What is told of how much there is left does not stay where it was."""
    world.records = 7
    restorer.restore(LIFE, STARTS)
    assert reached(world, 7)

    world.gone.set()

    assert reached(world, 0)


def reached(world: World, records: int) -> bool:
    """Wait until so many records remain."""
    pause = threading.Event()
    for _ in range(SECONDS * 20):
        if world.metrics.restore_remaining_records.value() == records:
            return True
        pause.wait(0.05)
    return False


def test_an_error_that_is_of_no_partition_ends_nobody(world: World, restorer: Restorer) -> None:
    """As where the group of a client is refused, which it never joins."""
    world.records = 7
    error = Message(error=KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
    record = Message(topic="payments.cards.changelog", partition=3, offset=5, key=b"a")
    end = Message(topic="payments.cards.changelog", partition=3, offset=7, error=KafkaError(KafkaError._PARTITION_EOF))
    world.messages.put([error, record, end])

    restorer.restore(LIFE, STARTS)

    assert world.restored.wait(SECONDS), world.failures
