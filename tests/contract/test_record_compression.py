"""The size that is computed for a compressed record is that of librdkafka, and only dead letters are compressed."""

import json
import random
import string
from collections.abc import Callable

import numpy as np
import pytest
from confluent_kafka import Producer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surgetank.kafka import clients
from surgetank.kafka.columnar.select import batch_producer
from surgetank.record_compression import CODEC, LEVEL, compressed_bytes
from surgetank.records import Headers, OutputRecords, large_binary
from surgetank.settings import KafkaSettings

CLIENT = "compressing"
BATCH_HEADER_BYTES = 61
TEXT = " ".join("".join(random.Random(n).choices(string.ascii_lowercase, k=3 + n % 7)) for n in range(4_000)).encode()
CONTENTS = st.builds(
    lambda start, length, times, seed, noise: (
        TEXT[start : start + length] * times + random.Random(seed).randbytes(noise)
    ),
    st.integers(0, len(TEXT)),
    st.integers(0, 20_000),
    st.integers(1, 60),
    st.integers(0, 9),
    st.sampled_from([0, 7, 3_000, 300_000]),
)
HEADERS = st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8) | CONTENTS), max_size=5)


class Sizes:
    """A producer with brokers of its own, inside librdkafka, and the sizes of the batches that it sends."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._topics = 0
        options = clients.common(KafkaSettings(), test_mock_num_brokers=1, statistics_interval_ms=20, linger_ms=0)
        self.producer = Producer(
            options
            | {
                "client.id": CLIENT,
                "enable.idempotence": True,
                "message.max.bytes": clients.MESSAGE_BYTES_MAX,
                "compression.type": CODEC,
                "compression.level": LEVEL,
                "stats_cb": self._take,
            }
        )

    def topic(self) -> str:
        """Return a topic of its own."""
        self._topics += 1
        return f"topic-{self._topics}"

    def of(self, topic: str) -> int:
        """Return the size of the largest batch that was sent to a topic, without its header."""
        assert self.producer.flush(30) == 0
        while topic not in self._sizes:
            self.producer.poll(1)
        return self._sizes[topic] - BATCH_HEADER_BYTES

    def _take(self, statistics: str) -> None:
        for topic, each in json.loads(statistics)["topics"].items():
            if each["batchsize"]["cnt"]:
                self._sizes[topic] = each["batchsize"]["max"]


@pytest.fixture(scope="module")
def sizes() -> Sizes:
    """Return a producer and the sizes of its batches."""
    return Sizes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.none() | CONTENTS, st.none() | CONTENTS, HEADERS)
def test_a_record_has_the_computed_size(sizes: Sizes, key: bytes | None, value: bytes | None, headers: Headers) -> None:
    """It never has more bytes, and at most the margin and some bytes less, unless compression would enlarge it."""
    topic = sizes.topic()
    sizes.producer.produce(topic, value, key, 0, headers=list(headers))

    sent, computed = sizes.of(topic), compressed_bytes(key, value, headers)

    assert sent <= computed
    assert computed <= 1.08 * sent + 100


def test_a_large_record_has_the_computed_size(sizes: Sizes) -> None:
    """20 MiB of text with changing words."""
    words = TEXT.split()
    value = b" ".join(random.Random(1).choices(words, k=3_500_000))
    topic = sizes.topic()
    sizes.producer.produce(topic, value, b"key", 0, headers=[("trace", b"1")])

    sent, computed = sizes.of(topic), compressed_bytes(b"key", value, [("trace", b"1")])

    assert len(value) > 20 << 20
    assert sent <= computed <= 1.07 * sent


@pytest.mark.parametrize(
    ("client", "fewer"), [({}, False), ({"compression.type": "gzip"}, True), ({"compression.codec": "lz4"}, True)]
)
def test_other_topics_are_compressed_only_if_the_settings_say_so(client: dict[str, str], fewer: bool) -> None:
    """Scores stay as they are, also one that the ordinary client sends; dead letters are compressed."""
    sizes = Sizes()
    kafka = KafkaSettings.model_validate({"client": client})
    batches = batch_producer(sizes.producer, CLIENT, ["scores", "changelog"], clients.uncompressed(kafka))
    append: Callable[..., object] = batches.append

    append(OutputRecords("scores", np.zeros(1, dtype=np.int32), large_binary([b"k"]), large_binary([TEXT])))
    sizes.producer.produce("changelog", TEXT, b"k", 0)
    letters = large_binary([TEXT])
    append(OutputRecords("letters", np.zeros(1, dtype=np.int32), letters, letters, [[("trace", b"1")]]))

    assert (sizes.of("scores") < len(TEXT)) is fewer
    assert (sizes.of("changelog") < len(TEXT)) is fewer
    assert sizes.of("letters") < len(TEXT)


def test_dead_letters_of_the_ordinary_client_are_compressed() -> None:
    """Where the compiled loops do not work, the producer's own options count."""
    sizes = Sizes()
    batches = batch_producer(sizes.producer, "another", ["scores"], clients.uncompressed(KafkaSettings()))
    letters = large_binary([TEXT])

    batches.append(OutputRecords("letters", np.zeros(1, dtype=np.int32), letters, letters, [[("trace", b"1")]]))

    assert sizes.of("letters") < len(TEXT)
