"""A TCP proxy for one broker, which decodes just enough of the Kafka protocol to drop or change a chosen message.

Frames are whole: four bytes of length, then a header that starts with the API key, the version and the correlation id,
which the response repeats. In responses that contain broker addresses, the proxy replaces the broker's address by its
own, so that a client that connects to the proxy keeps using it.
"""

import contextlib
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from typing import Self

METADATA, FIND_COORDINATOR, JOIN_GROUP, DESCRIBE_CLUSTER = 3, 10, 11, 60
END_TXN, TXN_OFFSET_COMMIT = 26, 28
HEARTBEAT = 68  # of KIP-848, also used to join
_NAME_BROKERS = {METADATA, FIND_COORDINATOR, DESCRIBE_CLUSTER}

Change = Callable[[bytes], bytes | None]


def cut(_: bytes) -> None:
    """Forward nothing and cut the connection."""
    return


def unchanged(frame: bytes) -> bytes:
    """Forward the message as it is."""
    return frame


class Proxy:
    """A proxy for the broker at ``bootstrap`` (one host and port). Use it as a context manager.

    ``on_request`` and ``on_answer`` set a change for messages of one kind: a function of the frame (without its length)
    that returns the frame to forward, or None to cut the connection instead. ``requests`` and ``done`` count, by kind,
    the requests received and the changes made.
    """

    def __init__(self, bootstrap: str) -> None:
        host, port = bootstrap.rsplit(":", 1)
        self._broker = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.bootstrap = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._theirs = host.encode() + struct.pack(">i", int(port))
        self._ours = b"127.0.0.1" + struct.pack(">i", self._listener.getsockname()[1])
        assert len(self._theirs) == len(self._ours), f"the broker must advertise 127.0.0.1, not {host}"
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._on_request: dict[int, tuple[range, Change]] = {}
        self._on_answer: dict[int, tuple[range, Change]] = {}
        self.requests: Counter[int] = Counter()
        self._answers: Counter[int] = Counter()
        self.done: Counter[int] = Counter()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def on_request(self, kind: int, change: Change, *, first: int = 1, times: int = 1) -> None:
        """Change requests of a kind: ``times`` of them, from the ``first``-th from now on (1: the next)."""
        with self._lock:
            start = self.requests[kind] + first
            self._on_request[kind] = (range(start, start + times), change)

    def on_answer(self, kind: int, change: Change, *, first: int = 1, times: int = 1) -> None:
        """Change responses of a kind: ``times`` of them, from the ``first``-th from now on (1: the next)."""
        with self._lock:
            start = self._answers[kind] + first
            self._on_answer[kind] = (range(start, start + times), change)

    def close(self) -> None:
        """Stop listening and cut every connection."""
        _shut(self._listener)
        with self._lock:
            for each in self._sockets:
                _shut(each)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the connection is closed
            while True:
                client, _ = self._listener.accept()
                try:
                    broker = socket.create_connection(self._broker)
                except OSError:
                    client.close()
                    continue
                for each in (client, broker):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._sockets |= {client, broker}
                kinds: dict[int, int] = {}  # of the requests without a response yet, by correlation id
                for source, target, changed in ((client, broker, self._request), (broker, client, self._answer)):
                    threading.Thread(target=self._pass_on, args=(source, target, changed, kinds), daemon=True).start()

    def _pass_on(
        self,
        source: socket.socket,
        target: socket.socket,
        changed: Callable[[bytes, dict[int, int]], bytes | None],
        kinds: dict[int, int],
    ) -> None:
        with contextlib.suppress(OSError), source.makefile("rb") as stream:
            while len(length := stream.read(4)) == 4:
                frame = changed(stream.read(*struct.unpack(">i", length)), kinds)
                if frame is None:
                    break
                target.sendall(struct.pack(">i", len(frame)) + frame)
        for each in (source, target):
            _shut(each)
        with self._lock:
            self._sockets -= {source, target}

    def _request(self, frame: bytes, kinds: dict[int, int]) -> bytes | None:
        kind, _, number = struct.unpack(">hhi", frame[:8])
        kinds[number] = kind
        return self._changed(frame, kind, self.requests, self._on_request)

    def _answer(self, frame: bytes, kinds: dict[int, int]) -> bytes | None:
        kind = kinds.pop(struct.unpack(">i", frame[:4])[0])
        if kind in _NAME_BROKERS:
            frame = frame.replace(self._theirs, self._ours)
        return self._changed(frame, kind, self._answers, self._on_answer)

    def _changed(
        self, frame: bytes, kind: int, seen: Counter[int], plans: dict[int, tuple[range, Change]]
    ) -> bytes | None:
        with self._lock:
            seen[kind] += 1
            which, change = plans.get(kind, (range(0), cut))
            if seen[kind] not in which:
                return frame
            self.done[kind] += 1
        return change(frame)


def other_generation(frame: bytes) -> bytes:
    """Return a TxnOffsetCommit request (version 3 or later) with a later generation, which will be rejected."""
    _, version, _, client_id = struct.unpack(">hhih", frame[:10])
    assert version >= 3, f"TxnOffsetCommit of version {version} names no generation"
    at = 10 + max(client_id, 0) + 1  # after the client id and the empty tags of the header
    for _ in ("transactional id", "group id"):
        assert frame[at] < 0x80, "a name of more than 126 bytes has a length of two bytes"
        at += frame[at]  # the byte before it is its length plus one
    at += 8 + 2  # producer id and epoch
    (generation,) = struct.unpack(">i", frame[at : at + 4])
    return frame[:at] + struct.pack(">i", generation + 1000) + frame[at + 4 :]


def stale_member_epoch(frame: bytes) -> bytes:
    """Return a TxnOffsetCommit response with STALE_MEMBER_EPOCH, as of version 6, for each ILLEGAL_GENERATION."""
    changed, count = re.subn(rb"(?s)(\0\0\0.)\0\x16\0", lambda found: found[1] + b"\0\x71\0", frame)  # partition, code
    assert count, "no partition has ILLEGAL_GENERATION"
    return changed


def _shut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
