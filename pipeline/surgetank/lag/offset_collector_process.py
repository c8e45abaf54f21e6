"""Runs the offset collector in a child process, so that a crash of librdkafka does not end the caller.

After an outage librdkafka's admin client may time out for minutes although the brokers are back. A request that timed
out has ended the process with an assertion, and an offsets request ends it if the coordinator has just moved
(ops/decisions/0002). After any failure and after a timeout the child is ended, and the next query starts a new one.
"""

import contextlib
import logging
import multiprocessing
import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Self

from surgetank.errors import BrokerError, SurgetankError
from surgetank.kafka.offset_collector import CollectedOffsets, OffsetCollector, OffsetQuery
from surgetank.settings import KafkaSettings

_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
END_SECONDS = 2.0

log = logging.getLogger(__name__)


class _ChildEnded(Exception):  # noqa: N818 - not an error of the caller
    """The child process ended; ``status`` is its exit status, None if unknown."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


class OffsetCollectorProcess:
    """Answers one query at a time, from one thread. Close it at the end, or use it as a context manager."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._child: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._interrupted = False

    def ask(self, query: OffsetQuery, timeout: float) -> CollectedOffsets:
        """Return the collected offsets. Raises BrokerError after ``timeout`` seconds, TopicsError for a missing topic.

        If the child ends during a query, the query is repeated once in a new child.
        """
        try:
            return self._ask(query, timeout)
        except _ChildEnded as first:
            if not self._interrupted:
                log.warning("the offset collector process ended (status %s); repeating the query", first.status)
        try:
            return self._ask(query, timeout)
        except _ChildEnded as again:
            raise BrokerError(
                f"{self._kafka.bootstrap}: the offset collector process ended twice (status {again.status})"
            ) from None

    def _ask(self, query: OffsetQuery, timeout: float) -> CollectedOffsets:
        try:
            pipe = self._started()
            pipe.send(query)
            answer: CollectedOffsets | SurgetankError | None = pipe.recv() if pipe.poll(timeout) else None
        except (EOFError, OSError):
            raise _ChildEnded(self._end()) from None
        except BaseException:  # a late answer would be taken for the answer to the next query
            self.close()
            raise
        if isinstance(answer, CollectedOffsets):
            if answer.unknown:
                self.close()  # a client that failed once is not used again
            return answer
        self.close()
        if answer is None:
            raise BrokerError(f"{self._kafka.bootstrap} has not answered within {timeout:g} s")
        raise answer

    @property
    def pid(self) -> int | None:
        """Return the process id of the child, None if there is none."""
        return self._child.pid if self._child is not None else None

    def interrupt(self) -> None:
        """End an open query at once without an answer, and refuse further queries. Safe in a signal handler."""
        self._interrupted = True
        if (child := self._child) is not None:
            child.kill()

    def close(self) -> None:
        """End the child process."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self) -> Connection:
        if self._interrupted:
            raise BrokerError("interrupted")
        if self._pipe is None:
            parent_end, child_end = _SPAWN.Pipe()
            self._child = _SPAWN.Process(target=_serve, args=(child_end, self._kafka), name="offsets", daemon=True)
            self._child.start()
            child_end.close()
            self._pipe = parent_end
        return self._pipe

    def _end(self) -> int | None:
        """End the child in any state; return its exit status, None if there was no child."""
        child, self._child = self._child, None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        if child is None:
            return None
        child.join(0.1)  # a child that ended by itself has its own exit status
        child.kill()
        child.join(END_SECONDS)
        return child.exitcode


def _serve(pipe: Connection, kafka: KafkaSettings) -> None:
    """Answer queries until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent, which ends this process
    with contextlib.suppress(EOFError, OSError):
        collector = OffsetCollector(kafka)
        while True:
            query: OffsetQuery = pipe.recv()
            answer: CollectedOffsets | SurgetankError
            try:
                answer = collector.collect(query)
            except SurgetankError as error:
                answer = error
            pipe.send(answer)
            del answer  # free its memory before the next query
