"""Makes as many keys as a drill wants out of recorded events: no recording has a million."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.declaration import Events, Pipeline
from pipeline.drills.recording import Recording
from pipeline.drills.replay import Replay
from pipeline.drills.wire import encoder
from pipeline.errors import SurgetankError
from pipeline.settings import KafkaSettings

RECORDS_PER_KEY = 1.2
LAP_MS = 3_600_000  # at least
_KEY_DIGITS = 9


def synthetic_keys(recording: Recording, events: Events, keys: int, count: int) -> Recording:
    """Return ``count`` recorded events of one kind, over and over, dealt out in turn over ``keys`` made-up keys.

    They are a millisecond apart, from the first time of the recording on, so that no key grows old. Raises ValueError
    if the recording has no such events, or they have no key.
    """
    if events.key is None:
        raise ValueError(f"events of {events.topic!r} have no key")
    (table,) = recording.only(events.topic).tables
    number = np.arange(count, dtype=np.int64)
    table = table.take(pa.array(number % len(table)))
    columns = {
        events.key: _named("K", number % keys),
        events.id: _named("crowd-", number),
        events.time: pa.array(int(recording.time_ms[0]) + number).cast(table.schema.field(events.time).type),
    }
    for name, column in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), column)
    return Recording.merge([(events, table)], lap=timedelta(milliseconds=max(count, LAP_MS)))


@dataclass(frozen=True, slots=True)
class SyntheticKeys:
    """What a pipeline with tables is given so that they have ``keys`` keys: its recorded events, under other keys."""

    pipeline: Pipeline
    recording: Recording
    keys: int

    @property
    def events(self) -> Recording:
        """Events to be scored, of all keys in turn."""
        return synthetic_keys(self.recording, self.pipeline.events, self.keys, self.keys)

    def fill(self, kafka: KafkaSettings) -> int:
        """Send what the tables are fed by, 1.2 records of each key, and wait until Kafka has it; return how many."""
        records = round(self.keys * RECORDS_PER_KEY)
        feeds = dict.fromkeys(memory.table.facts or self.pipeline.events for memory in self.pipeline.memories)
        for feed in feeds:
            assert isinstance(feed, Events)  # the declaration was checked
            events = synthetic_keys(self.recording, feed, self.keys, records)
            sent = Replay(kafka, events, lambda start, stop: np.zeros(stop - start), encoder()).run()
            if not sent.complete:
                raise SurgetankError(f"{sent.failed} events of {feed.topic} could not be delivered: {sent.error}")
        return records * len(feeds)


def _named(prefix: str, number: npt.NDArray[np.int64]) -> pa.Array:
    digits = pc.utf8_lpad(pa.array(number).cast(pa.string()), _KEY_DIGITS, "0")
    return pc.binary_join_element_wise(prefix, digits, "")
