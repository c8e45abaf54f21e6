"""docker-compose.yml: well formed, on loopback only, and the same Kafka as the local one."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.kafka import development, jars

FILE = Path(__file__).parents[2] / "docker-compose.yml"
_TEXT = {"type": "string", "minLength": 1}
_DURATION = {"type": "string", "pattern": r"^[0-9]+s$"}

# The part of the Compose specification that the file uses, and nothing beside it: a misspelt key is an error.
SCHEMA = {
    "type": "object",
    "required": ["name", "services", "volumes"],
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
        "services": {
            "type": "object",
            "minProperties": 3,
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["image", "hostname", "environment", "ports", "volumes", "healthcheck"],
                "properties": {
                    "image": {"type": "string", "pattern": "^[a-z0-9/]+:[0-9][0-9.]*$"},
                    "hostname": _TEXT,
                    "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                    "stop_grace_period": _DURATION,
                    "environment": {
                        "type": "object",
                        "propertyNames": {"pattern": "^(CLUSTER_ID|KAFKA_[A-Z0-9_]+)$"},
                        "additionalProperties": _TEXT,
                    },
                    "ports": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "pattern": r"^127\.0\.0\.1:[0-9]+:[0-9]+$"},
                    },
                    "volumes": {"type": "array", "minItems": 1, "items": {"pattern": "^[a-z0-9-]+:/"}},
                    "healthcheck": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["test", "interval", "timeout", "retries"],
                        "properties": {
                            "test": {"type": "array", "items": _TEXT, "minItems": 2},
                            "retries": {"type": "integer", "minimum": 1},
                            "interval": _DURATION,
                            "timeout": _DURATION,
                            "start_period": _DURATION,
                            "start_interval": _DURATION,
                        },
                    },
                },
            },
        },
    },
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return the file, its anchors resolved."""
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def _properties(service: dict[str, Any]) -> dict[str, str]:
    """Undo the image's rule for names: KAFKA_A_B is the property a.b."""
    image_own = {"CLUSTER_ID", "KAFKA_HEAP_OPTS"}
    return {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in service["environment"].items()
        if name not in image_own
    }


def test_the_file_is_a_compose_file(compose: dict[str, Any]) -> None:
    """Only keys of the Compose specification, each of the right type; ports on loopback; pinned images."""
    jsonschema.validate(compose, SCHEMA)


def test_every_named_volume_is_declared_and_used_by_one_broker(compose: dict[str, Any]) -> None:
    """Each broker has a volume of its own, mounted where its log.dirs points."""
    mounts = [mount for service in compose["services"].values() for mount in service["volumes"]]
    assert sorted(mount.split(":")[0] for mount in mounts) == sorted(compose["volumes"])
    folders = {_properties(service)["log.dirs"] for service in compose["services"].values()}
    assert {mount.split(":")[1] for mount in mounts} == folders


@pytest.mark.parametrize("broker", [1, 2, 3])
def test_brokers_have_the_development_settings_and_nothing_else(compose: dict[str, Any], broker: int) -> None:
    """Each broker's settings are those of a local cluster of three, so that the two cannot drift apart."""
    layout = development.Layout(3, 9092)
    local = development.properties(layout, broker, {})
    docker = _properties(compose["services"][f"kafka-{broker}"])
    development_settings = development.settings(3)
    assert {name: docker.get(name) for name in development_settings} == development_settings
    # What is left says where things are; it has the same names, and two more as Docker has two networks.
    networks = {"listener.security.protocol.map", "inter.broker.listener.name"}
    assert docker.keys() == local.keys() | networks


def test_the_image_is_the_kafka_that_runs_without_docker(compose: dict[str, Any]) -> None:
    """The image's tag is the version that the pom pins."""
    assert {service["image"] for service in compose["services"].values()} == {f"apache/kafka:{jars.version()}"}


@pytest.mark.parametrize("broker", [1, 2, 3])
def test_a_client_on_the_host_reaches_the_broker_it_is_told_of(compose: dict[str, Any], broker: int) -> None:
    """The advertised host address is published, and leads to the HOST listener of that very broker."""
    service = compose["services"][f"kafka-{broker}"]
    own = _properties(service)
    advertised = dict(re.findall(r"(\w+)://([^,]+)", own["advertised.listeners"]))
    listening = dict(re.findall(r"(\w+)://:(\d+)", own["listeners"]))
    assert service["ports"] == [f"{advertised['HOST']}:{listening['HOST']}"]
    assert advertised["INTERNAL"] == f"{service['hostname']}:{listening['INTERNAL']}"
    assert f"{own['node.id']}@{service['hostname']}:{listening['CONTROLLER']}" in own["controller.quorum.voters"]
    assert f"localhost:{listening['INTERNAL']}" in service["healthcheck"]["test"][1]


def test_the_bootstrap_address_is_the_same_with_and_without_docker(compose: dict[str, Any]) -> None:
    """Whoever changes from one to the other changes nothing in the clients."""
    published = [service["ports"][0].rsplit(":", 1)[0] for service in compose["services"].values()]
    assert ",".join(published) == development.Layout(3, 9092).bootstrap


@pytest.mark.parametrize(
    ("path", "value"),
    [(("services", "kafka-1", "helthcheck"), {}), (("services", "kafka-1", "ports"), ["9092:9092"])],
)
def test_the_schema_refuses_a_wrong_file(compose: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """A misspelt key and a port open to the network are both refused: the check can fail."""
    wrong = yaml.safe_load(yaml.safe_dump(compose))
    inner = wrong
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)
