"""Every command on Kafka has the same options for its settings: --bootstrap, --config and --set."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from surgetank.cli import app
from surgetank.cli.options import SettingsOptions, with_settings
from surgetank.errors import SettingsError
from surgetank.settings import Settings

# Commands without these options, and the reason.
WITHOUT: Mapping[str, str] = {
    "new": "reads and writes files only",
    "schemas check": "reads files only",
    "schemas score": "writes files only",
    "features backfill": "reads and writes files only",
    "models quantize": "reads and writes files only",
    "score": "reads and writes files only",
    "kafka up": "starts Kafka in a folder",
    "kafka down": "finds Kafka by its folder",
    "kafka status": "finds Kafka by its folder",
    "kafka wait": "finds Kafka by its folder",
    "chaos exactly-once": "starts a Kafka of its own",
    "chaos rebalance": "starts a Kafka of its own",
    "chaos restore": "starts a Kafka of its own",
    "chaos odd": "starts a Kafka of its own",
    "bench": "compares with programs that take an address only",
    "models build": "reads and writes bundles only",
    "models import-onnx": "reads and writes bundles only",
    "models list": "reads bundles and their registry only",
    "models publish": "copies bundles to their registry only",
    "models pull": "copies bundles from their registry only",
    "models show": "reads bundles only",
    "models verify": "reads bundles only",
}


def commands(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:
    """Yield the path of each command below this one, as typed, and its options."""
    below: dict[str, object] = getattr(command, "commands", {})
    if not below:
        params = getattr(command, "params", ())
        yield " ".join(path), {option for each in params for option in each.opts}
    for name, each in below.items():
        yield from commands(each, (*path, name))


ALL = dict(commands(get_command(app)))


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_command_on_kafka_takes_the_same_settings(name: str) -> None:
    """A new command has all three options, or is listed above with a reason."""
    missing = {"--bootstrap", "--config", "--set"} - ALL[name]
    assert not missing or name in WITHOUT, f"{name} lacks {missing}"


def test_the_commands_without_these_options_exist() -> None:
    """No entry of the list outlives its command, or its need."""
    assert {name for name in WITHOUT if "--config" in ALL[name]} == set()


def test_the_options_are_one_source_of_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--set over --bootstrap over the file; a command's own option is between them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('[kafka]\nbootstrap = "file:1"\n[kafka.client]\n"client.id" = "me"\n')
    seen: list[Settings] = []
    program = typer.Typer()

    @program.command()
    @with_settings
    def command(name: str = "own", *, given: SettingsOptions) -> None:
        seen.append(given.load({"worker.name": name}))

    for arguments in (
        ["--config", "mine.toml"],
        ["--config", "mine.toml", "--bootstrap", "option:1"],
        ["--bootstrap", "option:1", "--set", "kafka.bootstrap=set:1", "--set", "worker.name=set", "--name", "other"],
    ):
        result = CliRunner().invoke(program, arguments)
        assert result.exit_code == 0, result.output
    assert [each.kafka.bootstrap for each in seen] == ["file:1", "option:1", "set:1"]
    assert [each.worker.name for each in seen] == ["own", "own", "set"]
    assert seen[0].kafka.client_options() == {"client.id": "me"}


def test_a_command_that_is_started_by_another_gets_its_settings(tmp_path: Path) -> None:
    """The file by its absolute path, so that it is found from another folder."""
    given = SettingsOptions("a:1", tmp_path / "mine.toml", ("worker.name=w", "model.version=2"))
    assert given.for_worker == [
        *("--config", str(tmp_path / "mine.toml")),
        *("--set", "worker.name=w", "--set", "model.version=2"),
    ]
    assert SettingsOptions().for_worker == []


def test_no_command_takes_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not only the worker refuses a password in --set, before it talks to Kafka."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["lag", "--group", "g", "--set", "kafka.client.sasl.password=hunter2"])
    assert isinstance(result.exception, SettingsError)
    assert "hunter2" not in str(result.exception)
