"""The bench's hand-written loops with transactions keep the guarantee that they are compared by, also after a kill."""

import threading
import uuid
from pathlib import Path

import pytest

from ops.bench.backlog import fill, make_topics, remove_topics_of
from ops.bench.benchmark_run import topics_of
from ops.bench.contender_args import ContenderArgs
from ops.bench.contenders import Contender, running, tail
from ops.bench.job import Avro
from ops.bench.jobs import Flights, Payments, Workload
from surgetank.kafka import clients
from surgetank.kafka.broker_warm_up import warm_up
from surgetank.kafka.topic_reader import TopicReader
from tests.support.kafka_under_test import KafkaUnderTest

EVENTS = 60_000
PAUSE_SECONDS = 0.02

Scores = dict[tuple[int, int], float]


def errand(kafka: KafkaUnderTest, work: Workload, events: str, folder: Path) -> ContenderArgs:
    """Return what a run of a loop is to do, with topics of its own."""
    name = f"{events}-{uuid.uuid4().hex[:8]}"
    job = ContenderArgs(kafka.bootstrap, name, events, f"{name}.scores", f"{name}.changelog", str(folder / name))
    make_topics(kafka.settings, topics_of(job, work))
    return job


def run_until(
    kafka: KafkaUnderTest, loop: Contender, job: ContenderArgs, folder: Path, share: float, *, kill: bool
) -> None:
    """Run a loop until a share of the events is committed; then stop or kill it."""
    admin, pause, log = clients.admin(kafka.settings), threading.Event(), folder / f"{job.name}.log"
    with running(loop, job, log) as process:
        while (loop.progress(admin, job) or 0) < share * EVENTS:
            assert process.poll() is None, tail(log)
            pause.wait(PAUSE_SECONDS)
        if kill:
            process.kill()


def scores_of(kafka: KafkaUnderTest, job: ContenderArgs) -> Scores:
    """Return the committed scores by the position of their event; none may be there twice."""
    avro, found = Avro("score"), {}
    with TopicReader(kafka.settings, [job.scores]) as reader:
        upto = reader.ends()
        while not reader.reached(upto):
            values = [value for value in reader.read().values.to_pylist() if value is not None]
            for score in avro.decode(values).to_pylist() if values else ():
                place = score["source_partition"], score["source_offset"]
                assert place not in found
                found[place] = score["score"]
    return found


@pytest.mark.parametrize(
    ("work", "module"), [(Flights(), "hand_transactions"), (Payments(500), "hand_state_transactions")]
)
def test_every_event_is_scored_once_although_the_loop_is_killed(
    kafka: KafkaUnderTest, tmp_path: Path, work: Workload, module: str
) -> None:
    """Killed while it works, the loop goes on where it had committed, with the state that it had there."""
    loop = Contender(module, module, "exactly once", f"ops.bench.{module}", EVENTS, {})
    events = f"loops-{uuid.uuid4().hex[:8]}"
    found: list[Scores] = []
    try:
        make_topics(kafka.settings, [events])
        fill(kafka.settings, events, work, EVENTS)
        for kills in (0, 1):
            job = errand(kafka, work, events, tmp_path)
            for _ in range(kills):
                run_until(kafka, loop, job, tmp_path, 0.2, kill=True)
            run_until(kafka, loop, job, tmp_path, 1.0, kill=False)
            found.append(scores_of(kafka, job))
    finally:
        remove_topics_of(kafka.settings, events)
    assert len(found[0]) == EVENTS
    assert found[0] == found[1]


def test_warming_up_leaves_nothing_behind(kafka: KafkaUnderTest) -> None:
    """Transactions were committed; topic and group are gone."""
    admin = clients.admin(kafka.settings)
    topics = set(admin.list_topics(timeout=10).topics)
    assert warm_up(kafka.settings, seconds=0.5) > 0
    made = {topic for topic in set(admin.list_topics(timeout=10).topics) - topics if not topic.startswith("__")}
    assert not made
    groups = admin.list_consumer_groups(request_timeout=10).result().valid
    assert not [group.group_id for group in groups if group.group_id.startswith("warm-up-")]
