"""The first quarter of the recorded flights: three TTLs of 30 days, twelve weeks, a change of the clocks."""

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc

END = dt.datetime(2013, 4, 1, tzinfo=dt.UTC)


def first_quarter(flights: pa.Table, time: str) -> pa.Table:
    """Return the flights whose column ``time``, timestamp[ms, UTC], lies before April."""
    return flights.filter(pc.less(flights[time], pa.scalar(END, flights.schema.field(time).type)))
