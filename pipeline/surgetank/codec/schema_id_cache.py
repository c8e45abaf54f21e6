"""Keeps the schemas of a registry's ids in a file: a worker that restarts while the registry is away knows them.

The schema of an id never changes in a registry, so the file also shows that a registry was set up anew with other ids.
"""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any
from uuid import UUID

from surgetank.codec.schema_ids import RegisteredSchema, SchemaKey

log = logging.getLogger(__name__)


class SchemaIdCache:
    """The file of the registry at ``url`` in ``folder``. A file that cannot be used costs lookups, no more."""

    def __init__(self, folder: Path, url: str) -> None:
        self.path = folder / f"schema-ids-{hashlib.sha256(url.encode()).hexdigest()[:12]}.json"

    def read(self) -> dict[SchemaKey, RegisteredSchema]:
        """Return the schemas by id; none if there is no file that can be read."""
        try:
            written: dict[str, Any] = json.loads(self.path.read_bytes())
            return {_key(name): RegisteredSchema(str(type_), str(text)) for name, (type_, text) in written.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            log.warning("%s cannot be read (%s); schema ids are looked up again", self.path, error)
            return {}

    def write(self, known: dict[SchemaKey, RegisteredSchema]) -> None:
        """Replace the file. Several processes may do so at once: each writes what is true."""
        written = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps({str(number): [each.type, each.text] for number, each in known.items()}))
            written.replace(self.path)
        except OSError as error:
            log.warning("%s cannot be written (%s); a restart looks schema ids up again", self.path, error.strerror)


def _key(text: str) -> SchemaKey:
    return int(text) if text.isdecimal() else UUID(text)
