"""Creates events with a given number of keys from recorded events."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.declaration import Events, Pipeline
from surgetank.drills.recording import Recording
from surgetank.drills.replay import Replay
from surgetank.drills.wire import encoder
from surgetank.errors import SurgetankError
from surgetank.settings import KafkaSettings

RECORDS_PER_KEY = 1.2
LAP_MS = 3_600_000  # the minimum
_KEY_DIGITS = 9


def synthetic_keys(recording: Recording, events: Events, keys: int, count: int) -> Recording:
    """Return ``count`` recorded events of one kind, repeated as needed, with ``keys`` synthetic keys in turn.

    The events are one millisecond apart, starting at the first time of the recording, so that no key expires. Raises
    ValueError if the recording has no such events, or they have no key or a nested one.
    """
    if events.key is None:
        raise ValueError(f"events of {events.topic!r} have no key")
    (table,) = recording.only(events.topic).tables
    number = np.arange(count, dtype=np.int64)
    table = table.take(pa.array(number % len(table)))
    times = pa.array(int(recording.time_ms[0]) + number).cast(pa.timestamp("ms", "UTC"))
    if (unit := events.time_units.get(events.time)) is not None:
        times = times.cast(pa.timestamp(unit, "UTC"), safe=False).cast(pa.int64())
    columns = {events.key: _key_names("K", number % keys), events.id: _key_names("crowd-", number), events.time: times}
    for name, column in columns.items():
        index = table.schema.get_field_index(name)
        if index < 0:
            raise ValueError(
                f"events of {events.topic!r}: {name!r} is a field of a record; synthetic keys need columns"
            )
        table = table.set_column(index, table.schema.field(index), column.cast(table.schema.field(index).type))
    return Recording.merge([(events, table)], lap=timedelta(milliseconds=max(count, LAP_MS)))


@dataclass(frozen=True, slots=True)
class SyntheticKeys:
    """Events that fill the tables of a pipeline with ``keys`` keys: its recorded events with synthetic keys."""

    pipeline: Pipeline
    recording: Recording
    keys: int

    @property
    def events(self) -> Recording:
        """The events to score, with all keys in turn."""
        return synthetic_keys(self.recording, self.pipeline.events, self.keys, self.keys)

    def fill(self, kafka: KafkaSettings) -> int:
        """Send the events that update the tables, 1.2 per key, wait for acknowledgement, and return their number."""
        records = round(self.keys * RECORDS_PER_KEY)
        feeds = dict.fromkeys(
            table_state.table.facts or self.pipeline.events for table_state in self.pipeline.table_states
        )
        for feed in feeds:
            assert isinstance(feed, Events)  # checked by the declaration
            events = synthetic_keys(self.recording, feed, self.keys, records)
            sent = Replay(kafka, events, lambda start, stop: np.zeros(stop - start), encoder()).run()
            if not sent.complete:
                raise SurgetankError(f"{sent.failed} events of {feed.topic} could not be delivered: {sent.error}")
        return records * len(feeds)


def _key_names(prefix: str, number: npt.NDArray[np.int64]) -> pa.Array:
    digits = pc.utf8_lpad(pa.array(number).cast(pa.string()), _KEY_DIGITS, "0")
    return pc.binary_join_element_wise(prefix, digits, "")
