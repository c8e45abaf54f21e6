"""The wire formats that a declaration can name, by the ``format`` of its events."""

from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.base import Deserializer, Serializer
from surgetank.codec.declared_columns import DeclaredColumnsDeserializer
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.codec.time_names import check_time_names
from surgetank.declaration import Events


def deserializer_of(events: Events, contracts: SchemaRepository, *, value_bytes_max: int) -> Deserializer:
    """Return the deserializer of a topic's events, with the columns that their declaration can name.

    Raises SchemaError if there is no such schema, or if the format cannot have one of its types; SchemaError or
    TopologyError if a declared time unit contradicts the schema.
    """
    decoder = _decoder_of(events, contracts, value_bytes_max=value_bytes_max)
    check_time_names(events, contracts.current(events.schema).record)
    columns = events.columns(decoder.schema)
    return DeclaredColumnsDeserializer(decoder, columns) if columns.changes else decoder


def serializer_of(events: Events, contracts: SchemaRepository) -> Serializer:
    """Return the serializer of a topic's events. Raises SchemaError as ``deserializer_of`` does."""
    if events.format == "json":
        from surgetank.codec.json.serializer import JsonSerializer

        return JsonSerializer(contracts, events.schema)
    return AvroSerializer(contracts, events.schema)


def _decoder_of(events: Events, contracts: SchemaRepository, *, value_bytes_max: int) -> Deserializer:
    if events.format == "json":
        from surgetank.codec.json.deserializer import JsonDeserializer  # compiled code takes a moment to load

        return JsonDeserializer(contracts, events.schema, value_bytes_max=value_bytes_max)
    return AvroDeserializer(contracts, events.schema, value_bytes_max=value_bytes_max)
