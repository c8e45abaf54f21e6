"""Builds librdkafka clients from settings. The clients' common options are defined here only."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from surgetank.errors import BrokerError, SettingsError
from surgetank.kafka.columnar.interface import BatchConsumer
from surgetank.kafka.connection_errors import connection_failure
from surgetank.kafka.transactional_producer import TransactionalProducer
from surgetank.record_compression import CODEC, LEVEL
from surgetank.settings import KafkaSettings

# The largest record that a transactional producer sends, before compression: a dead letter must be able to hold an
# event that Kafka accepted in compressed form.
MESSAGE_BYTES_MAX = 100_000_000
BATCH_BYTES = 1_000_000  # of the records that a producer sends as one batch, if several fit: librdkafka's default
# librdkafka's highest value. It also bounds what a batch compressed with zstd may become: with the default of 100 MB a
# partition could not be read beyond a larger one.
RECEIVE_BYTES_MAX = 2**31 - 1
CONNECTION_ERRORS_MAX = 50  # kept of an admin client, which repeats them with each attempt to connect
_MISSING_RIGHTS = {
    KafkaError.GROUP_AUTHORIZATION_FAILED: "; grant this user Describe on the group",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "; this user lacks a right on the cluster",
}
UNANSWERED = frozenset({KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN})


class Admin(AdminClient):  # type: ignore[misc]
    """An admin client that keeps the last errors of its connections, to explain why no broker answers.

    Raises SettingsError if librdkafka refuses the options.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._bootstrap = str(options["bootstrap.servers"])
        self._connection_errors: deque[KafkaError] = deque(maxlen=CONNECTION_ERRORS_MAX)
        try:
            super().__init__(options | {"error_cb": self._connection_errors.append})
        except KafkaException as error:  # it names the option
            raise SettingsError(f"kafka.client: {error.args[0].str()}") from None

    def failure(self, what: str, error: KafkaException) -> BrokerError:
        """Return the error to raise for a failed request: why no broker answers, otherwise ``what`` and the reason."""
        reason: KafkaError = error.args[0]
        self.poll(0)  # receives the errors of the connections
        if reason.code() in UNANSWERED:
            return BrokerError(connection_failure(self._bootstrap, reason, self._connection_errors))
        return BrokerError(f"{what}: {reason.str()}{_MISSING_RIGHTS.get(reason.code(), '')}")


def common(kafka: KafkaSettings, **overrides: Any) -> dict[str, Any]:
    """Return the options that all clients share; ``overrides`` are librdkafka names with '_' for '.'."""
    return {
        "bootstrap.servers": kafka.bootstrap,
        # Reconnects to a restarted broker within a second instead of the default ten.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "socket.nagle.disable": True,
        "log_level": 2,
        **kafka.client_options(),
        **{name.replace("_", "."): value for name, value in overrides.items()},
        # The calls that client errors affect raise them, and librdkafka would print each reconnect.
        "error_cb": lambda _: None,
    }


def admin(kafka: KafkaSettings, **overrides: Any) -> Admin:
    """Return an admin client. Raises SettingsError if librdkafka refuses the settings."""
    return Admin(common(kafka, **overrides))


def reader_options(kafka: KafkaSettings, **overrides: Any) -> dict[str, Any]:
    """Return the options of a consumer without a group that commits nothing and reads committed records only.

    librdkafka requires the group id; the consumer does not join the group unless it subscribes.
    """
    options = {
        "group_id": "surgetank-reader",
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "receive_message_max_bytes": RECEIVE_BYTES_MAX,
    }
    return common(kafka, **(options | overrides))


def reader(kafka: KafkaSettings, **overrides: Any) -> Consumer:
    """Return a consumer with ``reader_options``."""
    return Consumer(reader_options(kafka, **overrides))


def close_in_background(consumer: Consumer | BatchConsumer) -> None:
    """Close a consumer in another thread, because closing may take long while brokers are unavailable."""
    threading.Thread(target=consumer.close, name="closing", daemon=True).start()


def producer(kafka: KafkaSettings, **overrides: Any) -> Producer:
    """Return an idempotent producer with acks=all."""
    options = {"enable_idempotence": True, "acks": "all", "linger_ms": 5, "compression_type": "lz4"}
    return Producer(common(kafka, **(options | overrides)))


def member(
    kafka: KafkaSettings,
    *,
    group: str,
    client_id: str,
    protocol: str,
    on_error: Callable[[KafkaError], None] = lambda _: None,
) -> Consumer:
    """Return a consumer that can join the group by the protocol 'consumer' (KIP-848) or 'classic'.

    ``on_error`` gets the errors of its connections, in the thread that polls.
    With static membership the client id is also its instance id.
    """
    options: dict[str, Any] = {"group_id": group, "client_id": client_id, "enable_auto_commit": False}
    if kafka.static_membership:
        options["group_instance_id"] = client_id
    if protocol == "consumer":
        options["group_protocol"] = "consumer"
    else:
        options |= {
            "partition_assignment_strategy": "cooperative-sticky",
            "session_timeout_ms": round(kafka.session_timeout_seconds * 1000),
            "heartbeat_interval_ms": round(kafka.heartbeat_interval_seconds * 1000),
        }
    return Consumer(common(kafka, **options) | {"error_cb": on_error})


def uncompressed(kafka: KafkaSettings) -> dict[str, str]:
    """Return the options of a topic for which a compressing producer does not compress, unless the settings say so."""
    chosen = kafka.client_options()
    codec = chosen.get("compression.type", chosen.get("compression.codec", "none"))
    return {"compression.codec": codec, "compression.level": chosen.get("compression.level", "-1")}


def transactional(
    kafka: KafkaSettings, *, transactional_id: str, compressing: bool = False, **overrides: Any
) -> TransactionalProducer:
    """Return a transactional producer that has not yet called ``init_transactions``.

    ``compressing``: with the compression of dead letters, else with that of the settings.
    """
    options = {
        "transactional_id": transactional_id,
        "client_id": transactional_id,
        "transaction_timeout_ms": round(kafka.transaction_timeout_seconds * 1000),
        "acks": "all",
        # A commit sends the lingering records. Until then a request gathers records, which come slowly because their
        # thread shares the interpreter with the computation; with 5 ms librdkafka spent up to four times as long on
        # small requests.
        "linger_ms": 50,
        "queue_buffering_max_messages": 1_000_000,
        "queue_buffering_max_kbytes": 262_144,
        "message_max_bytes": MESSAGE_BYTES_MAX,
        # The brokers reject the first requests of a transaction, as retriable, while they end the previous one; the
        # default of 100 ms would be the duration of every transaction under load (ops/decisions/0001).
        "retry_backoff_ms": 2,
        "retry_backoff_max_ms": 250,
    }
    if compressing:
        options |= {"compression_type": CODEC, "compression_level": LEVEL}
    return TransactionalProducer(common(kafka, **(options | overrides)))
