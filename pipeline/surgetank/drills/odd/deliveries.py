"""Compares the records that the sources have with those that were sent to them."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from surgetank.drills.odd.reading import ReadRecord
from surgetank.drills.odd.records import OddRecord

# What a broker counts of a record besides its bytes, also if its compression enlarges it.
_EXTRA_BYTES, _EXTRA_SHARE = 4_096, 0.01

Identity = bytes


@dataclass(slots=True)
class Deliveries:
    """The records that were sent to one pipeline; sizes are in bytes.

    ``rejected`` has the reasons of the brokers for those with a delivery report that they did not take. The
    ``unreported`` records have no report: whether the brokers took them shows in the topics.
    """

    records: int = 0
    bytes: int = 0
    unreported: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    _acknowledged: Counter[Identity] = field(default_factory=Counter)
    _unreported: Counter[Identity] = field(default_factory=Counter)
    _found: Counter[Identity] = field(default_factory=Counter)
    _named: dict[Identity, tuple[str, int]] = field(default_factory=dict)

    def sent(self, record: OddRecord, *, reported: bool) -> Identity:
        """Count a record that is given to a producer; return what identifies it."""
        which = _identity(record.topic, record.partition, record.key, record.value)
        self.records += 1
        self.bytes += record.size
        _, size = self._named.get(which, ("", 0))
        self._named[which] = _name(record), max(size, record.size)
        if not reported:
            self.unreported += 1
            self._unreported[which] += 1
        return which

    def acknowledged(self, which: Identity) -> None:
        """Count a record that a broker took."""
        self._acknowledged[which] += 1

    def found(self, records: Iterable[ReadRecord]) -> Iterator[ReadRecord]:
        """Yield the records of the sources, and count each."""
        for record in records:
            self._found[_identity(*record.position[:2], record.key, record.value)] += 1
            yield record

    def differences(self, bytes_max: int) -> Iterator[str]:
        """Yield what the sources have too little or too much, in words, after all were ``found``.

        ``bytes_max`` is max.message.bytes of the sources: only a record that may be larger can have been rejected
        without a delivery report.
        """
        for which, (name, size) in self._named.items():
            found, sure = self._found[which], self._acknowledged[which]
            most = sure + self._unreported[which]
            least = most if size * (1 + _EXTRA_SHARE) + _EXTRA_BYTES <= bytes_max else sure
            if not least <= found <= most:
                wanted = f"{least}" if least == most else f"{least} to {most}"
                yield f"sent, and taken {wanted} times, and {found} times in its topic: {name}"
        for which in self._found.keys() - self._named.keys():
            yield f"never sent, and {self._found[which]} times in the topics of the pipeline: {which.hex()}"


def _identity(topic: str, partition: int, key: bytes | None, value: bytes | None) -> Identity:
    content = hashlib.blake2b(f"{topic}/{partition}/".encode(), digest_size=16)
    for part in (key, value):
        content.update(b"\0" if part is None else b"\1" + len(part).to_bytes(8, "big") + part)
    return content.digest()


def _name(record: OddRecord) -> str:
    key = record.key if record.key is None else record.key[:20]
    size = "no value" if record.value is None else f"a value of {len(record.value)} bytes"
    return f"{record.topic}[{record.partition}] key {key!r}, {size}, {record.compression}"
