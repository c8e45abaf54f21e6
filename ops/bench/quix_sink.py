"""(d) Quix Streams in a separate environment. At least once.

Its dataframes process one record at a time, and its windows group by key. Its interface for whole batches is a sink:
records gather until a checkpoint, which writes them and only then commits their offsets.
"""

from typing import Any

from confluent_kafka import KafkaException, Producer
from quixstreams.sinks.base import BatchingSink, SinkBatch  # type: ignore[import-not-found]

from ops.bench.by_quix import application
from ops.bench.contender_args import ContenderArgs, contender_args
from ops.bench.job import BenchJob
from ops.bench.tuning import BATCH_ROWS_MAX, FETCHING, QUIX_SINK, QUIX_SINK_PRODUCER


class ScoreSink(BatchingSink):  # type: ignore[misc]
    """Scores the gathered records of each partition, and waits until Kafka has the scores."""

    def __init__(self, job: ContenderArgs) -> None:
        super().__init__()
        self._topic = job.scores
        self._job = BenchJob(job.name, job.events)
        self._failed: list[Any] = []
        self._producer = Producer(
            {
                "bootstrap.servers": job.bootstrap,
                "on_delivery": lambda error, _: self._failed.append(error),
                **QUIX_SINK_PRODUCER,
            }
        )

    def write(self, batch: SinkBatch) -> None:
        """Score the batch of one partition, with at most BATCH_ROWS_MAX rows in one model call."""
        for items in batch.iter_chunks(BATCH_ROWS_MAX):
            chunk = list(items)
            partition = batch.partition
            scores = self._job.score(
                [item.value for item in chunk], [partition] * len(chunk), [item.offset for item in chunk]
            )
            for item, score in zip(chunk, scores, strict=True):
                self._producer.produce(self._topic, score, item.key, partition)
            self._producer.poll(0)

    def flush(self) -> None:
        """Write all gathered records; the checkpoint commits when this returns."""
        super().flush()
        self._producer.flush()
        if self._failed:
            raise KafkaException(self._failed[0])


def main(job: ContenderArgs) -> None:
    """Run until SIGTERM."""
    app = application(job, consumer_extra_config=FETCHING, **QUIX_SINK)
    events = app.topic(job.events, key_deserializer="bytes", value_deserializer="bytes")
    app.dataframe(events).sink(ScoreSink(job))
    app.run()


if __name__ == "__main__":
    main(contender_args())
