"""Chooses the implementation of each direction at start: the compiled loops where they work, else the ordinary client.

The modules with compiled loops are imported here only, since importing them loads librdkafka's symbols and compiles.
"""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from confluent_kafka import Producer

from pipeline.kafka.columnar.interface import BatchConsumer, BatchProducer
from pipeline.kafka.columnar.plain import PlainConsumer, PlainProducer

_log = logging.getLogger(__name__)


def batch_consumer(options: Mapping[str, Any]) -> BatchConsumer:
    """Return a consumer for ``options``, librdkafka's names and values, that is in no group.

    Without callbacks: of ``options``, ``error_cb`` is left out, since errors come out of ``poll``.
    Raises KafkaException if no client can be made of them.
    """
    plain = {name: value for name, value in options.items() if name != "error_cb"}
    callbacks = [name for name, value in plain.items() if callable(value)]
    if callbacks:
        _say_once(f"options with functions: {', '.join(callbacks)}")
        return PlainConsumer(options)
    try:
        from pipeline.kafka.columnar.consumer import ColumnarConsumer

        return ColumnarConsumer(plain)
    except (ImportError, RuntimeError) as error:
        _say_once(str(error))
        return PlainConsumer(options)


def batch_producer(producer: Producer, client_id: str) -> BatchProducer:
    """Return what appends batches to the queue of a producer with this client id."""
    try:
        from pipeline.kafka.columnar.producer import ColumnarProducer

        return ColumnarProducer(producer, client_id)
    except (ImportError, RuntimeError) as error:
        _say_once(str(error))
        return PlainProducer(producer)


@cache
def _say_once(reason: str) -> None:
    _log.warning("Kafka is read and written record by record, which costs about twice the CPU: %s", reason)
