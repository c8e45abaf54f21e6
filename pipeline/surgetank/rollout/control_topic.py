"""Reads the rollout topic of a pipeline, and appends commands to it."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from surgetank.errors import BrokerError, RolloutRefused, TopicsError
from surgetank.kafka.columnar.plain import PlainConsumer
from surgetank.kafka.confirmed import ConfirmedProducer, NotWritten
from surgetank.kafka.topic_identity import topic_identity
from surgetank.kafka.topic_reader import TopicReader
from surgetank.records import RecordBatch
from surgetank.rollout.commands import Command
from surgetank.rollout.rollout_log import Entry, RolloutLog
from surgetank.rollout.state import CommandRefusal, RolloutState
from surgetank.settings import KafkaSettings

WRITE_SECONDS = 15.0
READ_SECONDS = 15.0
STEP_SECONDS = 0.5
# A fetch waits at the broker until there is a record: a command arrives at once, and an idle topic costs two requests a
# second.
FETCH_WAIT_MS = 500


class RecordReader(Protocol):
    """What reads the topic: a ``TopicReader``."""

    def catch_up(self) -> Iterator[RecordBatch]:
        """Read up to the present end."""
        ...

    def read(self, *, timeout: float) -> RecordBatch:
        """Return the records that arrive within ``timeout`` seconds, as soon as there are any."""
        ...


@contextmanager
def open_rollout(kafka: KafkaSettings, topic: str) -> Iterator[TopicReader]:
    """Open a rollout topic at its first record. Raises BrokerError, or TopicsError if it is missing.

    A missing topic is not asked for by name in other ways: brokers with ``auto.create.topics.enable`` would make one
    that is not compacted.
    """
    if topic_identity(kafka, topic) is None:
        raise TopicsError(f"topic {topic!r} is missing; make it with: surgetank topics apply")
    # Few records: loading the compiled loops would take longer.
    with TopicReader(
        kafka,
        [topic],
        consumer=lambda options: PlainConsumer({**options, "fetch.wait.max.ms": FETCH_WAIT_MS}),
    ) as reader:
        yield reader


def add_records(log: RolloutLog, records: RecordBatch) -> list[Entry]:
    """Add records to a log in their order; return the new entries. Commands are in partition 0 only."""
    rows = zip(records.partitions.tolist(), records.offsets.tolist(), records.values.to_pylist(), strict=True)
    found = [log.add(offset, value) for partition, offset, value in rows if partition == 0]
    return [each for each in found if each is not None]


def read_rollout(kafka: KafkaSettings, topic: str, model: str) -> RolloutLog:
    """Return what the topic holds for a model. Raises the errors of ``open_rollout``."""
    with open_rollout(kafka, topic) as reader:
        return _caught_up(reader, model)


def give_command(
    kafka: KafkaSettings, topic: str, model: str, command_for: Callable[[RolloutState, str], Command]
) -> Entry:
    """Append a command to the topic and return it as accepted, with the state after it.

    ``command_for`` makes it of the present state and of a new id. Raises RolloutRefused, with the reason, if it does
    not fit the state, also if another command came first; BrokerError if it could not be written or read again, when
    it may still take effect; TopicsError if the topic is missing.
    """
    with open_rollout(kafka, topic) as reader:
        log = _caught_up(reader, model)
        command = command_for(log.state, uuid.uuid4().hex)
        foreseen = log.outcome(command)
        if isinstance(foreseen, CommandRefusal):
            raise RolloutRefused(f"{command.action} is refused: {foreseen.reason}")
        _append(kafka, topic, command)
        entry = _read_again(kafka, reader, log, command.id)
    if entry.refusal:
        raise RolloutRefused(f"{command.action} is refused: {entry.refusal}")
    return entry


def _caught_up(reader: RecordReader, model: str) -> RolloutLog:
    log = RolloutLog(model)
    for records in reader.catch_up():
        add_records(log, records)
    return log


def _append(kafka: KafkaSettings, topic: str, command: Command) -> None:
    # The id of a command makes it count once, however often it is written.
    producer = ConfirmedProducer(kafka, client_id="surgetank-rollout", idempotent=False)
    try:
        # The key is as unique as the id: compaction keeps all commands.
        written = producer.send(topic, command.encode(), command.at, key=f"{command.model}/{command.id}".encode())
        written.result(WRITE_SECONDS)
    except (NotWritten, TimeoutError) as error:
        raise BrokerError(
            f"{kafka.bootstrap} did not confirm the command within {WRITE_SECONDS:.0f} s ({str(error) or 'silence'}): "
            "look at `surgetank models history` before you repeat it"
        ) from None
    finally:
        producer.close()


def _read_again(kafka: KafkaSettings, reader: RecordReader, log: RolloutLog, id_: str) -> Entry:
    """Return the entry of a command that was written. Other readers see what this one sees."""
    for _ in range(round(READ_SECONDS / STEP_SECONDS)):
        if (entry := log.entry(id_)) is not None:
            return entry
        add_records(log, reader.read(timeout=STEP_SECONDS))
    raise BrokerError(
        f"{kafka.bootstrap} has the command and does not return it: look at `surgetank models history` before you "
        "repeat it"
    )
