"""Draws up the report of an incident: reads the timeline, asks Prometheus, writes the Markdown and its pictures."""

from pathlib import Path

from pipeline.errors import SettingsError, SurgetankError
from pipeline.timeline import prometheus_query
from pipeline.timeline.events import TimelineEvent
from pipeline.timeline.intervals import interval_rows, point_events
from pipeline.timeline.report import Plot, report
from pipeline.timeline.svg import lanes_plot, lines_plot


def incident_report(
    pipeline: str,
    events: list[TimelineEvent],
    *,
    start: int,
    end: int,
    written_at: int,
    file: Path,
    prometheus: str | None,
) -> list[Path]:
    """Write the report and, into a folder of its name, its pictures; return all files. Times are ms since the epoch.

    Raises SettingsError if the file is there: somebody may have worked on it.
    """
    if file.exists():
        raise SettingsError(f"{file} is there already, and may have been worked on; choose another file with -o")
    folder = file.parent / f"{file.stem}-plots"
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []

    def keep(name: str, title: str, picture: str) -> Plot:
        path = folder / f"{name}.svg"
        path.write_text(picture)
        drawn.append(path)
        return Plot(title, f"{folder.name}/{path.name}")

    title = "workers, anomalies and alerts"
    plots = [keep("timeline", title, lanes_plot(interval_rows(events, start, end), point_events(events), start, end))]
    for query in prometheus_query.QUERIES if prometheus else ():
        try:
            lines = prometheus_query.ask(str(prometheus), query, pipeline, start, end)
        except SurgetankError as error:
            plots.append(Plot(query.title, why_not=str(error)))
            continue
        if lines:
            plots.append(keep(query.name, query.title, lines_plot(query.title, lines, start, end)))
        else:
            plots.append(Plot(query.title, why_not="Prometheus has nothing of it."))
    file.write_text(report(pipeline, events, plots, start, end, written_at))
    return [file, *drawn]
