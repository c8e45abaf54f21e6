"""Commands that cannot reach or use Kafka name the cause, as librdkafka reports it, and what to change."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from surgetank.clock import SystemClock
from surgetank.errors import BrokerError, SurgetankError, TopicsError
from surgetank.kafka import provisioning
from surgetank.kafka.offset_collector import OffsetQuery
from surgetank.kafka.retry import wait_until
from surgetank.kafka.topic_reader import TopicReader
from surgetank.lag.offset_collector_process import OffsetCollectorProcess
from surgetank.settings import KafkaSettings, Settings
from surgetank.worker.processing_parts import topic_limits
from tests.support.secured_kafka import USER, SecuredKafka, secured
from topology.flights import flights

NOWHERE = "surgetank kafka up"


@pytest.fixture(scope="module")
def brokers(clusters: Path) -> Iterator[SecuredKafka]:
    """Return a broker with listeners for SASL and TLS."""
    with secured(clusters / "secured") as running:
        yield running


def settings(bootstrap: str, options: dict[str, str] | None = None) -> KafkaSettings:
    """Return settings with client options."""
    return KafkaSettings(bootstrap=bootstrap, client=options or {})


def refusal(ask: Callable[[], object], kind: type[SurgetankError] = BrokerError) -> str:
    """Return the message of a call that must fail."""
    with pytest.raises(kind) as raised:
        ask()
    return str(raised.value)


def test_a_wrong_password(brokers: SecuredKafka) -> None:
    """Named as such by the check of topics, by a reader of topics, and by the process that collects offsets."""
    wrong = settings(brokers.sasl, brokers.credentials("wrong"))
    with OffsetCollectorProcess(wrong) as collector:
        said = [
            refusal(lambda: provisioning.check(wrong, flights)),
            refusal(lambda: TopicReader(wrong, [flights.events.topic])),
            refusal(lambda: collector.ask(OffsetQuery(group="any"), 60)),
        ]
    for each in said:
        assert "Invalid username or password" in each
        assert "sasl.password below kafka.client" in each
        assert NOWHERE not in each
        assert "wrong" not in each, "the password itself is never told"


def test_no_sasl_for_a_listener_that_requires_it(brokers: SecuredKafka) -> None:
    """The broker closes the connection without a word: the advice is the protocol."""
    said = refusal(lambda: provisioning.existing(settings(brokers.sasl)))
    assert "may require TLS or SASL; correct security.protocol" in said
    assert NOWHERE not in said


def test_no_tls_for_a_listener_that_requires_it(brokers: SecuredKafka) -> None:
    """As without SASL."""
    said = refusal(lambda: provisioning.existing(settings(brokers.tls)))
    assert "may require TLS or SASL; correct security.protocol" in said
    assert NOWHERE not in said


def test_tls_for_a_listener_without_tls(brokers: SecuredKafka) -> None:
    """The handshake fails."""
    said = refusal(lambda: provisioning.existing(settings(brokers.sasl, {"security.protocol": "ssl"})))
    assert "the listener does not accept TLS: correct security.protocol" in said
    assert NOWHERE not in said


def test_an_expired_certificate_of_a_broker(brokers: SecuredKafka) -> None:
    """Trusted, but too old: the advice lists what a failed verification can mean."""
    trusted = {"security.protocol": "ssl", "ssl.ca.location": str(brokers.authority)}
    said = refusal(lambda: provisioning.existing(settings(brokers.expired, trusted)))
    assert "certificate verify failed" in said
    assert "the certificate of the broker is expired" in said
    assert NOWHERE not in said


def test_a_certificate_of_an_unknown_authority(brokers: SecuredKafka) -> None:
    """The same advice; with the authority in ssl.ca.location the broker answers."""
    said = refusal(lambda: provisioning.existing(settings(brokers.tls, {"security.protocol": "ssl"})))
    assert "ssl.ca.location (below kafka.client) does not contain" in said
    trusted = {"security.protocol": "ssl", "ssl.ca.location": str(brokers.authority)}
    provisioning.existing(settings(brokers.tls, trusted))


def test_a_host_name_that_cannot_be_resolved() -> None:
    """The name is said, and where it is set."""
    said = refusal(lambda: provisioning.existing(settings("no-such-host.invalid:9092")))
    assert "Failed to resolve 'no-such-host.invalid:9092'" in said
    assert "correct the host name in kafka.bootstrap" in said
    assert NOWHERE not in said


def test_a_topic_that_the_user_may_not_describe(brokers: SecuredKafka) -> None:
    """It exists, and is not called missing: neither by the check, nor by apply, a worker or a reader."""
    provisioning.apply(brokers.admin, flights)
    user = settings(brokers.sasl, brokers.credentials())
    for said in (
        refusal(lambda: provisioning.check(user, flights), TopicsError),
        refusal(lambda: provisioning.apply(user, flights), TopicsError),
        refusal(lambda: topic_limits(flights, Settings(kafka=user), SystemClock()), TopicsError),  # a worker's start
    ):
        assert f"topic {flights.events.topic!r} (events) may not be described by this user" in said
        assert "grant the user Describe" in said
        assert "missing" not in said
        assert "topics apply" not in said
    said = refusal(lambda: TopicReader(user, [flights.events.topic]), TopicsError)
    assert "may not describe topic 'flights.boarding'" in said
    assert "has no topic" not in said
    brokers.grant([_everything()])
    assert wait_until(lambda: provisioning.hidden(user, [flights.events.topic]) == set(), 30, 0.1)
    provisioning.check(user, flights)


def _everything() -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC,
        "*",
        ResourcePatternType.LITERAL,
        f"User:{USER}",
        "*",
        AclOperation.ALL,
        AclPermissionType.ALLOW,
    )
