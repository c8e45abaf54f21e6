"""The record format of dead letters: the original key, value and headers, then headers that describe the failure.

A dead letter that is replayed and fails again has two sets of these headers; the last set is valid.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from surgetank.processing.dead_letter_reasons import find_reason
from surgetank.record_compression import RecordBytes, compressed_bytes
from surgetank.records import DeadLetter, DeadLetterReason, Headers, RecordBatch, TopicPartition

TOPIC = "surgetank.topic"
PARTITION = "surgetank.partition"
OFFSET = "surgetank.offset"
STAGE = "surgetank.stage"
REASON = "surgetank.reason"
MESSAGE = "surgetank.message"
TIME = "surgetank.time"
ARRIVED = "surgetank.arrived"
PIPELINE = "surgetank.pipeline"
OVERSIZE = "surgetank.oversize"  # only on a dead letter whose value was omitted: the size of the value in bytes
NAMES = (TOPIC, PARTITION, OFFSET, STAGE, REASON, MESSAGE, TIME, ARRIVED, PIPELINE)

MESSAGE_MAX = 500
_HEADER_BYTES = 10  # two lengths of at most five bytes each, before a header's name and before its value
LEFT_OUT = "a header whose name is not UTF-8 is left out"


class DeadLetterRecord(NamedTuple):
    """A record for the dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class DeadLetterCause:
    """The parsed headers of a dead letter: position of the record, and reason and time of the failure.

    ``time`` is in UTC; ``arrived_ms`` is the record's own timestamp, in milliseconds since the epoch.
    """

    source: TopicPartition
    offset: int
    reason: DeadLetterReason
    message: str
    time: datetime
    arrived_ms: int
    pipeline: str


def dead_letter_records(
    records: RecordBatch, dead: DeadLetter, *, pipeline: str, now: float, bytes_max: RecordBytes
) -> DeadLetterRecord:
    """Return the record to produce for a dead letter. ``now`` is in seconds since the epoch.

    Key and value are the original bytes; a null stays null. The headers are the original ones, then those of ``NAMES``,
    in that order. The message is truncated to ``MESSAGE_MAX`` characters. A header whose name is not UTF-8 is omitted,
    since most clients cannot read it; the message says so.

    A record that does not fit ``bytes_max`` is reduced until it does: first the value is omitted, then the original
    headers, then the key. It then has the header ``OVERSIZE`` before those of ``NAMES``, which give the position of the
    event.
    """
    row = dead.row
    message = dead.message
    headers = [header for header in records.headers_of(row) if is_text(header[0])]
    if len(headers) < len(records.headers_of(row)):
        message = f"{LEFT_OUT}; {message}"
    source = records.sources[records.source[row]]
    ours = (
        source.topic,
        str(source.partition),
        str(records.offsets[row]),
        dead.stage.value,
        dead.reason.label,
        message[:MESSAGE_MAX],
        datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        str(records.arrived_ms[row]),
        pipeline,
    )
    # A message may contain characters that cannot be encoded as UTF-8.
    stamped = [(name, text.encode(errors="backslashreplace")) for name, text in zip(NAMES, ours, strict=True)]
    key, value = records.keys[row].as_py(), records.values[row].as_py()
    whole = DeadLetterRecord(key, value, [*headers, *stamped])
    if _fits(whole, bytes_max):
        return whole
    cut = [(OVERSIZE, str(len(value or b"")).encode()), *stamped]
    shorter = (DeadLetterRecord(key, None, [*headers, *cut]), DeadLetterRecord(key, None, cut))
    return next((each for each in shorter if _fits(each, bytes_max)), DeadLetterRecord(None, None, cut))


def _fits(letter: DeadLetterRecord, bytes_max: RecordBytes) -> bool:
    return bytes_max.fit(size(letter), lambda: compressed_bytes(*letter))


def size(letter: DeadLetterRecord) -> int:
    """Return the maximum uncompressed size of a record in a batch, in bytes, without the batch header."""
    headers = sum(len(name.encode()) + len(value or b"") + _HEADER_BYTES for name, value in letter.headers)
    return len(letter.key or b"") + len(letter.value or b"") + headers


def is_text(name: str) -> bool:
    """Return whether a header's name is valid UTF-8; invalid bytes appear as surrogates in it."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


def parse_dead_letter(headers: Headers) -> DeadLetterCause:
    """Parse the headers of a dead letter.

    Raises ValueError if a header of ``NAMES`` is missing, is not UTF-8 or cannot be parsed.
    """
    found = {name: value for name, value in headers if name in NAMES}  # the last value of each name
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
            reason=find_reason(texts[STAGE], texts[REASON]),
            message=texts[MESSAGE],
            time=datetime.fromisoformat(texts[TIME]),
            arrived_ms=int(texts[ARRIVED]),
            pipeline=texts[PIPELINE],
        )
    except ValueError as error:
        raise ValueError(f"a header of this dead letter is not as it was written: {error}") from None
