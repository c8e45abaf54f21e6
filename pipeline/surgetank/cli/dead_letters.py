"""``surgetank dead-letters``: find out why events were not scored, and send them again."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgetank.cli.options import Json, Name, SettingsOptions, pipeline_and_settings, print_json, with_settings
from surgetank.cli.output import add_columns, output_console, print_table

if TYPE_CHECKING:
    import pyarrow as pa

    from surgetank.dead_letters.replay import Replayed
    from surgetank.dead_letters.selection import Selection

app = typer.Typer(help="List, count, show, export dead letters, and send their events again.", no_args_is_help=True)

_DAY_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
# The columns of the list and their widths, then those that fit in the order of choice; --json prints all fields.
_SHOWN = {"at": 12, "stage": 8, "reason": 14, "time": 20, "source": 28, "attempts": 8, "message": 40}
_IMPORTANCE = ("at", "reason", "message", "source", "time", "stage", "attempts")

Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only this reason, as not_framed; repeatable.")]
Stages = Annotated[list[str] | None, typer.Option("--stage", help="Only this stage, as decode; repeatable.")]
Topic = Annotated[str | None, typer.Option(help="Only events of this source topic.")]
Partition = Annotated[int | None, typer.Option(min=0, help="Only events of this source partition.")]
Since = Annotated[datetime | None, typer.Option(formats=_DAY_FORMATS, help="Only failures from this time on, UTC.")]
Until = Annotated[datetime | None, typer.Option(formats=_DAY_FORMATS, help="Only failures before this time, UTC.")]


@app.command("list")
@with_settings
def list_letters(
    name: Name,
    reason: Reasons = None,
    stage: Stages = None,
    topic: Topic = None,
    partition: Partition = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="Print at most this many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line and letter.")] = False,
    *,
    given: SettingsOptions,
) -> None:
    """Print dead letters, in the order of each partition."""
    from surgetank.dead_letters.reading import read_letters

    pipeline, settings = pipeline_and_settings(name, given)
    selection = _selection(reason, stage, topic, partition, since, until)
    printed = selected = 0
    for letters in read_letters(settings.kafka, pipeline.dead_letters, selection):
        selected += len(letters)
        shown = letters.slice(0, limit - printed)
        if len(shown):
            (_print_lines if as_json else _print_table)(shown, printed == 0)
            printed += len(shown)
    if not as_json:
        typer.echo(f"{selected:,} dead letters" + (f", the first {printed:,} are shown" * (printed < selected)))


@app.command()
@with_settings
def stats(
    name: Name,
    reason: Reasons = None,
    stage: Stages = None,
    topic: Topic = None,
    partition: Partition = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Count dead letters by stage, reason and source topic, with the times of the first and the last failure."""
    from rich.markup import escape
    from rich.table import Table

    from surgetank.dead_letters.reading import read_letters
    from surgetank.dead_letters.statistics import Statistics

    pipeline, settings = pipeline_and_settings(name, given)
    selection, statistics = _selection(reason, stage, topic, partition, since, until), Statistics()
    for letters in read_letters(settings.kafka, pipeline.dead_letters, selection):
        statistics.add(letters)
    groups = statistics.largest_first()
    total = sum(group.letters for group in groups)
    if as_json:
        found = [
            {
                "stage": group.stage,
                "reason": group.reason,
                "source_topic": group.source_topic,
                "letters": group.letters,
                "first": _iso(group.first),
                "last": _iso(group.last),
                "example": group.example,
            }
            for group in groups
        ]
        print_json({"letters": total, "groups": found})
        return
    table = Table(title=f"{total:,} dead letters of {name}", title_justify="left")
    for column in ("stage", "reason", "topic"):
        table.add_column(column, overflow="fold")
    table.add_column("letters", justify="right")
    table.add_column("last failure")
    table.add_column("example", overflow="fold")
    for group in groups:
        texts = (group.stage or "-", group.reason or "no dead letter of a pipeline", group.source_topic or "-")
        last = "-" if group.last is None else f"{group.last:%Y-%m-%d %H:%M:%S}"
        table.add_row(*map(escape, texts), f"{group.letters:,}", last, group.example)
    print_table(table)
    if groups:
        typer.echo(f"look at one: surgetank dead-letters show {name} {groups[0].example}")


@app.command()
@with_settings
def show(
    name: Name,
    at: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="Its position in the dead-letter topic.")],
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Print one dead letter: its headers, its value decoded as far as possible, and the bytes where that ends."""
    from surgetank.codec.schema_repository import project_schemas
    from surgetank.dead_letters.partial_decode import decode_partially, hex_dump
    from surgetank.errors import TopicsError
    from surgetank.kafka.last_records import single_records
    from surgetank.processing.dead_letter import TOPIC
    from surgetank.records import TopicPartition

    number, colon, offset = at.partition(":")
    if not (colon and number.isdecimal() and offset.isdecimal()):
        raise typer.BadParameter(f"{at!r}: the format is PARTITION:OFFSET, as 3:1207")
    pipeline, settings = pipeline_and_settings(name, given)
    source = TopicPartition(pipeline.dead_letters, int(number))
    with single_records(settings.kafka, lambda: None) as reader:
        found = reader.first({source: int(offset)})[source]
    record = found.record
    if record is None or record.offset != int(offset):
        raise TopicsError(
            f"{pipeline.dead_letters}[{number}] has no record at offset {offset}: its offsets are {found.low} to "
            f"{found.end}, with gaps for transactions"
        )
    headers = [(header, None if value is None else value.decode(errors="replace")) for header, value in record.headers]
    value = record.value or b""
    topic = next((text for header, text in reversed(headers) if header == TOPIC), None)
    declared = (pipeline.events, *pipeline.facts)
    events = next((each for each in declared if each.topic == topic), pipeline.events)
    decoded = decode_partially(project_schemas(), value, events)
    if as_json:
        print_json(
            {
                "at": at,
                "key_hex": None if record.key is None else record.key.hex(),
                "value_hex": None if record.value is None else record.value.hex(),
                "headers": headers,
                "schema": decoded.schema,
                "fields": {field: _readable(each) for field, each in decoded.fields.items()},
                "next_field": decoded.next_field,
                "stopped_at": decoded.stopped_at,
            }
        )
        return
    for header, text in headers:
        typer.echo(f"{header:<22} {text}")
    typer.echo(f"{'key':<22} {'null' if record.key is None else repr(record.key)}")
    typer.echo(f"{'value':<22} {'null' if record.value is None else f'{len(value):,} bytes'}")
    if decoded.schema:
        typer.echo(f"{'schema':<22} {decoded.schema}")
    for field, each in decoded.fields.items():
        typer.echo(f"  {field:<20} {_readable(each)}")
    if not decoded.problem:
        typer.echo("the value decodes whole")
    elif record.value is not None:
        typer.echo(f"not decoded: {decoded.problem}")
        typer.echo(hex_dump(value, decoded.stopped_at))


@app.command()
@with_settings
def export(
    name: Name,
    out: Annotated[Path, typer.Option(dir_okay=False, help="File to write: .parquet, or .jsonl with bytes in base64.")],
    reason: Reasons = None,
    stage: Stages = None,
    topic: Topic = None,
    partition: Partition = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Write dead letters to a file, with keys, values and all headers."""
    from surgetank.dead_letters.export import export_letters

    pipeline, settings = pipeline_and_settings(name, given)
    selection = _selection(reason, stage, topic, partition, since, until)
    number = export_letters(settings.kafka, pipeline.dead_letters, selection, out)
    if as_json:
        print_json({"letters": number, "file": str(out)})
    else:
        typer.echo(f"wrote {number:,} dead letters to {out}")


@app.command()
@with_settings
def replay(
    name: Name,
    reason: Reasons = None,
    stage: Stages = None,
    topic: Topic = None,
    partition: Partition = None,
    since: Since = None,
    until: Until = None,
    send: Annotated[
        bool, typer.Option("--send", help="Send the events; without it, only print what would be.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0.1, help="Events per second at most.")] = 1000.0,
    attempts: Annotated[
        int, typer.Option(min=1, help="Events that failed as often are parked: they are not sent.")
    ] = 3,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Send the events of dead letters to their source topics again, each letter at most once.

    An event has the key, value and headers of its letter and goes to its former partition, behind later events of its
    key. Other pipelines on that topic process it again. The topic PIPELINE.dead-letters-replayed records what was sent:
    a replay that was interrupted or killed goes on where it ended. An event that fails again becomes a new dead letter,
    which counts one more attempt.
    """
    from rich.console import Console

    from surgetank.dead_letters.replay import plan_replay
    from surgetank.dead_letters.replay import replay as run
    from surgetank.dead_letters.replay_plan import ReplayPlan
    from surgetank.kafka.provisioning import existing
    from surgetank.kafka.topic_configs import record_bytes

    pipeline, settings = pipeline_and_settings(name, given)
    have = existing(settings.kafka)
    partitions = {source: have[source] for source in pipeline.sources if source in have}
    selection = _selection(reason, stage, topic, partition, since, until)
    plan = ReplayPlan(selection, partitions, record_bytes(settings.kafka, list(partitions)), attempts)
    if not send:
        done = plan_replay(settings.kafka, pipeline, plan)
    else:
        with Console(stderr=True).status("reading dead letters") as status:
            done = run(
                settings.kafka,
                pipeline,
                plan,
                rate,
                lambda done: status.update(f"sent {done.decisions['send']:,} events"),
            )
    if as_json:
        print_json({"sent": send, "letters": done.decisions, "by_topic": done.by_topic})
    else:
        _report(done, send, name)


def _report(done: "Replayed", sent: bool, name: str) -> None:
    for topic, number in done.by_topic.items():
        typer.echo(f"{'sent' if sent else 'would send'} {number:,} events to {topic}")
    for decision, number in done.decisions.items():
        if number and decision != "send":
            typer.echo(f"not sent, {decision}: {number:,}")
    if not any(done.decisions.values()):
        typer.echo("no dead letters are selected")
    elif not sent and done.decisions["send"]:
        typer.echo("nothing was sent yet: add --send")
    if done.decisions["parked"]:
        typer.echo(f"parked events failed too often; see `surgetank dead-letters list {name}`, or raise --attempts")


def _selection(
    reasons: list[str] | None,
    stages: list[str] | None,
    topic: str | None,
    partition: int | None,
    since: datetime | None,
    until: datetime | None,
) -> "Selection":
    """Return the selection. A reason or stage that does not exist is a wrong option."""
    from surgetank.dead_letters.selection import Selection
    from surgetank.processing.dead_letter_reasons import REASONS

    for option, given, known in (
        ("reason", reasons, sorted({each.label for each in REASONS})),
        ("stage", stages, sorted({each.step.value for each in REASONS})),
    ):
        for each in given or ():
            if each not in known:
                raise typer.BadParameter(f"--{option} {each!r}; there are: {', '.join(known)}")
    return Selection(
        tuple(reasons or ()),
        tuple(stages or ()),
        topic,
        partition,
        since and since.replace(tzinfo=UTC),
        until and until.replace(tzinfo=UTC),
    )


def _print_lines(letters: "pa.RecordBatch", _: bool) -> None:
    import json

    typer.echo("\n".join(json.dumps(row, default=_json_value) for row in letters.to_pylist()))


def _print_table(letters: "pa.RecordBatch", first: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from surgetank.columns_to_fit import columns_to_fit

    console = output_console()
    shown = columns_to_fit(_SHOWN, _IMPORTANCE, console.width + 2, gap=2)
    table = Table(box=None, show_header=first, pad_edge=False)
    add_columns(table, {column: _SHOWN[column] for column in shown}, console)
    for row in letters.to_pylist():
        texts = row | {
            "at": f"{row['partition']}:{row['offset']}",
            "source": f"{row['source_topic']} {row['source_partition']}:{row['source_offset']}",
            "time": "-" if row["time"] is None else f"{row['time']:%Y-%m-%d %H:%M:%S}",
        }
        if row["reason"] is None:
            texts |= {"source": "-", "reason": "-", "message": "no dead letter of a pipeline"}
        table.add_row(*(escape("-" if texts[column] is None else str(texts[column])) for column in shown))
    console.print(table)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds")


def _json_value(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else value.isoformat()


def _readable(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
