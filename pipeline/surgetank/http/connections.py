"""Limits the number of connections of a server and the time of each client, so that a new client is always served.

A full server closes one of its connections instead of rejecting the new one: a probe that connects and sends its
request at once gets a response however many clients hold connections open or reconnect.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

CONNECTIONS_MAX = 256
REQUEST_SECONDS = 5.0  # from accepting a connection to receiving the whole head of its request
RESPONSE_SECONDS = 5.0  # from the start of the response until the client has received its last byte

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def connection_to_close(connections: Sequence[tuple[str, bool]]) -> int:
    """Return the index of the connection to close for a new one. Pure.

    ``connections`` are the client's address and whether its request has arrived, the oldest first. The one to close is
    of the address with the most connections, so one client cannot displace the others: the oldest one whose request has
    not arrived, else the oldest.
    """
    count = Counter(peer for peer, _ in connections)
    most = max(count.values())
    eligible = [index for index, (peer, _) in enumerate(connections) if count[peer] == most]
    return next((index for index in eligible if not connections[index][1]), eligible[0])


@dataclass(slots=True, eq=False)
class _Open:
    transport: asyncio.Transport
    peer: str
    timer: asyncio.TimerHandle
    answering: bool = False


class Connections:
    """The open connections of a server. For the thread of its event loop."""

    def __init__(self) -> None:
        self._open: dict[asyncio.BaseTransport, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, transport: asyncio.Transport) -> None:
        """Add a connection that was just accepted, and close another one if there are too many."""
        if len(self._open) >= CONNECTIONS_MAX:
            connections = list(self._open.values())
            self._make_room(connections[connection_to_close([(each.peer, each.answering) for each in connections])])
        peer = transport.get_extra_info("peername")  # None: the client has disconnected already
        timer = asyncio.get_running_loop().call_later(REQUEST_SECONDS, transport.abort)
        self._open[transport] = _Open(transport, str(peer[0]) if peer else "", timer)

    def request_arrived(self, transport: asyncio.BaseTransport | None) -> None:
        """Stop the client's timer: its request has arrived, and the handler has its own limits."""
        if transport is not None and (connection := self._open.get(transport)) is not None:
            connection.timer.cancel()
            connection.answering = True

    def response_ready(self, transport: asyncio.BaseTransport | None) -> None:
        """Restart the client's timer: it must receive the response in time."""
        if transport is not None and (connection := self._open.get(transport)) is not None:
            connection.timer = asyncio.get_running_loop().call_later(RESPONSE_SECONDS, connection.transport.abort)

    def closed(self, transport: asyncio.BaseTransport) -> None:
        """Remove a connection; an unknown one is ignored."""
        if (connection := self._open.pop(transport, None)) is not None:
            connection.timer.cancel()

    def abort_all(self) -> None:
        """Close every connection at once, whatever is sent or received on it."""
        for connection in list(self._open.values()):
            self.closed(connection.transport)
            connection.transport.abort()

    def _make_room(self, connection: _Open) -> None:
        self.closed(connection.transport)
        if connection.answering:
            connection.transport.abort()
        else:
            connection.transport.write(_BUSY)
            connection.transport.close()
            # Otherwise a client that does not read would keep it open.
            asyncio.get_running_loop().call_later(RESPONSE_SECONDS, connection.transport.abort)
