"""``surgetank scores``: print the scores of a pipeline."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgetank.cli.options import Name, SettingsOptions, pipeline_and_settings, with_settings
from surgetank.cli.output import add_columns, output_console

if TYPE_CHECKING:
    import pyarrow as pa

# The columns of the table and their widths, then those that fit in the order of choice; --json prints all fields.
_SHOWN = {"event_id": 40, "key": 8, "score": 6, "label": 12, "model_version": 13, "event_time": 24, "scored_at": 24}
_IMPORTANCE = ("score", "label", "event_id", "key", "scored_at", "model_version", "event_time")


class From(StrEnum):
    """The position to start reading at."""

    EARLIEST = "earliest"
    LATEST = "latest"


@with_settings
def scores(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", help="Continue with new scores until Ctrl-C.")] = False,
    start: Annotated[
        From,
        typer.Option("--from", help="The first score, or only scores from now on, which implies --follow."),
    ] = From.EARLIEST,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many scores.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line and score.")] = False,
    *,
    given: SettingsOptions,
) -> None:
    """Print committed scores, each exactly once, as a read_committed consumer receives them."""
    from surgetank.drills.wire import score_decoder
    from surgetank.kafka.topic_reader import TopicReader

    pipeline, settings = pipeline_and_settings(name, given)
    decode, seen, unreadable = score_decoder(pipeline), 0, 0
    try:
        with TopicReader(settings.kafka, [pipeline.scores.topic], start=start.value) as reader:
            ends = None if follow or start is From.LATEST else reader.ends()
            while (ends is None or not reader.reached(ends)) and (count is None or seen < count):
                records = reader.read(rows=10_000 if count is None else count - seen)
                batch = decode(records)
                unreadable += len(records) - len(batch)
                if len(batch):
                    (print_lines if as_json else print_table)(batch.columns, seen == 0)
                    seen += len(batch)
    except (KeyboardInterrupt, BrokenPipeError):
        raise typer.Exit from None
    if unreadable:
        typer.echo(f"surgetank: {unreadable:,} records of the score topic do not decode as scores", err=True)
        raise typer.Exit(1)


def print_lines(columns: "pa.RecordBatch", _: bool) -> None:
    """Print scores as one JSON object per line, with all fields."""
    import json

    typer.echo("\n".join(json.dumps(row, default=_text) for row in with_texts_of_times(columns).to_pylist()))


def print_table(columns: "pa.RecordBatch", first: bool) -> None:
    """Print scores as rows of a table that fits the terminal; with its head if they are the ``first``."""
    from rich.markup import escape
    from rich.table import Table

    from surgetank.columns_to_fit import columns_to_fit

    console = output_console()
    present = [name for name in _IMPORTANCE if name in columns.schema.names]  # scores of numbers have no label
    shown = columns_to_fit(_SHOWN, present, console.width + 2, gap=2)
    table = Table(box=None, show_header=first, pad_edge=False)
    add_columns(table, {name.replace("_", " "): _SHOWN[name] for name in shown}, console)
    for row in with_texts_of_times(columns.select(shown)).to_pylist():
        table.add_row(*(escape(_text(row[name])) for name in shown))
    console.print(table)


def with_texts_of_times(columns: "pa.RecordBatch") -> "pa.RecordBatch":
    """Return the columns with times as ISO 8601 text, or as their number if they are outside the calendar.

    Event times come from producers: no number of milliseconds must fail.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from surgetank.text_columns import as_text

    return pa.RecordBatch.from_arrays(
        [
            pc.replace_substring(as_text(column), " ", "T") if pa.types.is_timestamp(column.type) else column
            for column in columns.columns
        ],
        names=columns.schema.names,
    )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "-" if value is None else str(value)
