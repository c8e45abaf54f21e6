"""Examples of the commands, which the help of each command ends with. A test runs the parser on each of them."""

from collections.abc import Iterator

import typer
from typer.main import get_command_name
from typer.models import CommandInfo

EXAMPLES = {
    "new": ("surgetank new my-fraud",),
    "dev": ("surgetank dev", "surgetank dev my-fraud --bootstrap localhost:9092 --once"),
    "doctor": ("surgetank doctor flights", "surgetank doctor flights --bootstrap kafka:9092 --json"),
    "worker": (
        "surgetank worker flights",
        "surgetank worker flights --bootstrap kafka:9092 --name worker-1",
        "surgetank worker flights --port 9100 --set worker.batch_rows_max=1024",
    ),
    "replay": ("surgetank replay flights --rate 2000", "surgetank replay flights --rate 500 --spike 10x@20s+15s"),
    "score": (
        "surgetank score --bundle model --in payments.avro --out scores.avro",
        "surgetank score --bundle model --in - --out scores.avro --state state",
    ),
    "scores": ("surgetank scores flights --count 10", "surgetank scores flights --follow --json"),
    "lag": ("surgetank lag flights --watch", "surgetank lag --group another-application --json"),
    "lag-exporter": (
        "surgetank lag-exporter --bootstrap localhost:9092 --port 9105",
        "surgetank lag-exporter --once --json",
    ),
    "audit": ("surgetank audit flights", "surgetank audit flights --wait 30 --json"),
    "demo": ("surgetank demo", "surgetank demo flights --rate 1000 --seconds 60 --workers 2"),
    "bench": ("surgetank bench --quick", "surgetank bench --job payments --rounds 5"),
    "settings": ("surgetank settings --changed", "surgetank settings --config surgetank.toml --json"),
    "models quantize": (
        "surgetank models quantize fraud:2 --calibrate-from features.parquet",
        "surgetank models quantize fraud:2 --calibrate-from f.parquet --attach int8",
    ),
    "monitoring": ("surgetank monitoring ops",),
    "kafka up": ("surgetank kafka up", "surgetank kafka up --brokers 3 --port 19092 --data .surgetank/three"),
    "kafka down": ("surgetank kafka down",),
    "kafka status": ("surgetank kafka status --json",),
    "kafka wait": ("surgetank kafka wait --timeout 30",),
    "models deploy": ("surgetank models deploy flights 2 --reason 'trained on October'",),
    "models shadow": ("surgetank models shadow flights 2",),
    "models canary": (
        "surgetank models canary flights 2 --percent 5",
        "surgetank models canary flights --percent 25 --allow-keys N14228",
    ),
    "models promote": ("surgetank models promote flights 2",),
    "models rollback": ("surgetank models rollback flights --reason 'scores are too low'",),
    "models pause": ("surgetank models pause flights",),
    "models resume": ("surgetank models resume flights --revision 7",),
    "models status": ("surgetank models status flights --json",),
    "models history": ("surgetank models history flights",),
    "topics apply": ("surgetank topics apply flights", "surgetank topics apply flights --features --replication 3"),
    "topics acls": (
        "surgetank topics acls flights --principal User:scoring",
        "surgetank topics acls flights --tool audit --json",
    ),
    "topics check": ("surgetank topics check flights --json",),
    "schemas score": ("surgetank schemas score flights",),
    "schemas check": ("surgetank schemas check", "surgetank schemas check schemas"),
    "schemas plan": ("surgetank schemas plan flights --json",),
    "schemas apply": (
        "surgetank schemas apply flights",
        "surgetank schemas apply flights --compatibility backward",
    ),
    "chaos exactly-once": ("surgetank chaos exactly-once --kills 100 --seed 1",),
    "chaos rebalance": ("surgetank chaos rebalance --rounds 3 --rate 1000",),
    "chaos restore": ("surgetank chaos restore --keys 100000 --brokers 1",),
    "chaos odd": (
        "surgetank chaos odd --pipelines 500 --events 1000000 --seed 1",
        "surgetank chaos odd --seed 1 --only 17",
    ),
    "timeline show": ("surgetank timeline flights --since 2h", "surgetank timeline show flights --follow --json"),
    "timeline receive": ("surgetank timeline receive flights --port 9099",),
    "incident report": (
        "surgetank incident report flights --from 2h",
        "surgetank incident report flights --from 22:05 --to 22:40 --output report.md",
    ),
    "features backfill": (
        "surgetank features backfill flights --out features.parquet",
        "surgetank features backfill flights --events recorded --arrived arrived_at",
    ),
    "features compare": ("surgetank features compare flights --json",),
    "models build": (
        "surgetank models build flights model.onnx --version 2 --figures figures.json",
        "surgetank models build flights model.onnx --version 2 --sign-key signing.pem",
    ),
    "models import-onnx": (
        "surgetank models import-onnx flights model.onnx --version 2",
        "surgetank models import-onnx flights model.onnx --version 2 --output scores",
    ),
    "models list": (
        "surgetank models list",
        "surgetank models list flights-late-memory --registry s3://models --json",
    ),
    "models show": ("surgetank models show flights-late-memory:1",),
    "models verify": (
        "surgetank models verify flights-late-memory:1 --pipeline flights",
        "surgetank models verify flights-late-memory:1 --verify-key signing.pub",
    ),
    "models publish": ("surgetank models publish flights-late-memory:1 --registry s3://bucket/models",),
    "models pull": (
        "surgetank models pull flights-late-memory:1 --registry s3://bucket/models",
        "surgetank models pull models:/flights-late-memory@best --pipeline flights",
    ),
    "state size": ("surgetank state size flights",),
    "state inspect": (
        "surgetank state inspect flights N14228",
        "surgetank state inspect flights --key-hex 000000000000002a",
    ),
    "state restoring": ("surgetank state restoring flights --json",),
    "state reshard": ("surgetank state reshard flights --partitions 16 --dry-run",),
    "state rebuild": ("surgetank state rebuild flights --dry-run", "surgetank state rebuild flights --table aircraft"),
    "state reset": ("surgetank state reset flights --yes",),
    "state export": ("surgetank state export flights snapshot",),
    "state import": ("surgetank state import flights snapshot --worker worker-1",),
    "dead-letters list": ("surgetank dead-letters list flights --reason undecodable --since 2026-11-01",),
    "dead-letters stats": ("surgetank dead-letters stats flights",),
    "dead-letters show": ("surgetank dead-letters show flights 3:1207",),
    "dead-letters export": ("surgetank dead-letters export flights --out letters.parquet",),
    "dead-letters replay": (
        "surgetank dead-letters replay flights --reason unknown_schema",
        "surgetank dead-letters replay flights --reason unknown_schema --send",
    ),
}


def add_examples(app: typer.Typer) -> None:
    """Add the examples to the end of the help of each command of ``app``."""
    for path, command in _commands(app):
        if lines := EXAMPLES.get(path):
            command.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _commands(app: typer.Typer, prefix: str = "") -> Iterator[tuple[str, CommandInfo]]:
    """Yield all commands with their names, as ``topics apply``."""
    for command in app.registered_commands:
        if command.callback is not None:
            yield prefix + (command.name or get_command_name(command.callback.__name__)), command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from _commands(group.typer_instance, f"{prefix}{group.name} ")
