"""Reads the configurations of a pipeline's topics: the sizes of records that they accept, and what they delete."""

from collections.abc import Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource

from surgetank.declaration import Pipeline
from surgetank.errors import TopicsError
from surgetank.kafka import clients
from surgetank.kafka.provisioning import needed
from surgetank.record_compression import CODEC, RecordBytes
from surgetank.settings import KafkaSettings

FRAME_BYTES = 256  # the most that a batch of one record without headers adds to key and value
DEAD_LETTER_EXTRA_BYTES = 16 * 1024  # for its headers and its batch frame
SENT_BYTES_MAX = clients.MESSAGE_BYTES_MAX - FRAME_BYTES  # of a record, before compression
FEATURES_EXTRA_BYTES = 1024  # the most that a features record has besides the features and the bytes of its event
FEATURE_BYTES = 10


def record_limits(kafka: KafkaSettings, pipeline: Pipeline, *, recording: bool = False) -> dict[str, int]:
    """Return the most bytes that key and value of a record of each topic of the pipeline may have together.

    Raises TopicsError if a dead letter (its event and the reason) or a features record (features, event id and key)
    might not fit its topic, or if a changelog's cleanup policy deletes records; BrokerError if no broker answers.
    """
    names = [spec.name for spec in needed(pipeline, recording=recording) if not spec.optional]
    configs = _configs(kafka, names)
    for name in pipeline.changelogs.values():
        policy = configs[name]["cleanup.policy"]
        if policy != "compact":
            raise TopicsError(
                f"topic {name!r} is a changelog with cleanup.policy={policy}: old state would be deleted from it; "
                "set it to compact"
            )
    limits = {name: int(configs[name]["max.message.bytes"]) for name in names}
    extra = {pipeline.dead_letters: DEAD_LETTER_EXTRA_BYTES}
    if recording:
        extra[pipeline.recorded] = features_extra_bytes(pipeline)
    for topic, bytes_ in extra.items():
        wanted = limits[pipeline.events.topic] + bytes_
        if limits[topic] < wanted:
            raise TopicsError(
                f"topic {topic!r} takes records of {limits[topic]} bytes, but an event of {pipeline.events.topic!r} "
                f"may have {limits[pipeline.events.topic]}: set its max.message.bytes to {wanted} or more"
            )
    return {name: min(limit, clients.MESSAGE_BYTES_MAX) - FRAME_BYTES for name, limit in limits.items()}


def record_bytes(kafka: KafkaSettings, names: Sequence[str]) -> dict[str, RecordBytes]:
    """Return the largest record of each topic: key, value and headers. Raises BrokerError.

    Brokers that compress the batches of a topic in their own way measure the result.
    """
    return {
        name: RecordBytes(
            max(1, min(int(config["max.message.bytes"]), clients.MESSAGE_BYTES_MAX) - FRAME_BYTES),
            SENT_BYTES_MAX if config["compression.type"] in {"producer", CODEC} else 0,
        )
        for name, config in _configs(kafka, names).items()
    }


def batch_bytes(kafka: KafkaSettings, names: Sequence[str]) -> int:
    """Return the size of a batch of records that every one of these topics takes. Raises BrokerError."""
    return min((clients.BATCH_BYTES, *(each.stored for each in record_bytes(kafka, names).values())))


def compacted(kafka: KafkaSettings, name: str) -> bool:
    """Return whether the brokers compact a topic. Raises BrokerError if they do not return its configuration."""
    return "compact" in _configs(kafka, [name])[name]["cleanup.policy"]


def features_extra_bytes(pipeline: Pipeline) -> int:
    """Return the most bytes that a features record has besides the id and the key of its event."""
    return FEATURES_EXTRA_BYTES + FEATURE_BYTES * (len(pipeline.spec.logged) + len(pipeline.table_facts))


def _configs(kafka: KafkaSettings, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the configuration of each topic: the values by name. Raises BrokerError."""
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    admin = clients.admin(kafka)
    try:
        answers = {r.name: f.result() for r, f in admin.describe_configs(resources, request_timeout=10).items()}
    except KafkaException as error:
        raise admin.failure(f"{kafka.bootstrap} does not return the configurations of {list(names)}", error) from None
    return {name: {entry.name: str(entry.value) for entry in entries.values()} for name, entries in answers.items()}
