"""The wire formats that a declaration can name, by the ``format`` of its events."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, cast

from surgetank.clock import Clock, SystemClock
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.local_schemas import LocalSchemas
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.base import Deserializer, Serializer
from surgetank.codec.declared_columns import DeclaredColumnsDeserializer
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.codec.time_names import check_time_names
from surgetank.declaration import Events
from surgetank.errors import SettingsError
from surgetank.settings import SchemaRegistrySettings, Settings, load

if TYPE_CHECKING:  # only for projects with a schema registry
    from surgetank.codec.avro.registered_schemas import RegisteredSchemas
    from surgetank.codec.json.registered_json import RegisteredJson
    from surgetank.codec.schema_lookup import SchemaLookup

    RegisteredTopic = RegisteredSchemas | RegisteredJson


def deserializer_of(
    events: Events, contracts: SchemaRepository, *, value_bytes_max: int, writers: "RegisteredTopic | None" = None
) -> Deserializer:
    """Return the deserializer of a topic's events, with the columns that their declaration can name.

    ``writers``: what ``registered_schemas`` returned for them.

    Raises SchemaError if there is no such schema, or if the format cannot have one of its types; SchemaError or
    TopologyError if a declared time unit contradicts the schema.
    """
    return with_declared_columns(
        events, contracts, _decoder_of(events, contracts, value_bytes_max=value_bytes_max, writers=writers)
    )


def with_declared_columns(events: Events, contracts: SchemaRepository, decoder: Deserializer) -> Deserializer:
    """Return a deserializer of the current schema of a topic's events with the columns that a declaration can name.

    Raises SchemaError or TopologyError if a declared time unit contradicts the schema.
    """
    check_time_names(events, contracts.current(events.schema).record)
    columns = events.columns(decoder.schema)
    return DeclaredColumnsDeserializer(decoder, columns) if columns.changes else decoder


def project_deserializer(events: Events, contracts: SchemaRepository, *, value_bytes_max: int) -> Deserializer:
    """Return the same for a tool: with the registry of the settings file and the environment, for which it waits.

    Raises SchemaError as ``deserializer_of`` does; SettingsError.
    """
    writers = registered_schemas(events, contracts, project_lookup())
    return deserializer_of(events, contracts, value_bytes_max=value_bytes_max, writers=writers)


def output_deserializer(
    name: str,
    contracts: SchemaRepository,
    lookup: "SchemaLookup | None",
    *,
    also: Sequence[str] = (),
    value_bytes_max: int,
) -> AvroDeserializer:
    """Return the deserializer of what the engine writes: the schema ``name``, by its own ids and those of a registry.

    ``also`` are further schemas of values on the topic, whose versions can be resolved to ``name``. Raises SchemaError
    if there is no such schema.
    """
    if lookup is None:
        local = LocalSchemas(contracts, name, also)
        return AvroDeserializer(contracts, name, value_bytes_max=value_bytes_max, writers=local)
    from surgetank.codec.avro.registered_schemas import RegisteredSchemas

    own = [version for each in (*also, name) for version in contracts.versions[each]]
    writers = RegisteredSchemas(lookup, contracts.current(name), own=own)
    return AvroDeserializer(contracts, name, value_bytes_max=value_bytes_max, writers=writers)


def project_output_deserializer(name: str, contracts: SchemaRepository, *, value_bytes_max: int) -> AvroDeserializer:
    """Return the same for a tool: with the registry of the settings file and the environment, for which it waits.

    Raises SchemaError if there is no such schema; SettingsError.
    """
    return output_deserializer(name, contracts, project_lookup(), value_bytes_max=value_bytes_max)


def output_serializer(
    name: str, topic: str, contracts: SchemaRepository, settings: Settings, lookup: "SchemaLookup | None"
) -> AvroSerializer:
    """Return the serializer of what the engine writes to a topic, with the id that a registry has for it.

    Waits for a registry that is unavailable, unless the id is known from an earlier run. Raises SchemaError if there is
    no such schema.
    """
    if lookup is None:
        return AvroSerializer(contracts, name)
    from surgetank.codec.output_ids import output_id
    from surgetank.codec.schema_registry import SchemaRegistry

    number = output_id(SchemaRegistry(settings.schema_registry), lookup.known(), topic, contracts.current(name))
    if number is not None:
        lookup.ask([number])  # the next run knows it without the registry
    return AvroSerializer(contracts, name, schema_id=number)


def schema_lookup(settings: Settings, clock: Clock) -> "SchemaLookup | None":
    """Return what looks schema ids up; None if the settings name no registry. Raises SettingsError."""
    if not settings.schema_registry.url:
        return None
    from surgetank.codec.schema_id_cache import SchemaIdCache
    from surgetank.codec.schema_lookup import SchemaLookup
    from surgetank.codec.schema_registry import SchemaRegistry

    try:
        cached = SchemaIdCache(settings.state.folder / "schema-registry", settings.schema_registry.url)
    except SettingsError:  # a user without a home folder
        cached = None
    return SchemaLookup(settings.schema_registry, SchemaRegistry(settings.schema_registry), cached, clock)


def registered_schemas(
    events: Events, contracts: SchemaRepository, lookup: "SchemaLookup | None"
) -> "RegisteredTopic | None":
    """Return what knows the ids that a registry gave the schemas of a topic's events; None without a registry."""
    if lookup is None:
        return None
    if events.format == "json":
        from surgetank.codec.json.registered_json import RegisteredJson

        return RegisteredJson(lookup, contracts.current(events.schema))
    from surgetank.codec.avro.registered_schemas import RegisteredSchemas

    return RegisteredSchemas(lookup, contracts.current(events.schema))


def project_lookup() -> "SchemaLookup | None":
    """Return the lookup of the settings file and the environment; None without a registry. Raises SettingsError."""
    settings = load()
    return _lookup_of(settings.schema_registry) if settings.schema_registry.url else None


@cache
def _lookup_of(registry: SchemaRegistrySettings) -> "SchemaLookup | None":
    """Return the lookup of this process for a registry: all decoders of a tool share it."""
    return schema_lookup(load().model_copy(update={"schema_registry": registry}), SystemClock())


def serializer_of(events: Events, contracts: SchemaRepository) -> Serializer:
    """Return the serializer of a topic's events. Raises SchemaError as ``deserializer_of`` does."""
    if events.format == "json":
        from surgetank.codec.json.serializer import JsonSerializer

        return JsonSerializer(contracts, events.schema)
    return AvroSerializer(contracts, events.schema)


def _decoder_of(
    events: Events, contracts: SchemaRepository, *, value_bytes_max: int, writers: "RegisteredTopic | None"
) -> Deserializer:
    if events.format == "json":
        from surgetank.codec.json.deserializer import JsonDeserializer  # compiled code takes a moment to load

        ids = cast("RegisteredJson | None", writers)
        return JsonDeserializer(contracts, events.schema, value_bytes_max=value_bytes_max, ids=ids)
    schemas = cast("RegisteredSchemas | None", writers)
    return AvroDeserializer(contracts, events.schema, value_bytes_max=value_bytes_max, writers=schemas)
