"""Last scores and features by key over HTTP, from any worker of the pipeline.

    GET /v1/<pipeline>/predictions/<key>          the last score of a key
    GET /v1/<pipeline>/features/<key>             its rows in the feature tables, with names
    GET /v1/<pipeline>/predictions?key=a&key=b    many keys in one request
    GET /v1/<pipeline>/predictions?key_hex=00ff   keys of any bytes, as hexadecimal digits

The producer of a key chose its partition. So a worker reads the tables of its own tasks and sends requests to the
owners of the others. Each committed offset names its owner's address, so no other registry is needed. Only committed
rows on disk are returned. A key without a row is 404 only if every partition was read; else it is 503: its task may be
in restore, or its worker does not answer.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, unquote, urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, StreamReader, TCPConnector, web

from surgetank.clock import Clock
from surgetank.declaration import PREDICTIONS, Pipeline
from surgetank.features.row_layout import NEWEST_TIME
from surgetank.http.endpoint_security import EndpointSecurity
from surgetank.http.server import HttpServer, json_response
from surgetank.records import large_binary
from surgetank.state.row_serde import RowSerde

log = logging.getLogger(__name__)

KEYS_MAX = 100  # per request
PEERS_MAX = 64
PEER_SECONDS = 2.0
PEER_REQUESTS_MAX = 32  # in flight at once, of all lookups; the others wait, and their timeout runs
PEER_BYTES_MAX = 16 * 1024 * 1024
READERS = 4  # threads that read the tables

_ADVICE = f"ask for 1 to {KEYS_MAX} keys: ?key=...&key=..., or ?key_hex=...&key_hex=..."
_NOT_TEXT = "the key is not UTF-8: ask for ?key_hex=... with its bytes as hexadecimal digits"

Row = tuple[float, dict[str, Any]]  # its time and its content


class StateReader(Protocol):
    """The tables of the tasks of this worker."""

    def committed(self, table: str, keys: Sequence[bytes]) -> dict[int, list[bytes | None]]:
        """Return by partition the committed value of each key on disk."""
        ...


@dataclass(slots=True)
class _Rows:
    """The rows found for some keys, and the partitions that were read."""

    rows: dict[str, dict[str, Row]] = field(default_factory=dict)  # by key, then table
    partitions: set[int] = field(default_factory=set)

    def add(self, key: str, table: str, row: Row) -> None:
        """Add a row; of two rows of one key (from two partitions) the newer one is kept."""
        known = self.rows.setdefault(key, {})
        if table not in known or known[table][0] < row[0]:
            known[table] = row

    def add_reply(self, reply: Mapping[str, Any]) -> None:
        """Add a peer's reply. Raises ValueError, TypeError, AttributeError or KeyError if it is malformed."""
        self.partitions |= {int(partition) for partition in reply.get("partitions", [])}
        for key, tables in reply.get("rows", {}).items():
            for table, (at, row) in tables.items():
                self.add(key, table, (float(at), dict(row)))

    def merge(self, other: "_Rows") -> None:
        """Add all rows and partitions of another result."""
        self.partitions |= other.partitions
        for key, tables in other.rows.items():
            for table, row in tables.items():
                self.add(key, table, row)


class StateLookup:
    """Answers lookups for one pipeline of ``partitions`` partitions.

    ``peers`` returns the addresses of the workers that committed last, including this worker's; ``me`` is this
    worker's. Requests to peers carry the token and the certificate of ``security``.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        formats: Mapping[str, RowSerde],
        state: StateReader,
        *,
        partitions: int,
        me: str,
        peers: Callable[[], set[str]],
        security: EndpointSecurity,
        clock: Clock,
    ) -> None:
        self._name = pipeline.name
        self._formats = formats
        self._layouts = {table_state.table.name: table_state.layout for table_state in pipeline.table_states}
        self._tables = {"features": tuple(self._layouts)} | (
            {"predictions": (PREDICTIONS,)} if pipeline.keeps_predictions else {}
        )
        self._state = state
        self._partitions = set(range(partitions))
        self._me = me
        self._peers = peers
        self._security = security
        self._clock = clock
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="lookup")
        self._session: ClientSession | None = None

    def register(self, server: HttpServer) -> None:
        """Register the route of the pipeline."""
        prefix = f"/v1/{quote(self._name)}/"
        server.route_prefix("GET", prefix, self.lookup, [f"{prefix}{kind}/KEY" for kind in self._tables])
        server.at_stop(self.close)

    async def close(self) -> None:
        """Close the connections to peers."""
        if self._session is not None:
            await self._session.close()

    async def lookup(self, request: web.BaseRequest) -> web.Response | None:
        """Answer a request; None if its path does not belong to this route."""
        target = urlsplit(request.raw_path)
        parts = [unquote(part) for part in target.path.split("/")]
        if len(parts) not in {4, 5} or parts[:3] != ["", "v1", self._name] or parts[3] not in self._tables:
            return None
        try:
            query = parse_qs(target.query, errors="strict")
            given, keys = requested_keys(target.path.split("/")[4:], query)
        except UnicodeDecodeError:
            return json_response(HTTPStatus.BAD_REQUEST, {"error": _NOT_TEXT})
        except ValueError as error:
            return json_response(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._reading, self._local, self._tables[parts[3]], keys)
        if query.get("local"):
            return json_response(HTTPStatus.OK, {"rows": found.rows, "partitions": sorted(found.partitions)})
        if found.partitions < self._partitions:
            await self._ask_peers(parts[3], given, keys, found)
        shown = {key: {given: key} | self._rendered(parts[3], found.rows[key]) for key in keys if key in found.rows}
        whole = found.partitions >= self._partitions
        if len(parts) == 4:
            left = [key for key in keys if key not in shown]
            return json_response(HTTPStatus.OK, {"found": shown, "unknown" if whole else "unavailable": left})
        (key,) = keys
        if key in shown:
            return json_response(HTTPStatus.OK, shown[key])
        if whole:
            return json_response(HTTPStatus.NOT_FOUND, {"error": f"nothing is known of key {key!r}"})
        missing = sorted(self._partitions - found.partitions)
        return json_response(
            HTTPStatus.SERVICE_UNAVAILABLE, {"error": f"partitions {missing} are not answered for just now"}
        )

    def _local(self, tables: Iterable[str], keys: Mapping[str, bytes]) -> _Rows:
        rows = _Rows()
        for table in tables:
            committed = self._state.committed(table, list(keys.values()))
            for partition, values in committed.items():
                rows.partitions.add(partition)
                for key, value in zip(keys, values, strict=True):
                    if value is not None:
                        rows.add(key, table, self._named(table, value))
        return rows

    def _named(self, table: str, value: bytes) -> Row:
        row = self._formats[table].unpack(large_binary([value]))[0]
        if table != PREDICTIONS:
            return float(row[NEWEST_TIME]), self._layouts[table].describe(row)
        return float(row["scored_ms"]), {
            "score": float(row["score"]),
            "event_ms": int(row["event_ms"]),
            "scored_ms": int(row["scored_ms"]),
            "model_version": bytes(row["model_version"]).decode(),
        }

    def _rendered(self, kind: str, rows: dict[str, Row]) -> dict[str, Any]:
        if kind == "features":
            return {"tables": {table: row for table, (_, row) in rows.items()}}
        ((_, row),) = rows.values()
        return {**row, "age_seconds": round(self._clock.now() - row["scored_ms"] / 1000, 3)}

    async def _ask_peers(self, kind: str, given: str, keys: Iterable[str], rows: _Rows) -> None:
        peers = await asyncio.get_running_loop().run_in_executor(self._reading, self._peers)
        urls = [f"{each}/v1/{quote(self._name)}/{kind}" for each in sorted(peers - {self._me})[:PEERS_MAX]]
        for reply in await asyncio.gather(*(self._ask(url, given, keys) for url in urls)):
            rows.merge(reply)

    async def _ask(self, url: str, given: str, keys: Iterable[str]) -> _Rows:
        """Return a peer's rows; nothing if it does not answer in time."""
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(limit=PEER_REQUESTS_MAX, force_close=True),
                timeout=ClientTimeout(total=PEER_SECONDS),
                trust_env=False,  # a proxy in the environment is for the internet, not for workers
            )
        rows, access = _Rows(), self._security.client
        query = [("local", "1"), *((given, key) for key in keys)]
        try:
            async with self._session.get(
                url,
                params=query,
                headers=access.headers(url),
                ssl=access.context(urlsplit(url).hostname or ""),
                allow_redirects=False,
            ) as reply:
                if reply.status != HTTPStatus.OK:
                    log.debug("a peer answers with status %s: %s", reply.status, url)
                else:
                    rows.add_reply(json.loads(await _body(reply.content)))
        except (ClientError, OSError, TimeoutError, ValueError, TypeError, AttributeError, KeyError) as error:
            log.debug("a peer does not answer: %r", error)
            return _Rows()
        return rows


def requested_keys(path: Sequence[str], query: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, bytes]]:
    """Return the parameter that gives the keys of a request, and the bytes of each key by its text. Pure.

    ``path`` is the quoted key of a path, if it has one; ``query`` the values of ``key`` or of ``key_hex``. Hexadecimal
    digits become lower-case. Raises ValueError, with advice, for no key, too many, or wrong digits; UnicodeDecodeError
    for a path that is not UTF-8.
    """
    texts, digits = query.get("key", []), query.get("key_hex", []) if not path else []
    if texts and digits:
        raise ValueError(_ADVICE)
    if digits:
        try:
            keys = {bytes.fromhex(each).hex(): bytes.fromhex(each) for each in digits}
        except ValueError:
            raise ValueError("key_hex: give the bytes of the record key as hexadecimal digits, as 00ff") from None
    else:
        keys = {text: text.encode() for text in ([unquote(each, errors="strict") for each in path] or texts)}
    if not 0 < len(keys) <= KEYS_MAX or "" in keys:
        raise ValueError(_ADVICE)
    return ("key_hex" if digits else "key"), keys


async def _body(content: StreamReader) -> bytes:
    """Return a whole body. Raises ValueError if it is longer than the limit for a peer's reply."""
    body = bytearray()
    async for part in content.iter_any():
        body += part
        if len(body) > PEER_BYTES_MAX:
            raise ValueError(f"more than {PEER_BYTES_MAX} bytes")
    return bytes(body)
