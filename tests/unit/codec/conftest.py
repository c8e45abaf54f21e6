"""What the tests of events with ids of a schema registry share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.registry_stub import RegistryStub, registry_stub
from tests.unit.codec.registry_stage import OLDER, READER, RegistryStage


@pytest.fixture
def stub() -> Iterator[RegistryStub]:
    """Run a registry with two schemas, one of them under two ids."""
    with registry_stub() as found:
        found.schemas = {1: READER, 2: OLDER, 3: OLDER | {"doc": "registered twice"}}
        yield found


@pytest.fixture
def stage(stub: RegistryStub, tmp_path: Path) -> Iterator[RegistryStage]:
    """Set a stage on the stub."""
    found = RegistryStage(stub, tmp_path)
    yield found
    found.lookup.stop()
