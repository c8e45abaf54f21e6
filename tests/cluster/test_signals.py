"""Signals: SIGTERM and SIGINT stop a worker; the debugging aids of Faust are not there, since they show secrets."""

import signal
from collections.abc import Callable

from tests.support.live_pipeline import Stage

StageFactory = Callable[..., Stage]

EVENTS = 200
SECRET = "hunter2-in-the-clear"


def test_sigusr1_or_sigusr2_for_a_worker(stage: StageFactory) -> None:
    """The password is not in the log, events are scored after the signals, and a stop is a stop."""
    under = stage()
    password = {"SURGETANK_KAFKA__CLIENT__SASL_PASSWORD": SECRET}
    stops = [(under.worker(environment=password), stop) for stop in (signal.SIGTERM, signal.SIGINT)]
    before = [worker.log.stat().st_size for worker, _ in stops]

    for worker, _ in stops:
        worker.process.send_signal(signal.SIGUSR1)
        worker.process.send_signal(signal.SIGUSR2)
    under.send(EVENTS)

    under.until(lambda: under.scores() == EVENTS, 60, "all events are scored")
    for (worker, stop), start in zip(stops, before, strict=True):
        worker.process.send_signal(stop)
        assert worker.process.wait(30) == 0
        said = worker.log.read_bytes()
        assert SECRET not in said.decode()
        for word in (b"Signal", b"Stack", b"asyncio", b"debugger", b"Traceback", b"0x"):
            assert word not in said[start:]
