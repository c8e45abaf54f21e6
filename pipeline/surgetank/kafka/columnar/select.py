"""Chooses the implementation of each direction at start: the compiled loops if they work, else the ordinary client.

The modules with compiled loops are imported only here, because importing them loads librdkafka's symbols and compiles.
"""

import logging
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from confluent_kafka import Producer

from surgetank.kafka.columnar.interface import BatchConsumer, BatchProducer
from surgetank.kafka.columnar.plain import PlainConsumer, PlainProducer

_log = logging.getLogger(__name__)


def batch_consumer(options: Mapping[str, Any]) -> BatchConsumer:
    """Return a consumer without a group for ``options``, librdkafka's names and values.

    ``error_cb`` is removed from ``options``, because ``poll`` returns the errors. Raises KafkaException if no client
    can be made from the options.
    """
    plain = {name: value for name, value in options.items() if name != "error_cb"}
    callbacks = [name for name, value in plain.items() if callable(value)]
    if callbacks:
        _say_once(f"options with functions: {', '.join(callbacks)}")
        return PlainConsumer(options)
    try:
        from surgetank.kafka.columnar.consumer import ColumnarConsumer

        return ColumnarConsumer(plain)
    except (ImportError, RuntimeError) as error:
        _say_once(str(error))
        return PlainConsumer(options)


def batch_producer(
    producer: Producer, client_id: str, topics: Collection[str] = (), topic_options: Mapping[str, str] | None = None
) -> BatchProducer:
    """Return a batch producer for the queue of a producer with this client id.

    ``topics`` get librdkafka's topic options ``topic_options``; with the ordinary client those of the producer remain.
    The producer must not have sent records to them.
    """
    try:
        from surgetank.kafka.columnar.producer import ColumnarProducer

        return ColumnarProducer(producer, client_id, topics, topic_options)
    except (ImportError, RuntimeError) as error:
        _say_once(str(error))
        return PlainProducer(producer)


@cache
def _say_once(reason: str) -> None:
    _log.warning("Kafka is read and written record by record, which costs about twice the CPU: %s", reason)
