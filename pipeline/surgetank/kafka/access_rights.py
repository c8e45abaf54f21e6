"""The rights that a worker and each tool of a pipeline need where brokers have access control lists.

Describe is not listed beside Read or Write of the same resource, which imply it.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from surgetank.declaration import Pipeline
from surgetank.kafka import clients
from surgetank.kafka.provisioning import needed
from surgetank.settings import KafkaSettings

EVERY = "*"
_CALL_SECONDS = 30.0


class Resource(StrEnum):
    """A kind of resource, as kafka-acls names it in its options."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"


class Operation(StrEnum):
    """An operation on a resource, as kafka-acls names it."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    ALTER = "Alter"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"


class Right(NamedTuple):
    """Operations on a resource; ``prefix``: on all whose names begin with ``name``. A name ``*`` is every resource."""

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefix: bool = False


def rights(pipeline: Pipeline, tool: str, *, recording: bool = False) -> tuple[Right, ...]:
    """Return the rights for a tool of TOOLS. ``recording``: whether features are recorded (``features.record``)."""
    found: dict[tuple[Resource, str, bool], set[Operation]] = {}
    for resource, name, operations, prefix in TOOLS[tool](pipeline, recording):
        found.setdefault((resource, name, prefix), set()).update(operations)
    return tuple(
        Right(resource, name, tuple(each for each in Operation if each in operations), prefix)
        for (resource, name, prefix), operations in found.items()
    )


def grant(kafka: KafkaSettings, principal: str, granted: Iterable[Right]) -> None:
    """Add access control lists that give a principal, as User:alice, these rights from every host.

    Raises BrokerError if the brokers refuse them.
    """
    admin = clients.admin(kafka)
    try:
        for future in admin.create_acls(bindings(principal, granted), request_timeout=_CALL_SECONDS).values():
            future.result(_CALL_SECONDS)
    except KafkaException as error:
        raise admin.failure(f"the rights of {principal} cannot be added", error) from None


def bindings(principal: str, granted: Iterable[Right]) -> list[AclBinding]:
    """Return the rules that give a principal these rights, one for each operation."""
    return [
        AclBinding(
            ResourceType[right.resource.name],
            right.name,
            ResourcePatternType.PREFIXED if right.prefix else ResourcePatternType.LITERAL,
            principal,
            "*",
            AclOperation[operation.name],
            AclPermissionType.ALLOW,
        )
        for right in granted
        for operation in right.operations
    ]


def kafka_acls(bootstrap: str, principal: str, right: Right) -> str:
    """Return the command of Kafka that gives a principal a right."""
    options = [
        f"kafka-acls --bootstrap-server {bootstrap}",
        f"--add --allow-principal '{principal}'",
        f"--{right.resource} '{right.name}'",
        *["--resource-pattern-type prefixed"] * right.prefix,
        *(f"--operation {each}" for each in right.operations),
    ]
    return " \\\n  ".join(options)


_Rights = Iterable[Right]


def _topics(names: Iterable[str], *operations: Operation) -> list[Right]:
    return [Right(Resource.TOPIC, name, operations) for name in names]


def _group(pipeline: Pipeline, operation: Operation) -> Right:
    return Right(Resource.GROUP, pipeline.group, (operation,))


def _sources(pipeline: Pipeline) -> list[str]:
    return [pipeline.events.topic, *(fact.topic for fact in pipeline.facts)]


def _worker(pipeline: Pipeline, recording: bool) -> _Rights:
    outputs = [pipeline.scores.topic, pipeline.dead_letters, *pipeline.changelogs.values()]
    return [
        *_topics(_sources(pipeline), Operation.READ, Operation.DESCRIBE_CONFIGS),
        *_topics(pipeline.rekeyed, Operation.WRITE),
        *_topics(outputs, Operation.READ, Operation.WRITE, Operation.DESCRIBE_CONFIGS),
        *_topics([pipeline.recorded] * recording, Operation.READ, Operation.WRITE, Operation.DESCRIBE_CONFIGS),
        *_topics([pipeline.shadow_scores, pipeline.timeline], Operation.WRITE, Operation.DESCRIBE_CONFIGS),
        *_topics([pipeline.rollout], Operation.READ),
        # It is there while the state is migrated; a worker that does not see it would start meanwhile.
        *_topics([pipeline.migration_topic], Operation.DESCRIBE),
        _group(pipeline, Operation.READ),
        Right(Resource.TRANSACTIONAL_ID, f"{pipeline.name}-", (Operation.WRITE,), prefix=True),
    ]


def _topics_tool(pipeline: Pipeline, recording: bool) -> _Rights:
    names = [spec.name for spec in needed(pipeline, recording=recording)]
    return [
        *_topics(names, Operation.CREATE, Operation.ALTER, Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS),
        *_topics([pipeline.migration_topic], Operation.DESCRIBE),
        *_topics([pipeline.timeline], Operation.WRITE),
        _group(pipeline, Operation.DESCRIBE),
    ]


def _replay(pipeline: Pipeline, _: bool) -> _Rights:
    return _topics(_sources(pipeline), Operation.WRITE)


def _scores(pipeline: Pipeline, _: bool) -> _Rights:
    return _topics([pipeline.scores.topic], Operation.READ)


def _lag(pipeline: Pipeline, _: bool) -> _Rights:
    return [*_topics([pipeline.events.topic], Operation.READ), _group(pipeline, Operation.DESCRIBE)]


def _lag_exporter(_: Pipeline, __: bool) -> _Rights:
    return [*_topics([EVERY], Operation.READ), Right(Resource.GROUP, EVERY, (Operation.DESCRIBE,))]


def _audit(pipeline: Pipeline, _: bool) -> _Rights:
    names = [pipeline.events.topic, pipeline.scores.topic, pipeline.dead_letters]
    return [*_topics(names, Operation.READ), _group(pipeline, Operation.DESCRIBE)]


def _timeline(pipeline: Pipeline, _: bool) -> _Rights:
    return _topics([pipeline.timeline], Operation.READ)


def _timeline_receive(pipeline: Pipeline, _: bool) -> _Rights:
    return _topics([pipeline.timeline], Operation.READ, Operation.WRITE)


def _dead_letters(pipeline: Pipeline, _: bool) -> _Rights:
    return _topics([pipeline.dead_letters], Operation.READ)


def _dead_letters_replay(pipeline: Pipeline, _: bool) -> _Rights:
    return [
        *_topics([pipeline.dead_letters], Operation.READ),
        *_topics(_sources(pipeline), Operation.WRITE, Operation.DESCRIBE_CONFIGS),
        *_topics([pipeline.replayed_letters], Operation.CREATE, Operation.READ, Operation.WRITE),
        *_topics([pipeline.timeline], Operation.WRITE),
        Right(Resource.TRANSACTIONAL_ID, f"{pipeline.name}.dead-letters", (Operation.WRITE,)),
    ]


def _models(pipeline: Pipeline, _: bool) -> _Rights:
    return [
        *_topics([pipeline.rollout], Operation.READ, Operation.WRITE),
        *_topics([pipeline.timeline], Operation.WRITE),
        *_lag(pipeline, _),
    ]


def _models_status(pipeline: Pipeline, _: bool) -> _Rights:
    return [*_topics([pipeline.rollout], Operation.READ), *_lag(pipeline, _)]


def _features(pipeline: Pipeline, _: bool) -> _Rights:
    return _topics([*_sources(pipeline), pipeline.recorded], Operation.READ)


def _state(pipeline: Pipeline, _: bool) -> _Rights:
    names = [pipeline.events.topic, *pipeline.changelogs.values()]
    return [*_topics(names, Operation.DESCRIBE), _group(pipeline, Operation.DESCRIBE)]


# The commands that change the state of a stopped pipeline (state reshard, rebuild, reset) are left to a user who may do
# everything with the pipeline's topics.
TOOLS: Mapping[str, Callable[[Pipeline, bool], _Rights]] = {
    "worker": _worker,
    "topics": _topics_tool,
    "replay": _replay,
    "scores": _scores,
    "lag": _lag,
    "lag-exporter": _lag_exporter,
    "audit": _audit,
    "timeline": _timeline,
    "timeline-receive": _timeline_receive,
    "dead-letters": _dead_letters,
    "dead-letters-replay": _dead_letters_replay,
    "models": _models,
    "models-status": _models_status,
    "features": _features,
    "state": _state,
}
