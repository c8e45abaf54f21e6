"""The topics that a pipeline needs: lists them, finds missing or wrongly configured ones, and creates them."""

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, Uuid
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from surgetank.declaration import Pipeline
from surgetank.errors import SettingsError, TopicsError
from surgetank.kafka import clients
from surgetank.kafka.group_members import group_members
from surgetank.kafka.retry import wait_until
from surgetank.settings import KafkaSettings

ANSWER_SECONDS = 10.0
LEADERS_SECONDS = 15.0
LOOK_SECONDS = 0.1
DAY_MS = 24 * 60 * 60 * 1000
NO_ID = str(Uuid(0, 0))
CHANGELOG = "changelog"
FEATURES = "features"
SHADOW = "shadow scores"
LARGE = str(16 * 1024 * 1024)
# A table is restored from the last record of each key. Older records are compacted early and in small segments, because
# each restore reads them again.
COMPACTED = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.2", "segment.bytes": str(64 * 1024 * 1024)}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """The required form of a topic. ``role`` names its purpose; workers run without an ``optional`` topic."""

    name: str
    partitions: int
    role: str
    config: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False


def needed(pipeline: Pipeline, *, recording: bool = False) -> tuple[TopicSpec, ...]:
    """Return the topics of a pipeline. A score or dead letter is in the partition of its event's number.

    ``recording``: whether features are recorded (``features.record``).
    """
    events = pipeline.events
    return (
        TopicSpec(events.topic, events.partitions, "events"),
        *(TopicSpec(fact.topic, fact.partitions, "facts") for fact in pipeline.facts),
        TopicSpec(pipeline.scores.topic, events.partitions, "scores"),
        *(TopicSpec(topic, events.partitions, CHANGELOG, COMPACTED) for topic in pipeline.changelogs.values()),
        TopicSpec(
            pipeline.dead_letters,
            events.partitions,
            "dead letters",
            {"retention.ms": str(30 * DAY_MS), "max.message.bytes": LARGE},
        ),
        *([TopicSpec(pipeline.recorded, events.partitions, FEATURES, {"max.message.bytes": LARGE})] * recording),
        # Read by the comparison of two versions while a shadow runs; only a plan with a shadow needs it.
        TopicSpec(pipeline.shadow_scores, events.partitions, SHADOW, {"retention.ms": str(7 * DAY_MS)}, optional=True),
        # Long enough for a report about an incident a quarter later; the topic is small. An event has its own time in
        # its value; the brokers' time shows a worker whether its clock is right.
        TopicSpec(
            pipeline.timeline,
            1,
            "timeline",
            {"retention.ms": str(100 * DAY_MS), "message.timestamp.type": "LogAppendTime"},
            optional=True,
        ),
        # Each command has a key of its own: all of them are kept, however old.
        TopicSpec(pipeline.rollout, 1, "rollout", {"cleanup.policy": "compact"}, optional=True),
    )


def tasks(pipeline: Pipeline, partitions: Mapping[str, int]) -> int:
    """Return the number of tasks of a pipeline's state; that of its events if it is stateless. Pure."""
    events = partitions[pipeline.events.topic]
    return min((partitions.get(topic, events) for topic in pipeline.changelogs.values()), default=events)


def problems(
    pipeline: Pipeline,
    partitions: Mapping[str, int],
    *,
    optional: bool = True,
    recording: bool = False,
    drain: bool = False,
    hidden: Collection[str] = (),
) -> list[str]:
    """Return the problems of the existing topics, given as name to number of partitions. Pure.

    ``optional``: whether optional topics are checked too; ``recording`` as in ``needed``. ``drain``: whether
    topics may have more partitions than the state. ``hidden`` as returned by ``hidden``.
    """
    events = pipeline.events.topic
    fewest = tasks(pipeline, partitions) if drain and events in partitions else partitions.get(events, 0)
    feeds = {fact.topic for fact in pipeline.table_facts}
    found: list[str] = []
    if pipeline.migration_topic in partitions:
        found.append(
            f"topic {pipeline.migration_topic!r} is there: the state is being resharded or rebuilt, or that was cut "
            f"short; wait, or run again what it was (`surgetank state reshard {pipeline.name}` or `surgetank state "
            f"rebuild {pipeline.name}`): it goes on"
        )
    for spec in needed(pipeline, recording=recording):
        have = partitions.get(spec.name)
        if spec.optional and not optional:
            continue
        if spec.name in hidden:
            found.append(
                f"topic {spec.name!r} ({spec.role}) may not be described by this user: whether it exists is unknown; "
                "grant the user Describe on it (a worker reads all but features, shadow scores and timeline, and "
                "writes all but events, facts and rollout)"
            )
        elif have is None:
            found.append(f"topic {spec.name!r} ({spec.role}) is missing")
        elif spec.role in {"scores", "dead letters", FEATURES, SHADOW} and events in partitions and have < fewest:
            found.append(
                f"topic {spec.name!r} ({spec.role}) has {have} partitions, but {events!r} has {partitions[events]}: "
                "a score lies in the partition of its event's number"
            )
        elif (
            (spec.name in feeds or spec.role == CHANGELOG)
            and events in partitions
            and (have < fewest or (have != fewest and not drain))
        ):
            found.append(
                f"topic {spec.name!r} ({spec.role}) has {have} partitions, but {events!r} has {partitions[events]}: "
                "a key must lie in the partition of the same number in both"
            )
    return found


def existing(kafka: KafkaSettings) -> dict[str, int]:
    """Return every topic with its number of partitions. Raises BrokerError if no broker answers."""
    return _cluster(kafka)[1]


def hidden(kafka: KafkaSettings, names: Collection[str]) -> set[str]:
    """Return which of these topics the user may not describe: a list of all topics leaves them out.

    Raises BrokerError if no broker answers.
    """
    if not names:
        return set()
    admin, found = clients.admin(kafka), set()
    for name, future in admin.describe_topics(TopicCollection(list(names)), request_timeout=ANSWER_SECONDS).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                found.add(name)
            elif error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise admin.failure(f"{kafka.bootstrap} does not describe topic {name!r}", error) from None
    return found


def check(
    kafka: KafkaSettings, pipeline: Pipeline, *, optional: bool = True, recording: bool = False, drain: bool = False
) -> dict[str, int]:
    """Return the number of partitions of each existing topic. Parameters as in ``problems``.

    Raises TopicsError, with every problem, unless the topics fit the pipeline.
    """
    have = existing(kafka)
    unseen = hidden(kafka, [spec.name for spec in needed(pipeline, recording=recording) if spec.name not in have])
    fit(pipeline, have, optional=optional, recording=recording, drain=drain, hidden=unseen)
    return have


def fit(
    pipeline: Pipeline,
    partitions: Mapping[str, int],
    *,
    optional: bool = False,
    recording: bool = False,
    drain: bool = False,
    hidden: Collection[str] = (),
) -> None:
    """As ``check``, for topics given as in ``problems``. Pure."""
    wrong = problems(pipeline, partitions, optional=optional, recording=recording, drain=drain, hidden=hidden)
    if not wrong:
        return
    if hidden:  # what else is wrong may follow from it
        raise TopicsError("\n".join([f"the topics of pipeline {pipeline.name!r}:", *(f"  {each}" for each in wrong)]))
    features = " --features" * recording
    advice = [f"make what is missing with `surgetank topics apply {pipeline.name}{features}`;"]
    events = partitions.get(pipeline.events.topic, 0)
    outputs = pipeline.outputs(recording=recording)
    if not pipeline.changelogs and any(partitions.get(topic, events) < events for topic in outputs):
        advice.append(f"give the outputs as many as the events with `surgetank topics apply {pipeline.name} --grow`;")
    if any(partitions.get(topic, events) < events for topic in pipeline.changelogs.values()):
        advice.append(f"give all the same number, state included, with `surgetank state reshard {pipeline.name}`;")
    advice.append("another wrong number of partitions must be mended by hand, since records do not move")
    if pipeline.migration_topic in partitions:
        advice = []  # a migration causes different numbers and corrects them; other changes would interfere with it
    lines = [f"the topics do not fit pipeline {pipeline.name!r}:", *(f"  {problem}" for problem in wrong)]
    raise TopicsError("\n".join([*lines, *advice]))


def anchor(kafka: KafkaSettings, pipeline: Pipeline) -> tuple[str, int]:
    """Return the id of the cluster and the number of tasks, which identify the local state.

    Raises BrokerError if no broker answers.
    """
    cluster_id, partitions = _cluster(kafka)
    return cluster_id, tasks(pipeline, partitions)


def cluster_id(kafka: KafkaSettings) -> str:
    """Return the id of the cluster. Raises BrokerError if no broker answers."""
    return _cluster(kafka)[0]


def ids(kafka: KafkaSettings, names: Collection[str]) -> dict[str, str]:
    """Return the id of each topic: a topic that is deleted and created again under the same name gets another id.

    The id is "" where the brokers give topics none (before Kafka 2.8).
    Raises BrokerError if the brokers do not return the ids.
    """
    admin = clients.admin(kafka)
    try:
        answers = admin.describe_topics(TopicCollection(list(names)), request_timeout=ANSWER_SECONDS)
        found = {name: str(future.result().topic_id) for name, future in answers.items()}
    except KafkaException as error:
        raise admin.failure(f"{kafka.bootstrap} does not return the ids of {list(names)}", error) from None
    return {name: "" if id_ == NO_ID else id_ for name, id_ in found.items()}


def apply(
    kafka: KafkaSettings,
    pipeline: Pipeline,
    replication: int = -1,
    *,
    recording: bool = False,
    grow_outputs: bool = False,
    configs: Mapping[str, Mapping[str, str]] | None = None,
) -> list[str]:
    """Create the missing topics; return their names.

    ``replication`` -1: the broker's default. ``recording`` as in ``needed``. ``grow_outputs``: first give the existing
    output topics as many partitions as the events have. Raises TopicsError for a pipeline with state, whose keys would
    not move. ``configs`` has configurations by topic, which override those of ``needed``.
    """
    if grow_outputs:
        _grow_outputs(kafka, pipeline, recording=recording)
    have = existing(kafka)
    events = have.get(pipeline.events.topic, pipeline.events.partitions)  # it may have been given more partitions
    missing = [
        replace(spec, partitions=events) if spec.role == SHADOW or not spec.optional else spec
        for spec in needed(pipeline, recording=recording)
        if spec.name not in have
    ]
    if unseen := hidden(kafka, [spec.name for spec in missing]):
        fit(pipeline, have, optional=True, recording=recording, hidden=unseen)
    if missing:
        admin = clients.admin(kafka)  # keeps the client alive until its futures are done
        futures = admin.create_topics(
            [
                NewTopic(s.name, s.partitions, replication, config={**s.config, **(configs or {}).get(s.name, {})})
                for s in missing
            ]
        )
        _finish(futures, "made", ignored=KafkaError.TOPIC_ALREADY_EXISTS)
        _wait_for_leaders(admin, {spec.name: spec.partitions for spec in missing})
    # Another broker may not know the new topics yet, so that none is asked again.
    fit(pipeline, have | {spec.name: spec.partitions for spec in missing}, optional=True, recording=recording)
    return [spec.name for spec in missing]


def _grow_outputs(kafka: KafkaSettings, pipeline: Pipeline, *, recording: bool) -> None:
    if pipeline.changelogs:
        raise TopicsError(
            f"pipeline {pipeline.name!r} has state, which must move to the new partitions too: run `surgetank state "
            f"reshard {pipeline.name}`"
        )
    events = existing(kafka).get(pipeline.events.topic)
    if events is not None:
        grow(kafka, (*pipeline.outputs(recording=recording), pipeline.shadow_scores), events)


def stopped(kafka: KafkaSettings, pipeline: Pipeline) -> None:
    """Raise TopicsError if workers of the pipeline run, or if Kafka does not answer."""
    try:
        members = group_members(clients.admin(kafka), pipeline.group, timeout=ANSWER_SECONDS)
    except KafkaException as error:
        raise TopicsError(f"Kafka does not answer whether workers run: {error.args[0].str()}") from None
    if members:
        running = ", ".join(sorted(member.client_id for member in members))
        raise TopicsError(
            f"workers of {pipeline.name} run: {running}; stop them before (one that died is a member for "
            "kafka.session_timeout_seconds more)"
        )


def grow(kafka: KafkaSettings, names: Collection[str], partitions: int) -> None:
    """Increase the named topics to this many partitions; those that are missing or have as many are skipped.

    Raises TopicsError if that fails.
    """
    have = existing(kafka)
    names = [name for name in names if name in have]
    wanted = [NewPartitions(name, partitions) for name in names if have[name] < partitions]
    if not wanted:
        return
    admin = clients.admin(kafka)
    _finish(admin.create_partitions(wanted, operation_timeout=30), f"given {partitions} partitions")
    _wait_for_leaders(admin, dict.fromkeys(names, partitions))


def make(kafka: KafkaSettings, name: str, config: Mapping[str, str]) -> None:
    """Create a topic of one partition if it does not exist. Raises TopicsError if that fails."""
    admin = clients.admin(kafka)
    futures = admin.create_topics([NewTopic(name, 1, -1, config=dict(config))])
    _finish(futures, "made", ignored=KafkaError.TOPIC_ALREADY_EXISTS)
    _wait_for_leaders(admin, {name: 1})


def delete(kafka: KafkaSettings, names: Collection[str]) -> None:
    """Delete topics; missing topics are ignored. Raises TopicsError if a deletion fails."""
    admin = clients.admin(kafka)
    there = [name for name in names if name in existing(kafka)]
    _finish(admin.delete_topics(there, operation_timeout=30) if there else {}, "deleted")
    wait_until(lambda: not set(there) & set(existing(kafka)), LEADERS_SECONDS, LOOK_SECONDS)


def renew(kafka: KafkaSettings, pipeline: Pipeline, names: list[str]) -> None:
    """Delete some topics of a pipeline and create them again, empty; delete the remains of a migration too.

    Raises TopicsError if workers of the pipeline run, or if an operation fails.
    """
    stopped(kafka, pipeline)
    admin = clients.admin(kafka)
    listed = admin.list_topics(timeout=ANSWER_SECONDS).topics
    replication = {name: len(topic.partitions[0].replicas) for name, topic in listed.items() if topic.partitions}
    delete(kafka, [*names, pipeline.migration_topic])
    apply(kafka, pipeline, max((replication[name] for name in names if name in replication), default=-1))


def _wait_for_leaders(admin: AdminClient, partitions: Mapping[str, int]) -> None:
    """Wait until every topic has this many partitions, each with a leader: clients are rejected before that.

    Raises TopicsError.
    """

    def complete() -> bool:
        listed = admin.list_topics(timeout=LEADERS_SECONDS).topics
        led = {name: sum(each.leader >= 0 for each in topic.partitions.values()) for name, topic in listed.items()}
        return all(led.get(name, 0) >= number for name, number in partitions.items())

    if not wait_until(complete, LEADERS_SECONDS, LOOK_SECONDS):
        raise TopicsError(f"topics {', '.join(sorted(partitions))} after {LEADERS_SECONDS:.0f} s lack leaders")


def _cluster(kafka: KafkaSettings) -> tuple[str, dict[str, int]]:
    """Return the id of the cluster and the number of partitions of every topic."""
    try:
        admin = clients.admin(kafka)
    except KafkaException as error:
        raise SettingsError(f"librdkafka refuses the kafka.* settings: {error.args[0].str()}") from None
    try:
        listed = admin.list_topics(timeout=ANSWER_SECONDS)
    except KafkaException as error:
        raise admin.failure(f"{kafka.bootstrap} does not list its topics", error) from None
    return str(listed.cluster_id), {name: len(topic.partitions) for name, topic in listed.topics.items()}


def _finish(futures: "Mapping[str, Future[Any]]", change: str, ignored: int | None = None) -> None:
    """Wait for the changes of topics. Raises TopicsError if one fails, except with the error code ``ignored``."""
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != ignored:
                raise TopicsError(f"topic {name!r} could not be {change}: {error.args[0].str()}") from None
