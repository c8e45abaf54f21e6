"""Naming a pipeline on the command line."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from surgetank.cli.pipeline_argument import known, recording_of, resolve
from surgetank.errors import TopologyError
from topology.flights import flights


@pytest.mark.parametrize("name", ["flights", "topology.flights"])
def test_a_pipeline_is_found_by_its_name_or_its_module(name: str) -> None:
    """The short name and the dotted module mean the same pipeline."""
    assert resolve(name) is flights


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    """The error says where it looked, and lists the known pipelines."""
    assert "flights" in known()
    with pytest.raises(TopologyError, match=r"'fligths' \(tried topology\.fligths\).*flights"):
        resolve("fligths")
    with pytest.raises(TopologyError, match=r"tried no_such_package\.flights"):
        resolve("no_such_package.flights")


def test_a_fault_inside_a_topology_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the module is there but imports something that is not, that is the error."""
    (tmp_path / "broken_topology").mkdir()
    (tmp_path / "broken_topology" / "__init__.py").write_text("")
    (tmp_path / "broken_topology" / "a.py").write_text("import something_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_that_is_not_there"):
        resolve("broken_topology.a")
    sys.modules.pop("broken_topology", None)


def test_a_module_without_a_pipeline_is_refused() -> None:
    """A module that declares none, or several, does not say which is meant."""
    with pytest.raises(TopologyError, match=r"surgetank\.clock declares no Pipeline"):
        resolve("surgetank.clock")


def test_the_recording_is_the_one_that_the_pipeline_names() -> None:
    """The flights have a recording on their own topics; without one, or with a wrong name: an error."""
    recording = recording_of(flights)
    assert set(recording.topics) == {flights.events.topic, *(fact.topic for fact in flights.facts)}
    with pytest.raises(TopologyError, match="declares no recording"):
        recording_of(replace(flights, recording=None))
    with pytest.raises(TopologyError, match=r"package\.module:function"):
        recording_of(replace(flights, recording="topology.recordings.flights:nothing"))
    with pytest.raises(TopologyError, match="recording"):
        recording_of(replace(flights, recording="topology.recordings.nowhere:recording"))
