"""pipeline.http.lookup: what is remembered of a key, from this worker and from its peers, over real HTTP."""

import json
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest

from pipeline import Events, Pipeline, Scores, Table, hours
from pipeline.http.lookup import KEYS_MAX, Lookup
from pipeline.processing.stateful_features import row_serdes
from pipeline.settings import TelemetrySettings
from pipeline.state.predictions import predictions
from pipeline.telemetry.health import Health
from pipeline.telemetry.metrics import Metrics
from pipeline.telemetry.server import TelemetryServer

CARDS = Table("cards")
PIPELINE = Pipeline(
    name="payments",
    events=Events("payments.events", schema="payment", key="card", time="at"),
    features=(CARDS.count(window=hours(1)), CARDS.last("amount")),
    model="m",
    scores=Scores("payments.scores"),
)
FORMATS, _ = row_serdes(PIPELINE)


class Stopped:
    """A clock that shows 10 s after the epoch."""

    def now(self) -> float:
        """Return the wall clock."""
        return 10.0

    def monotonic(self) -> float:
        """Return the other one."""
        return 10.0


class Shelf:
    """Tables as values: by partition and table, the rows of keys."""

    def __init__(self, rows: dict[int, dict[str, dict[bytes, bytes]]]) -> None:
        self.rows = rows

    def committed(self, table: str, keys: Sequence[bytes]) -> dict[int, list[bytes | None]]:
        """Return what each partition has of the keys."""
        return {partition: [tables.get(table, {}).get(key) for key in keys] for partition, tables in self.rows.items()}


class Worker:
    """A worker as far as lookups go: its shelf, its server, and the peers that it is told of."""

    def __init__(self, rows: dict[int, dict[str, dict[bytes, bytes]]]) -> None:
        clock = Stopped()
        self.peers: set[str] = set()
        self.server = TelemetryServer(TelemetrySettings(), Metrics(), Health(clock))
        self.lookup = Lookup(
            PIPELINE,
            FORMATS,
            Shelf(rows),
            partitions=2,
            me=self.server.url,
            peers=lambda: self.peers,
            clock=clock,
        )
        self.server.also(self.lookup.answer)

    def get(self, target: str) -> tuple[HTTPStatus, Any]:
        """Return status and body of a request."""
        answer = self.lookup.answer(target)
        assert answer is not None
        return answer[0], json.loads(answer[1])


def scored(score: float, at_ms: int) -> dict[str, dict[bytes, bytes]]:
    """Return the tables of a partition in which card a was scored."""
    row = predictions(np.array([score]), np.array([at_ms]), at_ms, "7")
    seen = PIPELINE.memories[0].layout.rows(1)
    seen[0, 0] = at_ms
    return {
        "predictions": {b"a": FORMATS["predictions"].pack(row, 5)[0]},
        "cards": {b"a": FORMATS["cards"].pack(seen, 5)[0]},
    }


@pytest.fixture
def two() -> Iterator[tuple[Worker, Worker]]:
    """Two workers that serve and know of each other; the second one has card a."""
    one, other = Worker({0: {}}), Worker({1: scored(0.25, 1000)})
    one.peers = other.peers = {one.server.url, other.server.url}
    with one.server, other.server:
        yield one, other


def test_any_worker_answers_for_a_key_of_another(two: tuple[Worker, Worker]) -> None:
    """The owner is found and asked; the answer has the score, its age and the model's version."""
    for worker in two:
        status, found = worker.get("/v1/payments/predictions/a")

        assert status == HTTPStatus.OK
        assert found.pop("age_seconds") == 9
        assert found == {"key": "a", "score": 0.25, "event_ms": 1000, "scored_ms": 1000, "model_version": "7"}


def test_features_come_by_name(two: tuple[Worker, Worker]) -> None:
    """The state row of each table, as its layout names it."""
    status, found = two[0].get("/v1/payments/features/a")

    assert status == HTTPStatus.OK
    assert found["tables"]["cards"]["seen_ms"] == 1000


def test_a_key_that_nobody_has_is_not_found(two: tuple[Worker, Worker]) -> None:
    """404 only when every partition was looked into; of many keys in one request, those are named."""
    assert two[0].get("/v1/payments/predictions/b")[0] == HTTPStatus.NOT_FOUND

    status, found = two[0].get("/v1/payments/predictions?key=a&key=b&key=a")

    assert status == HTTPStatus.OK
    assert list(found["found"]) == ["a"]
    assert found["unknown"] == ["b"]


def test_a_key_of_a_partition_that_nobody_answers_for_is_unavailable(two: tuple[Worker, Worker]) -> None:
    """While the other one restores, or does not answer, nobody may say that it knows nothing."""
    one, other = two
    other.server.stop()

    status, found = one.get("/v1/payments/predictions/a")

    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    assert "partitions [1]" in found["error"]
    assert one.get("/v1/payments/predictions?key=a")[1] == {"found": {}, "unavailable": ["a"]}


def test_of_a_key_in_two_partitions_the_newer_row_counts() -> None:
    """A key whose events came to two partitions has two rows; the later score is the last one."""
    worker = Worker({0: scored(0.5, 2000), 1: scored(0.25, 1000)})

    assert worker.get("/v1/payments/predictions/a")[1]["score"] == 0.5


@pytest.mark.parametrize("target", ["/v1/payments/predictions", "/v1/payments/predictions/"])
def test_a_request_without_a_key_is_told_so(target: str) -> None:
    """And so is one with too many: what a request costs is bounded."""
    worker = Worker({})
    many = "&".join(f"key={number}" for number in range(KEYS_MAX + 1))

    assert worker.get(target)[0] == HTTPStatus.BAD_REQUEST
    assert worker.get(f"/v1/payments/predictions?{many}")[0] == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("target", ["/v1/flights/predictions/a", "/v1/payments/other/a", "/metrics"])
def test_other_paths_are_not_its_own(target: str) -> None:
    """What belongs to nobody is left to the server, which says what there is."""
    assert Worker({}).lookup.answer(target) is None


def test_a_key_may_hold_any_character() -> None:
    """Keys are percent-encoded in the path, slashes too."""
    row = scored(0.5, 1)["predictions"][b"a"]
    worker = Worker({0: {"predictions": {"a/ä".encode(): row}}, 1: {}})

    assert worker.get("/v1/payments/predictions/a%2F%C3%A4")[1]["key"] == "a/ä"
