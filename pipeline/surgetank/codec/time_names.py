"""Times that Kafka Connect and Debezium write as whole numbers: the attribute ``connect.name`` says what they are."""

from surgetank.codec.avro.types import AvroType, Primitive, Record, without_null
from surgetank.declaration import Events
from surgetank.errors import SchemaError
from surgetank.event_columns import TimeUnit

_UNITS: dict[str, TimeUnit] = {
    "org.apache.kafka.connect.data.Timestamp": "ms",
    "io.debezium.time.Timestamp": "ms",
    "io.debezium.time.MicroTimestamp": "us",
    "io.debezium.time.NanoTimestamp": "ns",
}
# Whole numbers that are no instants: days, times of day, years, durations.
_OTHERS = {
    "org.apache.kafka.connect.data.Date",
    "org.apache.kafka.connect.data.Time",
    "io.debezium.time.Date",
    "io.debezium.time.Time",
    "io.debezium.time.MicroTime",
    "io.debezium.time.NanoTime",
    "io.debezium.time.Year",
    "io.debezium.time.MicroDuration",
    "io.debezium.time.NanoDuration",
}


def check_time_names(events: Events, record: Record) -> None:
    """Raise SchemaError if a declared time unit is not what the schema says, or the event time lacks one that it says.

    The schema says it by ``connect.name``. Fields without this attribute, and unknown names, are not looked at.
    """
    for field, unit in events.time_units.items():
        name = _connect_name(record, field)
        said = _UNITS.get(name)
        if name in _OTHERS:
            raise SchemaError(
                f"events {events.topic!r}: time_units names field {field!r}, which is {name} in schema "
                f"{events.schema!r}, no point in time: remove it from time_units"
            )
        if said is not None and said != unit:
            raise SchemaError(
                f"events {events.topic!r}: time_units says that field {field!r} is in {unit!r}, but schema "
                f"{events.schema!r} says {name}, which is in {said!r}: declare time_units={{{field!r}: {said!r}}}"
            )
    said = _UNITS.get(_connect_name(record, events.time))
    if said is not None and events.time not in events.time_units and _is_plain_long(record, events.time):
        raise SchemaError(
            f"events {events.topic!r}: the time, field {events.time!r}, is a whole number that schema "
            f"{events.schema!r} calls {_connect_name(record, events.time)}: declare "
            f"time_units={{{events.time!r}: {said!r}}}"
        )


def _connect_name(record: Record, path: str) -> str:
    kind = _type_of(record, path)
    return kind.connect_name if isinstance(kind, Primitive) else ""


def _is_plain_long(record: Record, path: str) -> bool:
    kind = _type_of(record, path)
    return isinstance(kind, Primitive) and kind.logical is None


def _type_of(record: Record, path: str) -> AvroType | None:
    """Return the type of a field by its path, without null; None if there is no such field."""
    kind: AvroType | None = record
    for name in path.split("."):
        if not isinstance(kind, Record):
            return None
        found = dict(kind.fields).get(name)
        kind = None if found is None else without_null(found)
    return kind
