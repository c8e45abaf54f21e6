"""The columns by which a score or a feature record references its event."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.declaration import Events
from surgetank.records import RecordBatch
from surgetank.text_columns import as_text

_TIME = pa.timestamp("ms", tz="UTC")


def event_reference(
    events: Events, records: RecordBatch, rows: npt.NDArray[np.int64], columns: pa.RecordBatch
) -> dict[str, pa.Array]:
    """Return id, time and position of k events, by the column names in the schemas.

    ``rows`` int64 [k] are row numbers of the events in ``records``; ``columns`` has k rows, with id and time.
    """
    times = columns[events.time]
    partitions = np.array([source.partition for source in records.sources], dtype=np.int32)
    return {
        "event_id": as_text(columns[events.id]),
        "event_time": times if times.type == _TIME else times.cast(_TIME, safe=False),
        "source_topic": pa.repeat(events.topic, len(rows)),  # only events are scored
        "source_partition": pa.array(partitions[records.source[rows]]),
        "source_offset": pa.array(records.offsets[rows]),
    }
