"""Looks up the schemas of ids in a thread of its own, so that no other thread waits for the registry."""

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Protocol

from surgetank.clock import Clock
from surgetank.codec.avro.equality import is_same_schema
from surgetank.codec.schema_id_cache import SchemaIdCache
from surgetank.codec.schema_ids import RegisteredSchema, SchemaIds, SchemaKey
from surgetank.codec.schema_registry import NotRegisteredError, RegistryUnavailableError
from surgetank.errors import StartupError
from surgetank.settings import SchemaRegistrySettings

log = logging.getLogger(__name__)


class SchemaSource(Protocol):
    """Returns the schema of an id."""

    def schema(self, schema_id: SchemaKey) -> RegisteredSchema:
        """Return the schema. Raises NotRegisteredError and RegistryUnavailableError."""
        ...


class SchemaLookup:
    """The schemas of one registry's ids. For any thread; the thread that looks up starts when it is needed."""

    def __init__(
        self, settings: SchemaRegistrySettings, source: SchemaSource, cache: SchemaIdCache | None, clock: Clock
    ) -> None:
        self._source = source
        self._cache = cache
        self._clock = clock
        self._ids = SchemaIds(
            cache.read() if cache else {},
            not_found_seconds=settings.not_found_seconds,
            recheck_seconds=settings.recheck_seconds,
            is_same=is_same_schema,
            now=clock.monotonic(),
        )
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._on_change: Callable[[], None] = lambda: None

    def ask(self, ids: Collection[SchemaKey]) -> None:
        """Look these ids up, unless they are known."""
        with self._changed:
            self._ids.ask(ids, self._clock.monotonic())
            self._start()
            self._changed.notify_all()

    def watch(self, on_change: Callable[[], None]) -> None:
        """Check the ids that an earlier run knew; call a function, in the thread that looks up, after each change."""
        with self._changed:
            self._on_change = on_change
            self._start()

    def schema(self, number: SchemaKey) -> RegisteredSchema | None:
        """Return the schema of an id; None if it is not known."""
        with self._changed:
            return self._ids.schema(number)

    def known(self) -> dict[SchemaKey, RegisteredSchema]:
        """Return the schemas by id."""
        with self._changed:
            return self._ids.known()

    def is_denied(self, number: SchemaKey) -> bool:
        """Return whether the registry has denied the id for ``not_found_seconds``."""
        with self._changed:
            return self._ids.is_denied(number)

    def disputed(self) -> list[SchemaKey]:
        """Return the ids for which the registry returned another schema than before."""
        with self._changed:
            return self._ids.disputed()

    def why_waiting(self, ids: Collection[SchemaKey]) -> str:
        """Return why events of some ids wait, for people; empty if none of them waits."""
        with self._changed:
            return self._ids.why_waiting(ids)

    def resolve(self, ids: Collection[SchemaKey], timeout: float) -> None:
        """Wait until something is known of all these ids. Raises StartupError if it is not after ``timeout`` seconds.

        For tools: a worker keeps such events back instead.
        """
        self.ask(ids)
        with self._changed:
            if not self._changed.wait_for(lambda: not self._ids.why_waiting(ids), timeout):
                raise StartupError(self._ids.why_waiting(ids))

    def stop(self) -> None:
        """End the thread; do not wait for a request in progress."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _start(self) -> None:
        if self._thread is None and not self._stopping:
            self._thread = threading.Thread(target=self._run, name="schema lookup", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (ids := self._wait_for_due()) is not None:
            self._look_up(ids)

    def _wait_for_due(self) -> list[SchemaKey] | None:
        """Wait for ids to look up and return them; None at the end."""
        with self._changed:
            while not self._stopping:
                now = self._clock.monotonic()
                if due := self._ids.due(now):
                    return due
                at = self._ids.next_due()
                self._changed.wait(None if at is None else max(0.0, at - now))
        return None

    def _look_up(self, ids: Iterable[SchemaKey]) -> None:
        for number in ids:
            if self._stopping:
                return
            try:
                schema = self._source.schema(number)
            except NotRegisteredError:
                self._take(partial(self._ids.not_found, number))
            except RegistryUnavailableError as error:
                log.warning("schema registry: %s", error)
                with self._changed:
                    self._ids.unavailable(str(error), self._clock.monotonic())
                return
            else:
                self._take(partial(self._ids.found, number, schema))

    def _take(self, answer: Callable[[float], bool]) -> None:
        with self._changed:
            disputed = self._ids.disputed()
            if not answer(self._clock.monotonic()):
                return
            known, now_disputed = self._ids.known(), self._ids.disputed()
            self._changed.notify_all()
        if new := [number for number in now_disputed if number not in disputed]:
            log.error("%s", self.why_waiting(new))
        if self._cache is not None:
            self._cache.write(known)
        self._on_change()
