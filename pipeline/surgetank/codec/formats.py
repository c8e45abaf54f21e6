"""The wire formats that a declaration can name, by the ``format`` of its events."""

from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.base import Deserializer, Serializer
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.declaration import Events


def deserializer_of(events: Events, contracts: SchemaRepository, *, value_bytes_max: int) -> Deserializer:
    """Return the deserializer of a topic's events.

    Raises SchemaError if there is no such schema, or if the format cannot have one of its types.
    """
    if events.format == "json":
        from surgetank.codec.json.deserializer import JsonDeserializer  # compiled code takes a moment to load

        return JsonDeserializer(contracts, events.schema, value_bytes_max=value_bytes_max)
    return AvroDeserializer(contracts, events.schema, value_bytes_max=value_bytes_max)


def serializer_of(events: Events, contracts: SchemaRepository) -> Serializer:
    """Return the serializer of a topic's events. Raises SchemaError as ``deserializer_of`` does."""
    if events.format == "json":
        from surgetank.codec.json.serializer import JsonSerializer

        return JsonSerializer(contracts, events.schema)
    return AvroSerializer(contracts, events.schema)
