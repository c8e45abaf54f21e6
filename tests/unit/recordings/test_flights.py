"""The real flights of 2013 as events."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from surgetank import Events
from topology.recordings import flights

FLIGHTS = 336_776
LEFT = FLIGHTS - 8_255


@pytest.fixture(scope="module")
def boarding() -> pa.Table:
    """The events that are scored."""
    return flights.boarding_table()


@pytest.fixture(scope="module")
def departures() -> pa.Table:
    """The facts."""
    return flights.departures_table()


@pytest.fixture(scope="module")
def raw() -> pa.Table:
    """The flights as the package gives them."""
    return flights.raw_flights()


def milliseconds(column: pa.ChunkedArray) -> np.ndarray:
    """Milliseconds since the epoch, int64 [n]."""
    whole: np.ndarray = column.cast(pa.int64()).to_numpy()
    return whole


def test_every_flight_boards_and_every_flight_that_left_departs(boarding: pa.Table, departures: pa.Table) -> None:
    """336,776 flights were scheduled; 8,255 of them were cancelled and have no departure."""
    assert len(boarding) == FLIGHTS
    assert len(departures) == LEFT


def test_a_boarding_carries_nothing_that_is_known_later(boarding: pa.Table, raw: pa.Table) -> None:
    """The event has the schedule only: exactly these fields, none computed from what became of the flight."""
    assert boarding.schema.names == [
        "event_id",
        "carrier",
        "flight",
        "tailnum",
        "origin",
        "dest",
        "distance",
        "scheduled_departure",
        "scheduled_arrival",
        "boarding_at",
        "scheduled_departure_local_minutes",
        "scheduled_arrival_local_minutes",
    ]
    outcomes = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"}
    assert outcomes < set(raw.schema.names)
    blinded = raw
    for name in outcomes:
        nulls = pa.nulls(len(raw), raw.schema.field(name).type)
        blinded = blinded.set_column(raw.schema.get_field_index(name), name, nulls)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flights, "_flights", lambda: blinded)
        assert flights.boarding_table.__wrapped__().equals(boarding)


def test_columns_have_the_types_of_the_contracts(boarding: pa.Table, departures: pa.Table) -> None:
    """Whole numbers are int32, instants are UTC milliseconds, everything else is text."""
    instant = pa.timestamp("ms", tz="UTC")
    types = {"scheduled_departure": instant, "scheduled_arrival": instant, "boarding_at": instant}
    types |= {
        "departed_at": instant,
        "flight": pa.int32(),
        "distance": pa.int32(),
        "dep_delay_minutes": pa.int32(),
    }
    types |= dict.fromkeys(("scheduled_departure_local_minutes", "scheduled_arrival_local_minutes"), pa.int32())
    for field in (*boarding.schema, *departures.schema):
        assert field.type == types.get(field.name, pa.string()), field.name


def test_event_ids_are_unique_and_tell_the_flight(boarding: pa.Table, departures: pa.Table) -> None:
    """No two events of a year have the same id, of whatever kind; the id is readable and stable."""
    together = pa.chunked_array([*boarding["event_id"].chunks, *departures["event_id"].chunks])
    assert pc.count_distinct(together).as_py() == FLIGHTS + LEFT
    assert boarding["event_id"][0].as_py() == "b-2013-01-01-UA-1545-EWR-IAH-0515"
    assert departures["event_id"][0].as_py() == "d-2013-01-01-UA-1545-EWR-IAH-0515"


def test_flights_without_a_tail_number_have_a_null_key(boarding: pa.Table) -> None:
    """2,512 flights have no tail number; it is null, not a word that would be a key."""
    assert boarding["tailnum"].null_count == 2_512
    assert not pc.any(pc.is_in(boarding["tailnum"], pa.array(["NA", ""]))).as_py()
    recording = flights.recording()
    sent = recording.chunks(lambda _, batch: [b"x"] * len(batch), count=len(recording))
    assert sum(chunk.keys.count(None) for chunk in sent) == 2_512


def test_only_keys_and_tail_numbers_are_ever_missing(boarding: pa.Table, departures: pa.Table) -> None:
    """Every other field of every event has a value."""
    for table in (boarding, departures):
        for name in table.schema.names:
            assert name == "tailnum" or table[name].null_count == 0, name


def test_local_times_are_converted_with_summer_time(boarding: pa.Table, raw: pa.Table) -> None:
    """The scheduled departure is the New York date and clock time of the schedule, all year."""
    rows = np.arange(0, FLIGHTS, 11)
    some, given = boarding.take(rows).to_pylist(), raw.take(rows).to_pylist()
    new_york = ZoneInfo("America/New_York")
    for event, flight in zip(some, given, strict=True):
        local = event["scheduled_departure"].astimezone(new_york)
        assert (local.year, local.month, local.day) == (flight["year"], flight["month"], flight["day"])
        assert local.hour * 100 + local.minute == flight["sched_dep_time"]
        assert local.hour * 60 + local.minute == event["scheduled_departure_local_minutes"]


def test_arrivals_are_on_the_destinations_clock(boarding: pa.Table, raw: pa.Table) -> None:
    """The scheduled arrival shows the schedule's time at the destination, within hours of the departure."""
    took = (milliseconds(boarding["scheduled_arrival"]) - milliseconds(boarding["scheduled_departure"])) / 60_000
    assert took.min() >= 30
    assert took.max() <= 12 * 60
    zones = {"IAH": "America/Chicago", "LAX": "America/Los_Angeles", "HNL": "Pacific/Honolulu"}
    zones |= {"PHX": "America/Phoenix", "SJU": "America/Puerto_Rico", "STT": "America/St_Thomas"}
    for code, zone in zones.items():
        rows = np.flatnonzero(pc.equal(raw["dest"], code).to_numpy())[::7]
        assert len(rows) > 20
        for event, flight in zip(boarding.take(rows).to_pylist(), raw.take(rows).to_pylist(), strict=True):
            local = event["scheduled_arrival"].astimezone(ZoneInfo(zone))
            assert local.hour * 100 + local.minute == flight["sched_arr_time"]
            assert local.hour * 60 + local.minute == event["scheduled_arrival_local_minutes"]


def test_scheduled_and_flown_time_agree(boarding: pa.Table, raw: pa.Table) -> None:
    """The time between the scheduled instants is near the time in the air: a wrong zone is an hour off."""
    took = (milliseconds(boarding["scheduled_arrival"]) - milliseconds(boarding["scheduled_departure"])) / 60_000
    extra = took - raw["air_time"].to_numpy()
    by_destination: dict[str, list[float]] = {}
    for code, minutes in zip(raw["dest"].to_pylist(), extra.tolist(), strict=True):
        if minutes == minutes:  # cancelled flights have no air time
            by_destination.setdefault(code, []).append(minutes)
    assert len(by_destination) > 100
    for code, minutes in by_destination.items():
        assert 10 < np.median(minutes) < 75, code


def test_a_flight_boards_half_an_hour_before_its_schedule(boarding: pa.Table) -> None:
    """The event time of a boarding is the scheduled departure less 30 minutes."""
    lead = milliseconds(boarding["scheduled_departure"]) - milliseconds(boarding["boarding_at"])
    assert (lead == 30 * 60_000).all()


def test_a_departure_is_when_the_aircraft_left(departures: pa.Table, raw: pa.Table) -> None:
    """The event time is schedule plus delay, and it is the recorded clock time of departure."""
    late = milliseconds(departures["departed_at"]) - milliseconds(departures["scheduled_departure"])
    assert (late == departures["dep_delay_minutes"].to_numpy().astype(np.int64) * 60_000).all()
    left = raw.filter(pc.is_valid(raw["dep_time"]))
    rows = np.arange(0, LEFT, 29)
    new_york = ZoneInfo("America/New_York")
    for event, flight in zip(departures.take(rows).to_pylist(), left.take(rows).to_pylist(), strict=True):
        local = event["departed_at"].astimezone(new_york)
        assert local.hour * 100 + local.minute == flight["dep_time"] % 2400


def test_the_recording_is_in_the_order_of_time_and_each_flight_boards_before_it_leaves() -> None:
    """Both kinds are merged by event time, none is missing; hardly an aircraft leaves before its boarding."""
    recording = flights.recording()
    assert len(recording) == FLIGHTS + LEFT
    assert recording.topics == ("flights.boarding", "flights.departures")
    assert (np.diff(recording.time_ms) >= 0).all()
    assert np.bincount(recording.kind).tolist() == [FLIGHTS, LEFT]
    places: list[dict[str, int]] = []
    for k, table in enumerate(recording.tables):
        where = np.flatnonzero(recording.kind == k)[np.argsort(recording.row[recording.kind == k])]
        names = pc.utf8_slice_codeunits(table["event_id"], 2).to_pylist()
        places.append(dict(zip(names, where.tolist(), strict=True)))
    early = [name for name, place in places[1].items() if place <= places[0][name]]
    recorded = {row["event_id"]: row for row in early_rows(recording.tables[1], early)}
    # A few aircraft left more than half an hour early; only those may come before their boarding.
    assert all(recorded["d-" + name]["dep_delay_minutes"] < -30 for name in early)
    assert len(early) < 10


def early_rows(table: pa.Table, names: list[str]) -> list[dict[str, Any]]:
    """The departures of those flights."""
    wanted = pa.array(["d-" + name for name in names], pa.string())
    rows: list[dict[str, Any]] = table.filter(pc.is_in(table["event_id"], wanted)).to_pylist()
    return rows


def test_the_next_lap_is_the_next_year() -> None:
    """Played once more, the same flights come a year later under ids of their own."""
    recording = flights.recording()
    seen: dict[str, pa.RecordBatch] = {}

    def encode(events: Events, batch: pa.RecordBatch) -> list[bytes]:
        seen[events.schema] = batch
        return [b"x"] * len(batch)

    last = list(recording.chunks(encode, count=len(recording) + 1))[-1]
    assert last.first == len(recording)
    assert seen["boarding"].slice(0, 1).to_pylist()[0] == {
        **recording.tables[0].slice(0, 1).to_pylist()[0],
        "event_id": recording.tables[0]["event_id"][0].as_py() + "~2",
        "scheduled_departure": recording.tables[0]["scheduled_departure"][0].as_py() + timedelta(days=365),
        "scheduled_arrival": recording.tables[0]["scheduled_arrival"][0].as_py() + timedelta(days=365),
        "boarding_at": recording.tables[0]["boarding_at"][0].as_py() + timedelta(days=365),
    }
    assert datetime.fromtimestamp(last.time_ms[0] / 1000, UTC).year == 2014
