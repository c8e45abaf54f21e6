"""docker-compose.yml: well formed, on loopback only, the same Kafka as the local one, and what watches it."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from surgetank.cli import app
from surgetank.kafka.local import cluster_layout, jars

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
                "required": ["image", "hostname", "ports", "healthcheck"],
                "properties": {
                    "image": {"type": "string", "pattern": "^[a-z0-9/]+:v?[0-9][0-9.]*$"},
                    "build": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["context", "dockerfile"],
                        "properties": {"context": _TEXT, "dockerfile": _TEXT},
                    },
                    "command": {"type": "array", "items": _TEXT, "minItems": 1},
                    "depends_on": {"type": "array", "items": _TEXT, "minItems": 1},
                    "extra_hosts": {"type": "array", "items": {"pattern": "^[a-z.]+:host-gateway$"}},
                    "hostname": _TEXT,
                    "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                    "stop_grace_period": _DURATION,
                    "environment": {
                        "type": "object",
                        "propertyNames": {"pattern": "^(CLUSTER_ID|KAFKA_[A-Z0-9_]+|GF_[A-Z0-9_]+)$"},
                        "additionalProperties": _TEXT,
                    },
                    "ports": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "pattern": r"^127\.0\.0\.1:[0-9]+:[0-9]+$"},
                    },
                    "volumes": {"type": "array", "minItems": 1, "items": {"pattern": "^([a-z0-9-]+:/|\\./ops/)"}},
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


def _brokers(compose: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the services that are brokers."""
    return [service for name, service in compose["services"].items() if name.startswith("kafka-")]


def _mounts(service: dict[str, Any]) -> dict[str, str]:
    """Return what is mounted where: a folder of the project or a named volume, by its path inside."""
    parts = [mount.split(":") for mount in service.get("volumes", ())]
    return {inside: outside for outside, inside, *_ in parts}


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
    """Each broker has a volume of its own, mounted where its log.dirs points; no volume is shared or left over."""
    mounts = [outside for service in compose["services"].values() for outside in _mounts(service).values()]
    assert sorted(mount for mount in mounts if not mount.startswith("./")) == sorted(compose["volumes"])
    assert all(list(_mounts(broker)) == [_properties(broker)["log.dirs"]] for broker in _brokers(compose))


@pytest.mark.parametrize("broker", [1, 2, 3])
def test_brokers_have_the_development_settings_and_nothing_else(compose: dict[str, Any], broker: int) -> None:
    """Each broker's settings are those of a local cluster of three, so that the two cannot drift apart."""
    layout = cluster_layout.ClusterLayout(3, 9092)
    local = cluster_layout.properties(layout, broker, {})
    docker = _properties(compose["services"][f"kafka-{broker}"])
    development_settings = cluster_layout.settings(3)
    assert {name: docker.get(name) for name in development_settings} == development_settings
    # What is left says where things are; it has the same names, and two more as Docker has two networks.
    networks = {"listener.security.protocol.map", "inter.broker.listener.name"}
    assert docker.keys() == local.keys() | networks


def test_the_image_is_the_kafka_that_runs_without_docker(compose: dict[str, Any]) -> None:
    """The image's tag is the version that the lock file pins."""
    assert {broker["image"] for broker in _brokers(compose)} == {f"apache/kafka:{jars.version()}"}


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
    published = [broker["ports"][0].rsplit(":", 1)[0] for broker in _brokers(compose)]
    assert ",".join(published) == cluster_layout.ClusterLayout(3, 9092).bootstrap


def test_no_two_services_want_one_port(compose: dict[str, Any]) -> None:
    """Alertmanager's usual port is a broker's here; whoever comes second would not start."""
    ports = [port.split(":")[1] for service in compose["services"].values() for port in service["ports"]]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize(
    ("name", "inside", "option"),
    [
        ("prometheus", "/etc/prometheus", "--config.file=/etc/prometheus/prometheus.yml"),
        ("alertmanager", "/etc/alertmanager", "--config.file=/etc/alertmanager/alertmanager.yml"),
    ],
)
def test_rules_and_routes_are_the_shipped_ones(compose: dict[str, Any], name: str, inside: str, option: str) -> None:
    """The folder that the tests check is mounted, read-only, and the configuration in it is the one that is read."""
    service = compose["services"][name]
    assert f"./ops/{name}:{inside}:ro" in service["volumes"]
    assert option in service["command"]
    assert (FILE.parent / "ops" / name / option.rpartition("/")[2]).is_file()


def test_prometheus_reaches_what_it_scrapes_and_tells(compose: dict[str, Any]) -> None:
    """Targets are services of this file on the port that they listen on, or the host that workers run on."""
    prometheus = yaml.safe_load((FILE.parent / "ops" / "prometheus" / "prometheus.yml").read_text())
    services = compose["services"]
    (exporter,) = prometheus["scrape_configs"][1]["static_configs"][0]["targets"]
    (alertmanager,) = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    for host, _, port in (target.partition(":") for target in (exporter, alertmanager)):
        assert services[host]["ports"][0].endswith(f":{port}")
    workers = yaml.safe_load((FILE.parent / "ops" / "prometheus" / "targets" / "workers.yml").read_text())
    hosts = {target.partition(":")[0] for entry in workers for target in entry["targets"]}
    assert {f"{host}:host-gateway" for host in hosts} == set(services["prometheus"]["extra_hosts"])


def test_alertmanager_reaches_the_timeline(compose: dict[str, Any]) -> None:
    """Where it posts to by itself is a service of this file, on the port that it listens on."""
    alertmanager = yaml.safe_load((FILE.parent / "ops" / "alertmanager" / "alertmanager.yml").read_text())
    hooks = [hook["url"] for each in alertmanager["receivers"] for hook in each.get("webhook_configs", ())]
    assert hooks
    for url in hooks:
        host, port = re.fullmatch(r"http://([\w-]+):(\d+)/alerts", url).groups()  # type: ignore[union-attr]
        assert compose["services"][host]["ports"][0].endswith(f":{port}")


def test_grafana_reads_prometheus_and_shows_the_made_dashboards(compose: dict[str, Any]) -> None:
    """The data source is the service of this file; the provider's folder is where the made dashboards are mounted."""
    grafana = compose["services"]["grafana"]
    mounts = _mounts(grafana)
    folder = FILE.parent / mounts["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "dashboards" / "surgetank.yml").read_text())["providers"]
    shown = FILE.parent / mounts[provider["options"]["path"]]
    assert len(list(shown.glob("*.json"))) == 3
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (shown / home.rpartition("/")[2]).is_file()


def _started(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command of ours that a service runs, and what it is given. Raises KeyError if there is none."""
    command: Any = typer.main.get_command(app)
    while commands := getattr(command, "commands", {}):
        command, words = commands[words[0]], words[1:]
    return command, words


def test_what_runs_of_ours_is_started_as_it_can_be(compose: dict[str, Any]) -> None:
    """Its command and options exist; it asks the brokers inside; it listens on the port that is published."""
    inside = ",".join(f"{broker['hostname']}:19092" for broker in _brokers(compose))
    ours = [service for service in compose["services"].values() if service["image"].startswith("surgetank:")]
    assert ours
    for service in ours:
        command, words = _started(service["command"])
        given = dict(word.split("=") for word in words if word.startswith("--"))
        assert given.keys() <= {option for parameter in command.params for option in parameter.opts}
        assert given["--bootstrap"] == inside
        assert given["--host"] == "0.0.0.0"
        assert service["ports"][0].endswith(f":{given['--port']}")


def test_the_image_has_all_that_the_command_line_needs(compose: dict[str, Any]) -> None:
    """What the Dockerfile copies is there and is let through by .dockerignore."""
    build = compose["services"]["lag-exporter"]["build"]
    lines = (FILE.parent / build["dockerfile"]).read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    allowed = {line[1:] for line in (FILE.parent / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == allowed
    assert {"pipeline", "topology", "schemas"} <= allowed
    assert all((FILE.parent / name).exists() for name in copied)


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
