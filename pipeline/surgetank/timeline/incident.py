"""Writes an incident report: queries Prometheus, renders the timeline as Markdown and the plots as SVG."""

from pathlib import Path

from surgetank.errors import SettingsError, SurgetankError
from surgetank.timeline import prometheus_query
from surgetank.timeline.events import TimelineEvent
from surgetank.timeline.intervals import interval_rows, point_events
from surgetank.timeline.report import Plot, render_report
from surgetank.timeline.svg import intervals_plot, lines_plot


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
    """Write the report and, into a folder beside it, its plots; return all files. Times are ms since the epoch.

    Raises SettingsError if the file exists, because it may contain edits.
    """
    if file.exists():
        raise SettingsError(f"{file} exists and may contain edits; choose another file with -o")
    folder = file.parent / f"{file.stem}-plots"
    folder.mkdir(parents=True, exist_ok=True)
    pictures: list[Path] = []

    def save_plot(name: str, title: str, picture: str) -> Plot:
        path = folder / f"{name}.svg"
        path.write_text(picture)
        pictures.append(path)
        return Plot(title, f"{folder.name}/{path.name}")

    title = "workers, anomalies and alerts"
    picture = intervals_plot(interval_rows(events, start, end), point_events(events), start, end)
    plots = [save_plot("timeline", title, picture)]
    for query in prometheus_query.QUERIES if prometheus else ():
        try:
            lines = prometheus_query.query_range(str(prometheus), query, pipeline, start, end)
        except SurgetankError as error:
            plots.append(Plot(query.title, why_not=str(error)))
            continue
        if lines:
            plots.append(save_plot(query.name, query.title, lines_plot(query.title, lines, start, end)))
        else:
            plots.append(Plot(query.title, why_not="Prometheus has no data."))
    file.write_text(render_report(pipeline, events, plots, start, end, written_at))
    return [file, *pictures]
