"""``resroute config``."""

import os

import click

from resroute.cli.commands.options import json_option, setting_options
from resroute.cli.exits import MISTAKE
from resroute.cli.output import Table, as_json, complain, write


@click.command()
@setting_options
@json_option("Print one JSON object: by setting its value and where that comes from.")
def config(as_json_wanted: bool, config: str | None, **options: str | None) -> int:
    """Show the settings that `resroute serve` would run with, and where each comes from.

    Give it the options that you give `resroute serve`. Exits with 2 if a setting is wrong.
    """
