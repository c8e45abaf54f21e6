"""Finds the ids under which a schema registry has the schemas of what the engine writes: scores and features."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from surgetank.codec.avro.equality import is_same_schema
from surgetank.codec.schema_ids import RegisteredSchema, SchemaKey, backoff_seconds
from surgetank.codec.schema_registry import RegistryUnavailableError
from surgetank.codec.schema_repository import SchemaVersion

log = logging.getLogger(__name__)


class SubjectSource(Protocol):
    """Finds a schema under a subject."""

    def find(self, subject: str, text: str) -> tuple[int, int] | None:
        """Return its id and version; None if it is in no version. Raises RegistryUnavailableError."""
        ...


def output_id(
    registry: SubjectSource,
    known: Mapping[SchemaKey, RegisteredSchema],
    topic: str,
    version: SchemaVersion,
    pause: Callable[[float], object] = lambda seconds: threading.Event().wait(seconds),
) -> int | None:
    """Return the id that the registry has for the values of a topic; None, with a warning, if they are not registered.

    While the registry is unavailable: an id of the same schema among the ``known`` ones; without one, wait. ``pause``
    waits for some seconds.
    """
    subject, text, failures = f"{topic}-value", json.dumps(version.avro), 0
    while True:
        try:
            found = registry.find(subject, text)
            if found is not None:
                return found[0]
            log.warning(
                "the schema registry has no schema of ours for %s: values keep the id %d, by which other consumers "
                "cannot read them; run surgetank schemas apply, then restart the workers",
                subject,
                version.id,
            )
            return None
        except RegistryUnavailableError as error:
            for number, schema in known.items():
                if isinstance(number, int) and is_same_schema(schema, RegisteredSchema("AVRO", text)):
                    return number
            failures += 1
            log.warning("schema registry: %s; the worker starts when the id of %s is known", error, subject)
            pause(backoff_seconds(failures))
