"""``surgetank settings``: show the settings, their defaults, and the origin of each value."""

from typing import Annotated

import typer

from surgetank.cli.options import SettingsOptions, with_settings
from surgetank.cli.output import print_table


@with_settings
def settings(
    changed: Annotated[bool, typer.Option("--changed", help="Only values that differ from the default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")] = False,
    *,
    given: SettingsOptions,
) -> None:
    """Print the tree of settings: value, default, origin of the value, and description.

    Later sources override earlier ones: defaults, settings file, variables SURGETANK_<SECTION>__<NAME>, options.
    The exit status is 2, with one line per error, if a setting is unknown or invalid. Secrets are masked.
    """
    import json
    from dataclasses import asdict

    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from surgetank.settings import describe

    found = [each for each in describe(given.flags(), file=given.config) if not changed or each.value != each.default]
    if as_json:
        typer.echo(json.dumps({each.name: asdict(each) for each in found}, indent=2, default=str))
        return
    table = Table(box=box.SIMPLE, caption="in the environment: SURGETANK_<SECTION>__<NAME>", caption_justify="left")
    for heading in ("setting", "value", "default", "from", "meaning"):
        table.add_column(heading, overflow="fold")
    for each in found:
        style = "bold" if each.origin != "default" else ""
        cells = (each.name, _shown(each.value), _shown(each.default), each.origin, each.description)
        table.add_row(*map(escape, cells), style=style)
    print_table(table)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items()) or "-"
    return "-" if value in (None, "") else str(value)
