"""Draws ``ops/pictures/lag.svg``: what ``surgetank lag flights --watch`` shows while a spike is worked off.

``python -m ops.pictures.lag`` starts a real Kafka and two workers with batches so small that they are slow, replays
real events with a tenfold spike, and draws the table once a third of the lag is gone. It takes about two minutes.
"""

import io
import re
import tempfile
import threading
from pathlib import Path

from rich.console import Console

from pipeline.clock import SystemClock
from pipeline.drills.environment import local_environment
from pipeline.drills.pacing import Spike, at_rate
from pipeline.drills.replay import Replay
from pipeline.drills.wire import encoder
from pipeline.kafka import provisioning
from pipeline.kafka.offset_collector import OffsetQuery
from pipeline.lag.group_monitor import GroupMonitor
from pipeline.lag.offset_collector_process import OffsetCollectorProcess
from pipeline.lag.table import table
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
    """Run, watch, draw."""
    events = recording().only("boarding")
    with (
        tempfile.TemporaryDirectory(prefix="surgetank-picture-") as folder,
        local_environment(flights, "topology.flights", events, home=Path(folder), brokers=1, protocol="auto") as site,
    ):
        provisioning.apply(site.kafka, flights)
        replay = Replay(site.kafka, events, at_rate(RATE, [SPIKE]), encoder(), count=10_000_000)
        with site.fleet(SLOW) as fleet, OffsetCollectorProcess(site.kafka) as asking:
            for member in [fleet.start() for _ in range(WORKERS)]:
                fleet.wait_ready(member)
            sending = threading.Thread(target=replay.run, daemon=True)
            sending.start()
            question = OffsetQuery(group=flights.group, topics=(flights.events.topic,), heads_max=100)
            _draw(GroupMonitor(question, lambda about: asking.ask(about, 15.0), SystemClock()))
            replay.stop()
            sending.join()


def _draw(watching: GroupMonitor) -> None:
    clock, pause = SystemClock(), threading.Event()
    started, highest = clock.monotonic(), 0
    look = watching.look()
    while clock.monotonic() - started < SECONDS_MAX:
        look = watching.look()
        highest = max(highest, look.lag)
        print(f"{clock.monotonic() - started:4.0f} s  lag {look.lag:,}", flush=True)
        if clock.monotonic() - started > SPIKE.end and look.lag < 2 / 3 * highest:
            break
        pause.wait(1.0)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(table(look))
    drawn = console.export_svg(title=COMMAND, unique_id="lag")
    # A picture in a repository fetches no letters from elsewhere: those of whoever looks will do.
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    PICTURE.write_text(drawn)
    print(f"{PICTURE.name}: {len(drawn):,} bytes")


if __name__ == "__main__":
    main()
