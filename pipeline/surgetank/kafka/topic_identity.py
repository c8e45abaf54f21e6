"""The id of a topic: a topic that is deleted and made again under the same name has another one."""

from confluent_kafka import KafkaError, KafkaException, TopicCollection

from surgetank.kafka import clients
from surgetank.settings import KafkaSettings

_ANSWER_SECONDS = 10.0


def topic_identity(kafka: KafkaSettings, name: str) -> str | None:
    """Return the id of a topic, None if it is missing. Raises BrokerError if the brokers do not answer."""
    admin = clients.admin(kafka)
    (answer,) = admin.describe_topics(TopicCollection([name]), request_timeout=_ANSWER_SECONDS).values()
    try:
        return str(answer.result().topic_id)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise admin.failure(f"{kafka.bootstrap} does not describe topic {name!r}", error) from None
