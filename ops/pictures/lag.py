"""Draws ``ops/pictures/lag.svg``: the output of ``surgetank lag flights --watch`` while the lag of a spike drains.

``python -m ops.pictures.lag`` starts a real Kafka and two workers that are slow because of small batches, replays
real events with a tenfold spike, and draws the table when the lag has dropped by a third. It takes about two minutes.
"""

import io
import re
import tempfile
import threading
from pathlib import Path

from rich.console import Console

from surgetank.clock import SystemClock
from surgetank.drills.environment import local_environment
from surgetank.drills.pacing import Spike, at_rate
from surgetank.drills.replay import Replay
from surgetank.drills.wire import encoder
from surgetank.kafka import provisioning
from surgetank.kafka.offset_collector import OffsetQuery
from surgetank.lag.group_monitor import GroupMonitor
from surgetank.lag.offset_collector_process import OffsetCollectorProcess
from surgetank.lag.table import table
from topology.flights import flights
from topology.recordings.flights import recording

PICTURE = Path(__file__).with_name("lag.svg")
COMMAND = "surgetank lag flights --watch"
RATE = 1_000.0
SPIKE = Spike(10.0, 60.0, 30.0)
SECONDS_MAX = 240.0
WORKERS = 2
SLOW = {"worker.batch_rows_max": 8}
WIDTH = 168


def main() -> None:
    """Run the spike, poll the lag, draw the table."""
    events = recording().only("boarding")
    with (
        tempfile.TemporaryDirectory(prefix="surgetank-picture-") as folder,
        local_environment(flights, "topology.flights", events, home=Path(folder), brokers=1, protocol="auto") as env,
    ):
        provisioning.apply(env.kafka, flights)
        replay = Replay(env.kafka, events, at_rate(RATE, [SPIKE]), encoder(), count=10_000_000)
        with env.fleet(SLOW) as fleet, OffsetCollectorProcess(env.kafka) as process:
            for member in [fleet.start() for _ in range(WORKERS)]:
                fleet.wait_ready(member)
            sending = threading.Thread(target=replay.run, daemon=True)
            sending.start()
            query = OffsetQuery(group=flights.group, topics=(flights.events.topic,), heads_max=100)
            _draw(GroupMonitor(query, lambda query: process.ask(query, 15.0), SystemClock()))
            replay.stop()
            sending.join()


def _draw(monitor: GroupMonitor) -> None:
    clock, pause = SystemClock(), threading.Event()
    started, highest = clock.monotonic(), 0
    snapshot = monitor.poll()
    while clock.monotonic() - started < SECONDS_MAX:
        snapshot = monitor.poll()
        highest = max(highest, snapshot.lag)
        print(f"{clock.monotonic() - started:4.0f} s  lag {snapshot.lag:,}", flush=True)
        if clock.monotonic() - started > SPIKE.end and snapshot.lag < 2 / 3 * highest:
            break
        pause.wait(1.0)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(table(snapshot))
    picture = console.export_svg(title=COMMAND, unique_id="lag")
    # Remove web fonts, so that the picture loads nothing from other hosts.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    PICTURE.write_text(picture)
    print(f"{PICTURE.name}: {len(picture):,} bytes")


if __name__ == "__main__":
    main()
