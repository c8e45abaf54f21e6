"""surgetank.migration.partitioners: where keys lie, as Java and librdkafka have it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.errors import TopicsError
from surgetank.migration.partitioners import PARTITIONERS, PartitionerDetector, crc32, murmur2

WHOLE = 2**31  # so many partitions that the number is the hash itself


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_the_java_client(key: bytes, hashed: int) -> None:
    """The values are those that Kafka's own tests have; what is negative loses its sign bit."""
    assert murmur2(key, WHOLE) == hashed & 0x7FFFFFFF
    assert murmur2(key, 12) == (hashed & 0x7FFFFFFF) % 12


def test_crc32_is_the_common_one() -> None:
    """The check value of CRC-32 is of these nine digits."""
    assert crc32(b"123456789", 2**32) == 0xCBF43926


KEYS = st.sets(st.binary(min_size=1, max_size=12), min_size=40, max_size=60)


@given(KEYS, st.sampled_from(sorted(PARTITIONERS)), st.integers(3, 64))
def test_keys_tell_who_put_them_there(keys: set[bytes], name: str, partitions: int) -> None:
    """Of enough keys in enough partitions only one partitioner is right, and it is found."""
    suspects = PartitionerDetector(partitions)
    for key in keys:
        suspects.add([key], PARTITIONERS[name](key, partitions))

    assert suspects.name() == name


def test_a_key_that_nobody_puts_there_is_named() -> None:
    """Its events went where somebody else decided; they will go where nobody knows."""
    suspects = PartitionerDetector(4)
    suspects.add([b"foobar"], murmur2(b"foobar", 4))
    wrong = next(p for p in range(4) if p not in {murmur2(b"N14228", 4), crc32(b"N14228", 4)})
    with pytest.raises(TopicsError, match=rf"key b'N14228' is in partition {wrong} of 4.*state reset"):
        suspects.add([b"N14228"], wrong)


def test_too_few_keys_tell_nothing_and_somebody_must() -> None:
    """All keys of one partition lie where any partitioner puts them; the one that is named is taken."""
    suspects, named = PartitionerDetector(1), PartitionerDetector(1, "crc32")
    for each in (suspects, named):
        each.add([b"a", b"b", b"c"], 0)
    with pytest.raises(TopicsError, match=r"3 keys in 1 partitions do not determine.*--partitioner murmur2.*crc32"):
        suspects.name()
    assert named.name() == "crc32"


def test_a_partitioner_that_is_named_must_be_right() -> None:
    """It is held against the keys, and there must be one of that name."""
    with pytest.raises(TopicsError, match=r"but murmur2 assigns it to another"):
        PartitionerDetector(64, "murmur2").add([b"N14228"], (murmur2(b"N14228", 64) + 1) % 64)
    with pytest.raises(TopicsError, match=r"unknown partitioner 'sticky'; known are murmur2, crc32"):
        PartitionerDetector(4, "sticky")
