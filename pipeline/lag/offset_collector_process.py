"""Asks Kafka in a process of its own, so that whatever happens to the clients there, whoever asks lives on.

librdkafka's admin client may time out for minutes after an outage although the brokers are back; a question of it that
timed out has ended its process with an assertion, and one about offsets ends it where a coordinator has just moved
(ops/decisions/0002). So the surveyor is a child process, and nobody else uses one. After any failure, and when it does
not answer in time, it is ended and the next question starts a new one.
"""

import contextlib
import logging
import multiprocessing
import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Self

from pipeline.errors import BrokerError, SurgetankError
from pipeline.kafka.offset_collector import CollectedOffsets, OffsetCollector, OffsetQuery
from pipeline.settings import KafkaSettings

_SPAWN = multiprocessing.get_context("spawn")  # a fork would take threads' locks along
END_SECONDS = 2.0

log = logging.getLogger(__name__)


class _Ended(Exception):  # noqa: N818 - the name is what happened
    """The process that asks ended; with which status, if that is known."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


class OffsetCollectorProcess:
    """One question at a time, from one thread. Close it in the end; it is a context too."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._child: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._interrupted = False

    def ask(self, question: OffsetQuery, timeout: float) -> CollectedOffsets:
        """Return the answer. Raises BrokerError if there is none in time, TopicsError for a topic that is not there.

        If the process ends while it is asked, a new one is asked once more.
        """
        try:
            return self._ask(question, timeout)
        except _Ended as first:
            if not self._interrupted:
                log.warning("the process that asks Kafka ended (status %s); asking again", first.status)
        try:
            return self._ask(question, timeout)
        except _Ended as again:
            raise BrokerError(
                f"{self._kafka.bootstrap}: the process that asks ended twice (status {again.status})"
            ) from None

    def _ask(self, question: OffsetQuery, timeout: float) -> CollectedOffsets:
        try:
            pipe = self._started()
            pipe.send(question)
            answer: CollectedOffsets | SurgetankError | None = pipe.recv() if pipe.poll(timeout) else None
        except (EOFError, OSError):
            raise _Ended(self._ended()) from None
        except BaseException:  # an answer that comes later would be taken for that of the next question
            self.close()
            raise
        if isinstance(answer, CollectedOffsets):
            if answer.unknown:
                self.close()  # what failed once is not asked again
            return answer
        self.close()
        if answer is None:
            raise BrokerError(f"{self._kafka.bootstrap} has not answered for {timeout:g} s")
        raise answer

    @property
    def pid(self) -> int | None:
        """The process that asks, None if there is none."""
        return self._child.pid if self._child is not None else None

    def interrupt(self) -> None:
        """Let a question that is open end at once without an answer, and answer none any more.

        From a signal handler too.
        """
        self._interrupted = True
        if (child := self._child) is not None:
            child.kill()

    def close(self) -> None:
        """End the process that asks."""
        self._ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self) -> Connection:
        if self._interrupted:
            raise BrokerError("interrupted")
        if self._pipe is None:
            ours, theirs = _SPAWN.Pipe()
            self._child = _SPAWN.Process(target=_serve, args=(theirs, self._kafka), name="asking", daemon=True)
            self._child.start()
            theirs.close()
            self._pipe = ours
        return self._pipe

    def _ended(self) -> int | None:
        """End the process, whatever it does; return its exit status."""
        child, self._child = self._child, None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        if child is None:
            return None
        child.join(0.1)  # one that ended by itself tells with what status
        child.kill()
        child.join(END_SECONDS)
        return child.exitcode


def _serve(pipe: Connection, kafka: KafkaSettings) -> None:
    """Answer questions until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks, who ends this process too
    with contextlib.suppress(EOFError, OSError):
        surveyor = OffsetCollector(kafka)
        while True:
            question: OffsetQuery = pipe.recv()
            answer: CollectedOffsets | SurgetankError
            try:
                answer = surveyor.survey(question)
            except SurgetankError as error:
                answer = error
            pipe.send(answer)
            del answer  # it is large, and the next question may be long in coming
