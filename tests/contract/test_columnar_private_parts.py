"""What the columnar client relies on in confluent-kafka, librdkafka and numba that no documentation promises."""

import ctypes
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaException, Producer

from surgetank.kafka.columnar import library, select
from surgetank.kafka.columnar.consumer import ColumnarConsumer
from surgetank.kafka.columnar.library import LIBRARY, LibraryUnavailableError
from surgetank.kafka.columnar.plain import PlainConsumer, PlainProducer
from surgetank.kafka.columnar.producer import ColumnarProducer, handle

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"bootstrap.servers": "127.0.0.1:1", "group.id": "nobody", "log_level": 2}


class CMessage(ctypes.Structure):
    """The struct ``rd_kafka_message_t`` of rdkafka.h, as the C compiler lays it out."""

    _fields_ = [
        ("error", ctypes.c_int),
        ("topic", ctypes.c_void_p),
        ("partition", ctypes.c_int32),
        ("value", ctypes.c_void_p),
        ("value_length", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("key_length", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("private", ctypes.c_void_p),
    ]


@pytest.fixture
def producer() -> Producer:
    """Return a producer that reaches no broker."""
    return Producer({"bootstrap.servers": "127.0.0.1:1", "client.id": "me", "log_level": 2})


def test_the_layout_of_a_message_is_that_of_the_header_file() -> None:
    """Names, places and sizes of all fields, padding included."""
    expected = {name: (getattr(CMessage, name).offset, getattr(CMessage, name).size) for name, *_ in CMessage._fields_}
    fields: Mapping[str, Any] = library.MESSAGE.fields or {}

    assert {name: (place, dtype.itemsize) for name, (dtype, place, *_) in fields.items()} == expected
    assert library.MESSAGE_BYTES == ctypes.sizeof(CMessage) == 72


def test_the_library_is_that_of_the_ordinary_client() -> None:
    """A second librdkafka in the process would not know the handles of the first."""
    assert LIBRARY.rd_kafka_version_str().decode() == confluent_kafka.libversion()[0]
    assert {name for name in library._PROTOTYPES if not hasattr(LIBRARY, name)} == set()


def test_the_handle_is_the_first_field_of_the_producers_object(producer: Producer) -> None:
    """Also in a subclass, which has fields of its own behind it."""

    class Sub(Producer):  # type: ignore[misc]
        """A producer with a field of its own."""

        def __init__(self, options: dict[str, Any]) -> None:
            super().__init__(options)
            self.mine = 1

    sub = Sub({"bootstrap.servers": "127.0.0.1:1", "client.id": "sub", "log_level": 2})

    for each, client_id in ((producer, b"me"), (sub, b"sub")):
        name = ctypes.string_at(LIBRARY.rd_kafka_name(handle(each, client_id.decode())))
        assert name.startswith(client_id + b"#producer-")


@pytest.mark.parametrize("first_field", [0, 1, 8, 4096, 2**63 - 8, -8])
def test_a_handle_at_another_place_is_refused_without_a_crash(first_field: int) -> None:
    """Whatever lies there is looked at by the operating system before it is used."""

    class Other:
        """An object whose first field is a number."""

        __slots__ = ("field",)

    other = Other()
    kept = ctypes.c_int64.from_address(id(other) + object.__basicsize__)
    before, kept.value = kept.value, first_field
    try:
        with pytest.raises(LibraryUnavailableError):
            handle(other, "me")
    finally:
        kept.value = before


def test_the_handle_of_another_client_is_refused(producer: Producer) -> None:
    """The name that librdkafka gives it begins with the client id."""
    with pytest.raises(LibraryUnavailableError):
        handle(producer, "somebody-else")


def test_the_compiled_client_is_selected_where_it_works(producer: Producer) -> None:
    """No fallback on the machines that run these tests."""
    consumer = select.batch_consumer(OPTIONS)
    consumer.close()

    assert isinstance(consumer, ColumnarConsumer)
    assert isinstance(select.batch_producer(producer, "me"), ColumnarProducer)


def test_the_ordinary_client_is_selected_where_it_must_be_and_that_is_said_once(
    producer: Producer, caplog: pytest.LogCaptureFixture
) -> None:
    """Options with functions, and a producer whose handle cannot be found; each reason is logged once."""
    select._say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            consumer = select.batch_consumer(OPTIONS | {"stats_cb": print})
            consumer.close()
            assert isinstance(consumer, PlainConsumer)
            assert isinstance(select.batch_producer(producer, "somebody-else"), PlainProducer)

    assert [record.message.count("record by record") for record in caplog.records] == [1, 1]


def test_an_option_that_librdkafka_refuses_is_refused_as_by_the_ordinary_client() -> None:
    """The message of the ordinary client reaches the user."""
    with pytest.raises(KafkaException, match="security"):
        select.batch_consumer(OPTIONS | {"security.protocol": "nonsense"})


def test_without_the_compiler_the_ordinary_client_is_selected() -> None:
    """The modules with compiled loops are not even imported by what selects."""
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from surgetank.kafka.columnar import select\n"
        f"print(type(select.batch_consumer({OPTIONS!r})).__name__)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "PlainConsumer"
    assert "record by record" in ran.stderr


def test_compiled_code_is_kept_for_the_next_process(tmp_path: Path) -> None:
    """Calls into librdkafka are by name, so that code on disk fits a library at another address."""
    code = (
        "import logging; logging.basicConfig()\n"
        "from surgetank.kafka.columnar import walk, producer\n"
        "loops = [walk.take, walk.group, walk.copy_out, walk.destroy, producer._append]\n"
        "print(sum(sum(loop.stats.cache_hits.values()) for loop in loops), len(loops))"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def run() -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert run() == "0 5"
    assert run() == "5 5"
