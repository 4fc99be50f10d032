"""``resroute config``."""

import os
from typing import Any

import click

from resroute.cli.commands.options import json_option, setting_options
from resroute.cli.exits import DONE, MISTAKE
from resroute.cli.output import Table, complain, to_json, write


@click.command(short_help="Show the settings that a router would run with here.")
@setting_options
@json_option("Print one JSON object: each setting with its value and where that comes from.")
def config(as_json: bool, config: str | None, **options: str | None) -> int:
    """Show the settings that `resroute serve` would run with here, and where each comes from.

    Give it the options that you give to `resroute serve`. If a setting is wrong it says so, and exits with 2.
    """
    from resroute.cli.showing import setting
    from resroute.cli.sources import SettingsMistake, load_settings
    from resroute.settings import flatten

    given = {name: value for name, value in options.items() if value is not None}
    try:
        loaded = load_settings(options=given, environ=os.environ, config=config)
    except SettingsMistake as mistake:
        complain(str(mistake))
        return MISTAKE
    if as_json:
        described: dict[str, Any] = {}
        for path, value in flatten(loaded.settings).items():
            origin = loaded.origins.get(path)
            source = (
                {"source": "default"} if origin is None else {"source": origin.source, "name": origin.name}
            )
            described[path] = {"value": value, **source}
        write(to_json(described, pretty=True))
    else:
        table = Table(("SETTING", "VALUE", "FROM"))
        rows = (
            (path, setting(value), _told(loaded.origins.get(path)))
            for path, value in flatten(loaded.settings).items()
        )
        write(table.lines(rows))
    return DONE


def _told(origin: object) -> str:
    return "default" if origin is None else str(origin).removeprefix("from ")
