"""Compares what a worker made of the records of an odd pipeline with what the oracle expects of each."""

import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro
import pyarrow as pa

from surgetank.codec.schema_repository import engine_schemas
from surgetank.drills.odd.declaration import OddPipeline
from surgetank.drills.odd.oracle import FACT, FRAME_BYTES, RECORD_BYTES, SCORE, ExpectedOutcome, Oracle
from surgetank.drills.odd.reading import Position, ReadRecord
from surgetank.drills.odd.same_text import is_text_of
from surgetank.drills.odd.strict_avro import conforms, physical
from surgetank.kafka.message_headers import UNREADABLE
from surgetank.records import Headers

SHOWN_MAX = 5  # mismatches of one pipeline that are kept in words
_RELATIVE = 1e-4
# The documented headers of dead letters, in their order.
_STAMPS = tuple(
    f"surgetank.{name}"
    for name in ("topic", "partition", "offset", "stage", "reason", "message", "time", "arrived", "pipeline")
)
_OVERSIZE = "surgetank.oversize"
_HEADER_BYTES = 10  # of lengths, at most, before name and value of a header
_UNCOMPRESSED_BYTES_MAX = 99_000_000  # what is larger before its compression need not be kept
_COMPRESSED_SHARE = 0.85  # what is compressed to more of the limit need not be kept: the worker has a margin


@dataclass(slots=True)
class Judgement:
    """Counts by outcome and by topic of the sources, and what was wrong.

    ``mismatches`` are the first in words, ``wrong`` is the number of all.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    mismatches: list[str] = field(default_factory=list)

    def add(self, what: str, position: Position, more: str) -> None:
        """Count a mismatch."""
        self.wrong += 1
        if len(self.mismatches) < SHOWN_MAX:
            self.mismatches.append(f"{what} {position.topic}[{position.partition}]@{position.offset}: {more}"[:400])


class Judge:
    """Judges one pipeline. ``dead_letter_bytes_max``: max.message.bytes of its dead letters."""

    def __init__(self, odd: OddPipeline, dead_letter_bytes_max: int) -> None:
        self._odd = odd
        self._oracle = Oracle(odd)
        score = engine_schemas().current("score")
        self._score_schema = fastavro.parse_schema(physical(score.avro), named_schemas={})
        self._is_score = conforms(score.avro)
        self._score_frame = b"\0" + score.id.to_bytes(FRAME_BYTES - 1, "big")
        self._dead_letter_bytes_max = dead_letter_bytes_max
        self._found: dict[Position, list[tuple[str, ReadRecord, Mapping[str, Any]]]] = defaultdict(list)
        self._last: dict[tuple[str, int], int] = {}
        self.judgement = Judgement()

    def take_scores(self, records: Iterable[ReadRecord]) -> None:
        """Take the records of the score topic."""
        for record in records:
            value = record.value or b""
            frame, body = value[:FRAME_BYTES], value[FRAME_BYTES:]
            if frame != self._score_frame or not self._is_score(body):
                self.judgement.add("unreadable score", record.position, f"frame {frame.hex()}, {len(body)} bytes")
                continue
            score: dict[str, Any] = fastavro.schemaless_reader(io.BytesIO(body), self._score_schema, None)
            position = Position(score["source_topic"], score["source_partition"], score["source_offset"])
            self._take(SCORE, position, record, score)

    def take_dead_letters(self, records: Iterable[ReadRecord]) -> None:
        """Take the records of the dead-letter topic."""
        for record in records:
            names, values = zip(*record.headers[-len(_STAMPS) :], strict=True) if record.headers else ((), ())
            if names != _STAMPS or None in values:
                self.judgement.add("unreadable dead letter", record.position, f"its headers end with {names}")
                continue
            topic, partition, offset, stage, reason, *_, pipeline = (value.decode() for value in values)
            self._take(
                f"{stage}/{reason}", Position(topic, int(partition), int(offset)), record, {"pipeline": pipeline}
            )

    def judge(self, records: Iterable[ReadRecord]) -> int:
        """Judge the records of the sources, after all outcomes are taken; return their number."""
        for record in records:
            self.judgement.records[record.position.topic] += 1
            expected = self._oracle.expected(record.position.topic, record.key, record.value)
            self._judge(record, expected, self._found.pop(record.position, []))
        for position, found in self._found.items():
            self.judgement.add("no such record", position, ", ".join(outcome for outcome, _, _ in found))
        return self.judgement.records.total()

    def _take(self, outcome: str, position: Position, record: ReadRecord, content: Mapping[str, Any]) -> None:
        self._found[position].append((outcome, record, content))
        place = record.position.topic + "/" + position.topic, record.position.partition
        if position.offset <= self._last.get(place, -1):
            self.judgement.add("out of order", position, f"after {self._last[place]} in {place[0]}")
        self._last[place] = position.offset

    def _judge(
        self, record: ReadRecord, expected: ExpectedOutcome, found: list[tuple[str, ReadRecord, Mapping[str, Any]]]
    ) -> None:
        allowed = " or ".join(sorted(expected.outcomes))
        if not found:
            self.judgement.outcomes["lost" if FACT not in expected.outcomes else FACT] += 1
            if FACT not in expected.outcomes:
                self.judgement.add("lost", record.position, f"must be {allowed}")
            return
        for outcome, _, _ in found:
            self.judgement.outcomes[outcome] += 1
        outcome, output, content = found[0]
        if len(found) > 1:
            self.judgement.add("twice", record.position, ", ".join(each[0] for each in found))
        elif outcome not in expected.outcomes:
            self.judgement.add("wrong outcome", record.position, f"is {outcome}, must be {allowed}; {_shown(record)}")
        elif why := self._differs(record, expected, outcome, output, content):
            self.judgement.add("wrong content", record.position, f"{outcome}: {why}; {_shown(record)}")

    def _differs(
        self,
        record: ReadRecord,
        expected: ExpectedOutcome,
        outcome: str,
        output: ReadRecord,
        content: Mapping[str, Any],
    ) -> str:
        """Return what is wrong with the content of an outcome, in words; nothing if all is right."""
        if output.position.partition != record.position.partition:
            return f"it is in partition {output.position.partition}"
        if content["pipeline"] != self._odd.name:
            return f"its pipeline is {content['pipeline']}"
        return (
            self._differing_score(record, expected, output, content) if outcome == SCORE else self._cut(record, output)
        )

    def _differing_score(
        self, record: ReadRecord, expected: ExpectedOutcome, output: ReadRecord, score: Mapping[str, Any]
    ) -> str:
        odd, event = self._odd, expected.event or {}
        if output.key != record.key:
            return "the key of the record is not that of the event"
        if not is_text_of(score["event_id"], event[odd.events.id], odd.events.type_of(odd.events.id)):
            return f"event_id {score['event_id']!r} is not the text of {event[odd.events.id]!r}"
        if odd.key and not is_text_of(score["key"], event[odd.key], odd.events.type_of(odd.key)):
            return f"key {score['key']!r} is not the text of {event[odd.key]!r}"
        if not odd.key and score["key"] is not None:
            return f"key {score['key']!r} of events without a key"
        if not math.isclose(score["score"], expected.score, rel_tol=_RELATIVE, abs_tol=expected.slack):
            return f"score {score['score']!r}, must be {expected.score!r}"
        return ""

    def _cut(self, record: ReadRecord, output: ReadRecord) -> str:
        """Return what a dead letter lacks that would have fitted its topic."""
        own, n = list(output.headers), len(_STAMPS)
        readable = record.headers != UNREADABLE  # of others, the client of the judge cannot tell which are kept
        if output[1:3] == record[1:3] and (own[:-n] == list(record.headers) or not readable):
            return ""
        if len(own) <= n or own[-n - 1][0] != _OVERSIZE:
            return "it is not the original record"
        given, stamps = own[: -n - 1], own[-n - 1 :]
        key, headers = output.key == record.key, given == list(record.headers) or not readable
        if stamps[0][1] != str(len(record.value or b"")).encode():
            return f"surgetank.oversize is {stamps[0][1]!r}"
        if output.value is not None:
            return "it is cut and has a value"
        if (output.key is not None and not key) or (given and not headers):
            return "what it has is not of the original record"
        if not readable:
            return ""
        # First the value is left out, then the headers, then the key: what would have fitted must be there.
        with_key = len(record.key or b"") + _bytes_of(stamps) + RECORD_BYTES
        with_headers = with_key + _bytes_of(record.headers)
        own_headers, other = _contents(record.headers), [record.key, *_contents(stamps)]
        if self._fits(with_headers + len(record.value or b""), [record.value, *own_headers, *other]):
            return "it is cut, and would have fitted"
        if not (key and headers) and self._fits(with_headers, [*own_headers, *other]):
            return "it lacks key or headers that would have fitted"
        if not key and self._fits(with_key, other):
            return "it lacks a key that would have fitted"
        return ""

    def _fits(self, bytes_: int, contents: Iterable[bytes | None]) -> bool:
        """Return whether a record of so many bytes must be kept; ``contents`` are what they are, without lengths."""
        if bytes_ <= self._dead_letter_bytes_max:
            return True
        if bytes_ > _UNCOMPRESSED_BYTES_MAX:
            return False
        joined = b"".join(content or b"" for content in contents)
        sink = pa.MockOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(joined)
        compressed = sink.size() + bytes_ - len(joined)  # lengths are counted as they are
        return bool(compressed <= _COMPRESSED_SHARE * self._dead_letter_bytes_max)


def _contents(headers: Headers) -> list[bytes | None]:
    return [content for name, value in headers for content in (name.encode(), value)]


def _bytes_of(headers: Headers) -> int:
    return sum(len(name.encode()) + len(value or b"") + _HEADER_BYTES for name, value in headers)


def _shown(record: ReadRecord) -> str:
    value, key = record.value, record.key
    return f"key {key[:20] if key else key!r}, value of {len(value or b'')} bytes {(value or b'')[:40].hex()}"
