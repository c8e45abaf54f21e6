"""``surgetank doctor``: find out why a pipeline does not run here, and what to do."""

from typing import TYPE_CHECKING, Annotated

import typer

from surgetank.cli.options import Json, SettingsOptions, print_json, with_settings
from surgetank.cli.output import print_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from surgetank.doctor.finding import CheckFinding

_STYLES = {"problem": "bold red", "warning": "yellow", "skipped": "dim"}


@with_settings
def doctor(
    name: Annotated[
        str | None, typer.Argument(metavar="PIPELINE", help="For example flights; without: only machine and Kafka.")
    ] = None,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Check this machine, Kafka, and what a pipeline needs of both; say for each finding what to do.

    Python, Java, Kafka's jars, port, disk; brokers and their version; schemas, model, topics and rights of the
    pipeline, its schema registry, and the clock, for which an event is written to its timeline. The exit status is 1
    if there is a problem: with warnings workers run.
    """
    from itertools import chain

    from surgetank.cli.pipeline_argument import located, models_beside
    from surgetank.doctor.checkup import declaration_findings, kafka_findings, machine_findings, registry_findings
    from surgetank.doctor.finding import CheckSeverity

    settings = given.load()
    pipeline, module = located(name) if name is not None else (None, None)
    parts: list[Iterable[CheckFinding]] = [machine_findings(settings)]
    if pipeline is not None and module is not None:
        parts.append(declaration_findings(pipeline, settings, models_beside(module)))
        parts.append(registry_findings(pipeline, settings))
    findings = list(chain(*parts, kafka_findings(settings, pipeline)))
    problems = sum(each.severity is CheckSeverity.PROBLEM for each in findings)
    if as_json:
        print_json({"ok": not problems, "findings": findings})
    else:
        _print(findings)
    raise typer.Exit(1 if problems else 0)


def _print(findings: "list[CheckFinding]") -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "", "found, and what to do", show_edge=False)
    for each in findings:
        text = f"{each.found}\n-> {each.advice}" if each.advice else each.found
        table.add_row(each.check, each.severity.value, escape(text), style=_STYLES.get(each.severity.value, ""))
    print_table(table)
