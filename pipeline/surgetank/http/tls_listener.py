"""Accepts connections and completes their TLS handshakes, a bounded number at a time and each within seconds.

asyncio's own server does not report a connection before its handshake is complete: clients that connect and send
nothing would hold any number of descriptors.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable

from surgetank.http.connections import REQUEST_SECONDS, connection_to_close

HANDSHAKES_MAX = 256
_SHUTDOWN_SECONDS = 1.0  # for the client's part of the end of a connection
_RETRY_SECONDS = 1.0  # after an error of accept, as without descriptors

log = logging.getLogger(__name__)


class TlsListener:
    """Serves a listening socket from ``start`` until ``close``. For the thread of its event loop.

    ``protocols`` makes the protocol of a connection after its handshake; ``context`` returns the context of the next
    handshake. The caller closes the socket.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocols: Callable[[], asyncio.BaseProtocol],
        context: Callable[[], ssl.SSLContext],
    ) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._protocols = protocols
        self._context = context
        self._handshakes: dict[asyncio.Task[None], str] = {}  # and the client's address, the oldest first

    def start(self) -> None:
        """Accept connections from now on."""
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def close(self) -> None:
        """Accept nothing more, and end the handshakes that are not complete."""
        tasks = [self._accepting, *self._handshakes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(self._listening)
            except OSError as error:
                log.debug("a connection cannot be accepted: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if len(self._handshakes) >= HANDSHAKES_MAX:
                oldest = connection_to_close([(address, False) for address in self._handshakes.values()])
                task = list(self._handshakes)[oldest]
                del self._handshakes[task]
                task.cancel()
            task = loop.create_task(self._shake_hands(connection))
            self._handshakes[task] = str(peer[0])
            task.add_done_callback(lambda done: self._handshakes.pop(done, None))

    async def _shake_hands(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # that of the client, which knows why
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocols,
                connection,
                ssl=self._context(),
                ssl_handshake_timeout=REQUEST_SECONDS,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
