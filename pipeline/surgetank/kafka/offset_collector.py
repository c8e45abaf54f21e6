"""Collects the state of many consumer groups in one pass: committed offsets, end offsets, oldest unread records.

Nothing is written and no group is joined. For G groups and B brokers a pass sends one list-groups request per broker,
two requests per group (its coordinator, its offsets; all groups concurrently), one metadata request, and the requests
for the first offsets, the last stable offsets and the high watermarks, each one per leader whatever the number of
partitions. Of the partitions with lag at most ``heads_max`` are read, one record each.
"""

import re
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import OffsetSpec

from surgetank.kafka import clients
from surgetank.kafka.group_members import group_members, partition_owners
from surgetank.kafka.offset_owner import OffsetOwner, served_models
from surgetank.kafka.oldest_records import OldestRecord, OldestRecords, ReadPosition
from surgetank.kafka.topic_reader import partitions
from surgetank.records import ModelVersion, TopicPartition
from surgetank.settings import KafkaSettings

ANSWER_SECONDS = 10.0
HEADS_SECONDS = 2.0
_NOBODY = {ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD}

Answer = Future[Any]
Bounds = dict[TopicPartition, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class OffsetQuery:
    """The groups to query: all whose whole name matches ``pattern``, or the one named ``group``.

    For a single group the owners and their models are returned too, and its partitions of ``topics`` even without a
    committed offset.
    """

    pattern: str = ".*"
    group: str | None = None
    topics: tuple[str, ...] = ()
    heads_max: int = 200


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A group: whether it has members, its committed offsets (None: none), the client ids that own partitions.

    ``models`` are the models that the owners serve, where known: of a single group of workers.
    """

    members: bool
    committed: dict[TopicPartition, int | None]
    owners: dict[TopicPartition, str] = field(default_factory=dict)
    models: dict[TopicPartition, ModelVersion] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CollectedOffsets:
    """The result of a pass.

    ``bounds`` are the first and the last stable offset of each partition that has a leader; ``high_watermarks`` are the
    ends of these partitions with open transactions, read before the last stable offsets; ``heads`` are the records
    at the committed offsets, where read; ``unknown`` are the groups whose offsets Kafka did not return; ``requests`` is
    the number of requests sent; ``old_seconds`` is the age of the bounds.
    """

    groups: dict[str, GroupDescription]
    bounds: Bounds
    heads: dict[ReadPosition, OldestRecord]
    unknown: tuple[str, ...]
    requests: int
    old_seconds: float
    high_watermarks: dict[TopicPartition, int] = field(default_factory=dict)


class OffsetCollector:
    """Makes repeated passes with the same clients. Raises BrokerError if Kafka does not answer; then make a new one.

    Only for `lag.offset_collector_process`, which runs it in a separate process: its calls of librdkafka's admin client
    can crash the process (ops/decisions/0002). A consumer could make the same queries, but for one group only.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._bootstrap = kafka.bootstrap
        self._admin = clients.admin(kafka)
        self._heads = OldestRecords(kafka)
        self._known: dict[ReadPosition, OldestRecord] = {}
        self._seen: set[ReadPosition] = set()
        self._sources: dict[TopicPartition, TopicPartition] = {}
        self._requests = 0

    def collect(self, query: OffsetQuery) -> CollectedOffsets:
        """Return the state of the groups. Reads committed offsets before end offsets, so a lag is never too small."""
        self._requests = 0
        self._sources = {}
        try:
            group = query.group
            groups, unknown = self._many(query.pattern) if group is None else self._one(group, query.topics)
            bounds, high = self._bounds({source for group in groups.values() for source in group.committed})
        except KafkaException as error:
            raise self._admin.failure(f"{self._bootstrap} does not describe consumer groups", error) from None
        answered_at = time.monotonic()
        heads = self._read_heads(groups, bounds, query.heads_max)
        return CollectedOffsets(groups, bounds, heads, unknown, self._requests, time.monotonic() - answered_at, high)

    def _many(self, pattern: str) -> tuple[dict[str, GroupDescription], tuple[str, ...]]:
        listed = self._admin.list_consumer_groups(request_timeout=ANSWER_SECONDS).result()
        if listed.errors and not listed.valid:
            raise KafkaException(listed.errors[0])
        states = {each.group_id: each.state for each in listed.valid if re.fullmatch(pattern, each.group_id)}
        asked = {group: self._ask(group) for group in states}
        groups: dict[str, GroupDescription] = {}
        unknown: list[str] = []
        failure: KafkaException | None = None
        for group, answer in asked.items():
            try:
                groups[group] = GroupDescription(states[group] not in _NOBODY, self._committed(answer))
            except KafkaException as error:
                unknown.append(group)
                failure = error
        if failure is not None and not groups:
            raise failure
        return groups, tuple(unknown)

    def _one(self, group: str, topics: tuple[str, ...]) -> tuple[dict[str, GroupDescription], tuple[str, ...]]:
        answer = self._ask(group)
        members = group_members(self._admin, group, ANSWER_SECONDS)
        owners = partition_owners(members)
        committed = self._committed(answer)
        self._requests += 2 + len(topics)
        named = dict.fromkeys([*partitions(self._admin, topics, self._bootstrap), *owners])
        if topics:
            committed = {source: offset for source, offset in committed.items() if source.topic in topics}
        claims = {self._same(tp): OffsetOwner.of(tp.metadata) for tp in self._valid(answer)}
        models = served_models(owners, claims)
        return {group: GroupDescription(bool(members), named | committed, owners, models)}, ()

    def _ask(self, group: str) -> Answer:
        self._requests += 2  # its coordinator, and its offsets
        request = [ConsumerGroupTopicPartitions(group)]
        answers: dict[str, Answer] = self._admin.list_consumer_group_offsets(request, request_timeout=ANSWER_SECONDS)
        return answers[group]

    def _committed(self, answer: Answer) -> dict[TopicPartition, int | None]:
        return {self._same(tp): tp.offset for tp in self._valid(answer)}

    def _valid(self, answer: Answer) -> list[Any]:
        """Return the partitions with a committed offset, in the type of the client."""
        try:
            found = answer.result().topic_partitions
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:  # it never ran, or was deleted since
                return []
            raise
        return [tp for tp in found if tp.error is None and tp.offset >= 0]

    def _bounds(self, sources: set[TopicPartition]) -> tuple[Bounds, dict[TopicPartition, int]]:
        """Return the bounds and high watermarks of the partitions that exist and have a leader.

        Any other partition would delay all the rest.
        """
        if not sources:
            return {}, {}
        self._requests += 1
        cluster = self._admin.list_topics(timeout=ANSWER_SECONDS)
        led = [
            source
            for source in sources
            if (topic := cluster.topics.get(source.topic)) is not None
            and (partition := topic.partitions.get(source.partition)) is not None
            and partition.leader >= 0
        ]
        # High watermarks first: records that arrive meanwhile must not seem to be behind an open transaction.
        high = self._offsets(led, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        starts, ends = (
            self._offsets(led, spec, IsolationLevel.READ_COMMITTED)
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        )
        self._requests += 3 * len({cluster.topics[s.topic].partitions[s.partition].leader for s in led})
        return {source: (starts[source], ends[source]) for source in led if source in starts and source in ends}, high

    def _offsets(
        self, sources: list[TopicPartition], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[TopicPartition, int]:
        answers = self._admin.list_offsets(
            {KafkaTopicPartition(*source): spec for source in sources},
            isolation_level=isolation,
            request_timeout=ANSWER_SECONDS,
        )
        found: dict[TopicPartition, int] = {}
        failure: KafkaException | None = None
        for tp, answer in answers.items():
            try:
                found[self._same(tp)] = answer.result().offset
            except KafkaException as error:  # the topic was deleted in the meantime
                failure = error
        if failure is not None and not found:
            raise failure
        return found

    def _read_heads(
        self, groups: dict[str, GroupDescription], bounds: Bounds, heads_max: int
    ) -> dict[ReadPosition, OldestRecord]:
        """Read the oldest uncommitted records: of partitions without progress first, then by decreasing lag."""
        lags: dict[ReadPosition, int] = {}
        for group in groups.values():
            for source, offset in group.committed.items():
                if source in bounds:
                    start, end = bounds[source]
                    done = max(start, start if offset is None else offset)
                    if done < end:
                        lags[ReadPosition(source, done)] = end - done
        # A record that was found does not change; an empty position may get a record later.
        known = {position: record for position, record in self._known.items() if position in lags and not record.empty}
        new = sorted(lags.keys() - known.keys(), key=lambda position: (position not in self._seen, -lags[position]))
        one_each = {position.source: position for position in reversed(new)}
        chosen = [position for position in new if one_each[position.source] is position][:heads_max]
        self._known = known | (self._heads.read(chosen, HEADS_SECONDS) if chosen else {})
        self._seen = set(lags)
        self._requests += len(chosen)
        return self._known

    def _same(self, tp: Any) -> TopicPartition:
        """Return one shared object per partition: a pass names the same partition a thousand times."""
        source = TopicPartition(tp.topic, tp.partition)
        return self._sources.setdefault(source, source)
