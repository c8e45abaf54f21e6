"""surgetank.migration.copartitioning: partitioners told from keys, and only where the keys tell."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.migration.copartitioning import Copartitioning, KeySample, compare
from surgetank.migration.partitioners import crc32, murmur2

Partitioner = Callable[[bytes, int], int]


def adler(key: bytes, partitions: int) -> int:
    """A partitioner that nobody else knows."""
    return (sum(key) * 31 + len(key)) % partitions


def sample(topic: str, of: Partitioner, partitions: int, keys: range) -> KeySample:
    """Return keys where a partitioner puts them."""
    names = [f"N{number}".encode() for number in keys]
    return KeySample.of(topic, partitions, [(key, of(key, partitions)) for key in names])


@settings(deadline=None)
@given(partitions=st.integers(2, 64), start=st.integers(0, 10**6), other=st.integers(0, 10**6))
def test_facts_and_events_have_different_partitioners(partitions: int, start: int, other: int) -> None:
    """200 keys tell, whichever they are; the same partitioner is no reason, other keys neither."""
    events = sample("events", crc32, partitions, range(start, start + 200))
    for of, result in ((crc32, Copartitioning.SAME), (murmur2, Copartitioning.DIFFERENT)):
        facts = sample("facts", of, partitions, range(other, other + 200))
        assert compare(events, facts).result is result


@settings(deadline=None)
@given(before=st.integers(2, 12), times=st.integers(2, 4), old=st.integers(0, 200))
def test_a_topic_that_has_grown_is_no_mismatch(before: int, times: int, old: int) -> None:
    """Facts from before lie where the partitioner has put them among fewer partitions."""
    after = before * times
    events = sample("events", murmur2, after, range(200))
    names = [f"N{number}".encode() for number in range(200)]
    facts = KeySample.of(
        "facts", after, [(key, murmur2(key, before if i < old else after)) for i, key in enumerate(names)]
    )
    assert compare(events, facts).result is not Copartitioning.DIFFERENT


@pytest.mark.parametrize("keys", [0, 1, 5])
def test_the_partitioner_of_facts_is_not_known(keys: int) -> None:
    """Too few keys, or a partitioner that nobody knows: not refused, and the reason says which topic, and how many."""
    events = sample("events", crc32, 4, range(200))
    found = compare(events, sample("facts", murmur2, 4, range(keys)))
    assert found.result is Copartitioning.UNKNOWN
    assert f"facts is not known from {keys} keys" in found.why
    found = compare(events, sample("facts", adler, 4, range(200)))
    assert found.result is Copartitioning.UNKNOWN
    assert "keys that are in both samples" in found.why


def test_the_same_keys_in_the_same_partitions_are_enough() -> None:
    """A partitioner that nobody knows is fine if both topics use it."""
    found = compare(sample("events", adler, 8, range(200)), sample("facts", adler, 8, range(100, 300)))
    assert found.result is Copartitioning.SAME


@pytest.mark.parametrize("few", ["events", "facts"])
def test_few_keys_that_fit_are_no_reason_for_a_warning(few: str) -> None:
    """A topic may have a handful of keys for ever, such as airports."""
    of = {"events": range(200), "facts": range(200)} | {few: range(6)}
    found = compare(sample("events", crc32, 8, of["events"]), sample("facts", crc32, 8, of["facts"]))
    assert found.result is Copartitioning.SAME
    assert "6 keys" in found.why


def test_one_partition_needs_no_keys() -> None:
    """All keys are in it."""
    assert compare(KeySample("e", 1, {}), KeySample("f", 1, {})).result is Copartitioning.SAME


def test_a_key_in_two_partitions_tells_nothing() -> None:
    """It is left out of the sample."""
    assert KeySample.of("e", 4, [(b"a", 1), (b"b", 2), (b"a", 3)]).keys == {b"b": 2}
