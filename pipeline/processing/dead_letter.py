"""How a dead letter looks on its topic: key, value and headers as they came, and behind them what happened.

A dead letter that is replayed and dies once more has two sets of our headers; the last set counts.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.records import DeadLetter, DeadLetterReason, Headers, RecordBatch, Step, TopicPartition

TOPIC = "surgetank.topic"
PARTITION = "surgetank.partition"
OFFSET = "surgetank.offset"
STAGE = "surgetank.stage"
REASON = "surgetank.reason"
MESSAGE = "surgetank.message"
TIME = "surgetank.time"
ARRIVED = "surgetank.arrived"
PIPELINE = "surgetank.pipeline"
NAMES = (TOPIC, PARTITION, OFFSET, STAGE, REASON, MESSAGE, TIME, ARRIVED, PIPELINE)

MESSAGE_MAX = 500


class DeadLetterRecord(NamedTuple):
    """A record for the dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class DeadLetterCause:
    """What the headers of a dead letter say: where the record lay, and where, why and when it died.

    ``time`` is in UTC; ``arrived_ms`` is the record's own timestamp, in milliseconds since the epoch.
    """

    source: TopicPartition
    offset: int
    stage: Step
    reason: DeadLetterReason
    message: str
    time: datetime
    arrived_ms: int
    pipeline: str


def dead_letter_records(records: RecordBatch, dead: DeadLetter, *, pipeline: str, now: float) -> DeadLetterRecord:
    """Return the record that is written for a dead letter. ``now`` is in seconds since the epoch.

    Key and value are the original bytes; a null stays null. The headers are the original ones, then ours, in
    the order of ``NAMES``. The message is cut off after ``MESSAGE_MAX`` characters.
    """
    row = dead.row
    source = records.sources[records.source[row]]
    ours = (
        source.topic,
        str(source.partition),
        str(records.offsets[row]),
        dead.stage.value,
        dead.reason.value,
        dead.message[:MESSAGE_MAX],
        datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        str(records.arrived_ms[row]),
        pipeline,
    )
    # A message may quote bytes that are no text.
    stamped = [(name, text.encode(errors="backslashreplace")) for name, text in zip(NAMES, ours, strict=True)]
    return DeadLetterRecord(records.keys[row], records.values[row], [*records.headers_of(row), *stamped])


def parse_dead_letter(headers: Headers) -> DeadLetterCause:
    """Return what the headers of a dead letter say.

    Raises ValueError, which names the header, if one of ours is missing or says nothing that we understand.
    """
    found = {name: value for name, value in headers if name in NAMES}  # the last of each
    texts = {}
    for name in NAMES:
        value = found.get(name)
        if value is None:
            raise ValueError(f"header {name!r} is missing; this is no dead letter of a pipeline")
        try:
            texts[name] = value.decode()
        except UnicodeDecodeError:
            raise ValueError(f"header {name!r} is not UTF-8") from None
    try:
        return DeadLetterCause(
            source=TopicPartition(texts[TOPIC], int(texts[PARTITION])),
            offset=int(texts[OFFSET]),
            stage=Step(texts[STAGE]),
            reason=DeadLetterReason(texts[REASON]),
            message=texts[MESSAGE],
            time=datetime.fromisoformat(texts[TIME]),
            arrived_ms=int(texts[ARRIVED]),
            pipeline=texts[PIPELINE],
        )
    except ValueError as error:
        raise ValueError(f"a header of this dead letter is not as it was written: {error}") from None
