"""`surgetank state`: inspect, change, export, import and delete the state of a pipeline."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from surgetank.cli.options import Json, Name, SettingsOptions, pipeline_and_settings, print_json, with_settings
from surgetank.cli.output import output_console
from surgetank.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from surgetank.declaration import Pipeline
    from surgetank.http.endpoint_security import ClientAccess
    from surgetank.http.peers import PeerAddresses
    from surgetank.settings import Settings
    from surgetank.state.snapshot import Snapshot, SnapshotOrigin

app = typer.Typer(help="Inspect, change, export, import or delete the state of keys.", no_args_is_help=True)

DryRun = Annotated[bool, typer.Option("--dry-run", help="print the actions without doing them")]

WATCH_SECONDS = 0.5


@app.command()
@with_settings
def size(name: Name, as_json: Json = False, *, given: SettingsOptions) -> None:
    """List the state folders on this machine: worker, task, bytes. Workers may run meanwhile."""
    from surgetank.state.state_folders import state_folders

    base = _found(name, given).base
    found = state_folders(base)
    if as_json:
        rows = [{"worker": each.worker, "task": each.task, "disk_bytes": each.disk_bytes} for each in found]
        print_json({"folder": str(base), "tasks": rows})
        return
    typer.echo(f"{base}: {len(found)} tasks, {sum(each.disk_bytes for each in found):,} bytes")
    for each in found:
        typer.echo(f"  {each.worker:24s} task {each.task:<5d} {each.disk_bytes:>15,} bytes")


@app.command()
@with_settings
def inspect(
    name: Name,
    key: Annotated[str | None, typer.Argument(help="a key, as its producer sends it")] = None,
    key_hex: Annotated[str | None, typer.Option(help="instead: its bytes, as hexadecimal digits")] = None,
    *,
    given: SettingsOptions,
) -> None:
    """Print the state of a key in running workers: its rows and its last score. Exit status 1 if there is none.

    For keys that are not text (longs, Avro, bytes) give --key-hex.
    """
    from surgetank.cli.inspected_key import inspected_key, query_of
    from surgetank.errors import BrokerError
    from surgetank.http.endpoint_security import client_access

    query = query_of(key, key_hex)
    found = _found(name, given)
    peers = _peers(found)()
    replies = inspected_key(sorted(peers), found.pipeline.name, query, client_access(found.settings.http))
    if not replies:
        raise BrokerError(
            f"no worker of {found.pipeline.name} answers; the last to commit were: {sorted(peers) or 'none'}"
        )
    typer.echo(json.dumps(replies, indent=2))
    if not any({"key", "key_hex"} & each.keys() for each in replies.values()):
        raise typer.Exit(1)


@app.command()
@with_settings
def restoring(name: Name, as_json: Json = False, *, given: SettingsOptions) -> None:
    """Show the restore progress of each worker: records done, offsets left, records per second.

    Ends when no worker restores.

    With --json one snapshot is printed.
    """
    import time

    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from surgetank.http.endpoint_security import client_access
    from surgetank.runtime.restore_progress import RestoreProgress, WorkerRestore

    found = _found(name, given)
    peers, access = _peers(found), client_access(found.settings.http)

    def poll() -> dict[str, WorkerRestore]:
        pages = {address: _page(address, access) for address in sorted(peers())}
        return {address: WorkerRestore.of(address, page) for address, page in pages.items() if page is not None}

    if as_json:
        print_json({"workers": [each.as_dict() for each in poll().values()]})
        return
    restore, bars = RestoreProgress(), dict[str, TaskID]()
    console = output_console()
    columns = (
        TextColumn("{task.description}"),
        *([BarColumn()] if console.is_terminal else []),
        TextColumn("{task.completed:,.0f} records, {task.fields[left]:,} left, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        while True:
            workers = poll()
            for address, (done, of) in restore(workers).items():
                if address not in bars:
                    bars[address] = progress.add_task(address, left=0, rate=0.0)
                bar = bars[address]
                tasks, left = workers[address].tasks, workers[address].remaining
                rate = progress.tasks[progress.task_ids.index(bar)].speed or 0.0
                text = f"{address}, {tasks} tasks" if tasks else f"{address}, all restored"
                progress.update(bar, description=text, completed=done, total=of, left=left, rate=rate)
            if not any(each.tasks for each in workers.values()):
                return
            time.sleep(WATCH_SECONDS)


@app.command()
@with_settings
def reshard(
    name: Name,
    partitions: Annotated[
        int | None,
        typer.Option(help="the new number of partitions; default: that of the events, or the declared number", min=1),
    ] = None,
    partitioner: Annotated[
        str | None,
        typer.Option(help="the producers' partitioner, if the keys do not determine it: murmur2 or crc32"),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Increase the number of partitions of a pipeline's topics, and move the state of keys with them.

    Before, stop the workers once everything is processed (`surgetank lag` is 0), and the producers; or add partitions
    to the events yourself, wait some minutes until producers use them, let workers process the old partitions, and
    stop the workers. An interrupted run continues when repeated; workers do not start until it is complete. Then set
    the new number in the pipeline's declaration, and start the workers. Kafka cannot remove partitions.
    """
    from surgetank.cli.timeline_event import write_timeline_event
    from surgetank.migration.reshard import Reshard

    pipeline, settings, *_ = _found(name, given)
    with progress_bar() as report_progress:
        report = Reshard(settings.kafka, pipeline, report_progress).run(partitions, partitioner, dry_run=dry_run)
    if not dry_run:
        what = f"state reshard went from {report.old} partitions to {report.new}"
        write_timeline_event(settings.kafka, pipeline, what, command="state reshard", **asdict(report))
    if as_json:
        print_json({"done": not dry_run} | asdict(report))
        return
    for table, rows in report.rows.items():
        typer.echo(f"{table}: {report.moved[table]:,} of {rows:,} rows {'would move' if dry_run else 'moved'}")
    typer.echo(f"from {report.old} partitions to {report.new}, by {report.partitioner}")
    if pipeline.events.partitions != report.new:
        also = (
            "" if not pipeline.table_facts else ", and so of " + ", ".join(feed.topic for feed in pipeline.table_facts)
        )
        typer.echo(
            f"now declare it: Events({pipeline.events.topic!r}, partitions={report.new}){also}; it says "
            f"{pipeline.events.partitions}"
        )


@app.command()
@with_settings
def rebuild(
    name: Name,
    table: Annotated[list[str] | None, typer.Option(help="a table; repeatable; default: all")] = None,
    from_events: Annotated[
        bool, typer.Option("--from-events", help="rebuild also rows that match the declaration")
    ] = False,
    from_what_is_left: Annotated[
        bool, typer.Option("--from-what-is-left", help="rebuild also if the oldest events are deleted")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Bring the state of keys to the pipeline's current declaration.

    The action for each table and partition: none if it matches already; rows are migrated if they have all required
    data (the same windows and values, or fewer); otherwise they are rebuilt from their events or facts up to the
    committed offsets; or refused if the first of these are deleted. Stop the workers before. An interrupted run
    continues when repeated; workers do not start until it is complete. The rows of one partition are held in memory.
    """
    from collections import Counter

    from surgetank.cli.timeline_event import write_timeline_event
    from surgetank.migration.rebuild import Rebuild, RebuildAction

    pipeline, settings, *_ = _found(name, given)
    with progress_bar() as report_progress:
        work = Rebuild(
            settings,
            pipeline,
            tables=table or (),
            from_events=from_events,
            from_what_is_left=from_what_is_left,
            report_progress=report_progress,
        )
        steps = work.plan() if dry_run else work.run()
    if not dry_run:
        counts = Counter(f"{step.table} {step.action}" for step in steps if step.action is not RebuildAction.NOTHING)
        what = ", ".join(f"{what} in {number} partitions" for what, number in counts.items()) or "had nothing to do"
        details: dict[str, Any] = {"command": "state rebuild", **counts}
        write_timeline_event(settings.kafka, pipeline, f"state rebuild: {what}", **details)
    if as_json:
        print_json({"done": not dry_run, "steps": steps})
    for each in dict.fromkeys(step.table for step in steps) if not as_json else ():
        for action in RebuildAction:
            some = [step for step in steps if (step.table, step.action) == (each, action)]
            if some:
                rows, records, gone = (sum(getattr(s, what) for s in some) for what in ("rows", "records", "gone"))
                result = {
                    RebuildAction.NOTHING: f"nothing to do, {rows:,} rows",
                    RebuildAction.MIGRATED: f"{rows:,} rows migrated",
                    RebuildAction.REBUILT: f"rebuilt from {records:,} events"
                    + (f", {gone:,} are gone" if gone else ""),
                    RebuildAction.REFUSED: f"refused: {gone:,} events of {gone + records:,} are deleted; "
                    "--from-what-is-left",
                }[action]
                typer.echo(f"{each}: {result} ({len(some)} partitions)")
    if any(step.action is RebuildAction.REFUSED for step in steps):
        raise typer.Exit(2)


@app.command()
@with_settings
def reset(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Delete all state of a pipeline: recreate its changelogs, and delete its folders on this machine.

    Stop its workers before. Committed offsets remain: the workers continue with empty tables. An interrupted rebuild or
    reshard is cancelled.
    """
    from surgetank.kafka import provisioning
    from surgetank.state.state_folders import remove

    found = _found(name, given)
    pipeline, base = found.pipeline, found.base
    names = list(pipeline.changelogs.values())
    if not yes:
        typer.confirm(f"delete all records of {', '.join(names)} and the folder {base}?", abort=True, err=True)
    provisioning.renew(found.settings.kafka, pipeline, names)
    remove(base)
    if as_json:
        print_json({"changelogs": names, "folder": str(base)})
    else:
        typer.echo(f"{pipeline.name} has no state now")


@app.command()
@with_settings
def export(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="a folder to create")],
    task: Annotated[int | None, typer.Option(help="only the task of this number")] = None,
    worker: Annotated[str | None, typer.Option(help="only state of this worker's folder, as listed by `size`")] = None,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Export the state of the tasks on this machine to a folder. Workers may run meanwhile.

    Of a running worker, only state on disk is exported; the changelogs have the rest. On the same file system the
    folder takes almost no space. Its snapshot.json lists the content, with a checksum of each file.
    """
    from surgetank.state.export_snapshot import export_snapshot

    found = _found(name, given)
    with progress_bar() as report_progress:
        snapshot = export_snapshot(found.base, folder, _origin(found), report_progress, task=task, worker=worker)
    _print_snapshot(snapshot, folder, "exported to", as_json)


@app.command("import")
@with_settings
def import_(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="a folder of `surgetank state export`", exists=True, file_okay=False)],
    worker: Annotated[
        str, typer.Option(help="the worker.name to import for; default: the first free unnamed folder")
    ] = "",
    replace: Annotated[bool, typer.Option("--replace", help="replace existing state of these tasks")] = False,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Import exported state for a worker on this machine, which then restores only later changes.

    Refused, without any change, while a worker uses that folder, and if the snapshot belongs to another cluster,
    pipeline or declaration, or is damaged.
    """
    from surgetank.errors import SettingsError
    from surgetank.state.import_snapshot import import_snapshot
    from surgetank.state.snapshot import Snapshot
    from surgetank.state.state_directory import StateDirectory

    found = _found(name, given)
    snapshot = Snapshot.load(folder)
    snapshot.check(_origin(found))
    try:
        directory = StateDirectory(found.base, worker)
    except OSError as error:
        raise SettingsError(f"state.directory: {found.base} cannot be used: {error.strerror}") from None
    try:
        with progress_bar() as report_progress:
            import_snapshot(folder, snapshot, directory.folder, report_progress, replace=replace)
    finally:
        directory.release()
    _print_snapshot(snapshot, directory.folder, "imported to", as_json)


class _Found(NamedTuple):
    """A pipeline with tables, its settings, the id of its cluster, and its number of partitions."""

    pipeline: "Pipeline"
    settings: "Settings"
    cluster: str
    partitions: int

    @property
    def base(self) -> Path:
        """The folder of the pipeline's state on this machine."""
        return self.settings.state.folder / self.cluster / self.pipeline.name


def _found(name: str, given: SettingsOptions) -> _Found:
    """Find a pipeline. Raises TopologyError if it has no state."""
    from surgetank.errors import TopologyError
    from surgetank.kafka import provisioning

    pipeline, settings = pipeline_and_settings(name, given)
    if not pipeline.changelogs:
        raise TopologyError(f"pipeline {pipeline.name!r} has no state: it declares no table")
    return _Found(pipeline, settings, *provisioning.anchor(settings.kafka, pipeline))


def _peers(found: _Found) -> "PeerAddresses":
    """Return the lookup of the HTTP addresses of a pipeline's workers."""
    from surgetank.clock import SystemClock
    from surgetank.http.peers import PeerAddresses

    pipeline, kafka = found.pipeline, found.settings.kafka
    return PeerAddresses(kafka, pipeline.group, pipeline.events.topic, found.partitions, SystemClock())


def _page(address: str, access: "ClientAccess") -> str | None:
    """Return the metrics of a worker; None if it does not answer completely."""
    from surgetank.http.http_get import answer

    return answer(f"{address}/metrics", timeout=1, access=access)


def _origin(found: _Found) -> "SnapshotOrigin":
    """Return the origin of a pipeline's state."""
    from surgetank.kafka import provisioning
    from surgetank.state.snapshot import SnapshotOrigin
    from surgetank.worker.state_parts import state_spec

    topic_ids = provisioning.ids(found.settings.kafka, found.pipeline.changelogs.values())
    shapes = state_spec(found.pipeline, found.partitions, topic_ids).signatures
    return SnapshotOrigin(found.pipeline.name, found.cluster, found.partitions, shapes)


def _print_snapshot(snapshot: "Snapshot", folder: Path, what: str, as_json: bool) -> None:
    if as_json:
        tasks = [
            {"task": each.task, "worker": each.worker, "bytes": each.bytes}
            | {"rows": dict(each.rows), "positions": dict(each.positions)}
            for each in snapshot.tasks
        ]
        print_json({"folder": str(folder), "tasks": tasks})
        return
    total = sum(each.bytes for each in snapshot.tasks)
    typer.echo(f"{len(snapshot.tasks)} tasks, {total:,} bytes {what} {folder}")
    for each in snapshot.tasks:
        rows = ", ".join(f"{table} {number:,}" for table, number in each.rows.items()) or "nothing on disk yet"
        typer.echo(f"  task {each.task:<5d} {each.worker:24s} {each.bytes:>15,} bytes   {rows}")
