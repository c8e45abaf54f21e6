"""Whether the brokers have the group protocol ``consumer`` (KIP-848)."""

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource

from surgetank.clock import Clock
from surgetank.kafka import clients
from surgetank.kafka.retry import retry_until_available
from surgetank.settings import KafkaSettings

_REQUEST_SECONDS = 10.0
# Brokers before 4.0 refuse a request for the settings of a group, which came with the protocol.
_UNKNOWN = frozenset({KafkaError.INVALID_REQUEST, KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE})


def has_consumer_protocol(kafka: KafkaSettings, group: str, clock: Clock) -> bool:
    """Return whether the brokers have the protocol. A missing right to read the settings of the group does not matter.

    Asked because librdkafka (2.16) does not tell: with the preview of the protocol in Kafka 3.7 to 3.9, a consumer
    never joins and gets no error. Brokers from 4.0 on, in which the protocol is switched off, return True here and
    refuse the member. Raises BrokerError if no broker answers.
    """
    return retry_until_available(lambda: _knows_groups(kafka, group), clock)


def _knows_groups(kafka: KafkaSettings, group: str) -> bool:
    admin = clients.admin(kafka)
    resource = ConfigResource(ConfigResource.Type.GROUP, group)
    try:
        admin.describe_configs([resource], request_timeout=_REQUEST_SECONDS)[resource].result()
    except KafkaException as error:
        if error.args[0].code() in clients.UNANSWERED:
            raise admin.failure(f"the settings of group {group}", error) from None
        return error.args[0].code() not in _UNKNOWN
    return True
