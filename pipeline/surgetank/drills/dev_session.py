"""Runs one worker of a pipeline with sample events, and shows the scores: what ``surgetank dev`` does."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from surgetank.declaration import Pipeline
from surgetank.drills.fleet import Fleet
from surgetank.drills.pacing import at_rate
from surgetank.drills.recording import Recording
from surgetank.drills.replay import Replay
from surgetank.drills.wire import SCORE, decoder, encoder
from surgetank.errors import SurgetankError
from surgetank.kafka import clients, provisioning
from surgetank.kafka.topic_reader import TopicReader, offsets, partitions
from surgetank.settings import KafkaSettings

_READY_SECONDS = 300.0  # the first start after an install compiles
_ENDLESS = 10**9


def run_session(
    pipeline: Pipeline,
    topology: str,
    recording: Recording,
    *,
    kafka: KafkaSettings,
    worker_options: Sequence[str],
    folder: Path,
    rate: float,
    count: int | None,
    show: Callable[[pa.RecordBatch], None],
    say: Callable[[str], None],
) -> None:
    """Make the topics, start a worker, send events at a rate (per second), and give ``show`` their scores.

    Returns after ``count`` scores; None: never. The events go on where those on the topics end, so that neither ids nor
    times repeat. The worker gets ``worker_options`` on its command line; its logs and local state are in ``folder``.
    Raises SurgetankError, with the end of the log if the worker ends.
    """
    provisioning.apply(kafka, pipeline)
    with Fleet(topology, bootstrap=kafka.bootstrap, folder=folder, options=worker_options) as fleet:
        # The same name again, so that it finds its state; those of other machines may use the same Kafka.
        worker = fleet.start(name=f"dev-{socket.gethostname()}")
        say(f"starting a worker, which takes a minute at the first time; its log:\n  {worker.log}")
        seconds = fleet.wait_ready(worker, _READY_SECONDS)
        say(f"ready after {seconds:.1f} s; http://127.0.0.1:{worker.port} has /metrics and /ready")
        decode, seen = decoder(SCORE), 0
        pace, first = at_rate(rate), _events_on(kafka, recording.topics)
        replay = Replay(kafka, recording, pace, encoder(), count=first + _ENDLESS, first=first)
        with (
            TopicReader(kafka, [pipeline.scores.topic], start="latest") as reader,
            replay.in_background() as sending,
        ):
            while count is None or seen < count:
                fleet.check_running(worker)
                if sending.done():
                    raise SurgetankError(f"events cannot be sent: {sending.result().error}")
                columns = decode(reader.read(rows=1_000 if count is None else count - seen)).columns
                if columns.num_rows:
                    seen += columns.num_rows
                    show(columns)


def _events_on(kafka: KafkaSettings, topics: tuple[str, ...]) -> int:
    """Return the number of events that were ever sent to topics."""
    admin = clients.admin(kafka)
    return sum(offsets(admin, partitions(admin, topics, kafka.bootstrap), "latest").values())
