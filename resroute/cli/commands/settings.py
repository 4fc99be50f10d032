"""``resroute settings``."""

import click

from resroute.cli.commands.options import admin_options, json_option
from resroute.cli.exits import ASKING_CODES, epilog


@click.command(epilog=epilog(ASKING_CODES), short_help="Show the settings that a router runs with.")
@json_option(
    "Print one JSON object: each setting with its value, and whether it changes while the router runs."
)
@admin_options
def settings(as_json: bool, url: str, token: str | None) -> int:
    """Show the settings in force of a router, at its admin API, and which of them it reads again at SIGHUP.

    Secrets are masked. (`resroute config` shows what `resroute serve` would run with here.)

    \b
      resroute settings --profile production
      resroute settings --json | jq .max_sessions.value
    """
    from resroute.cli.interrupts import run
    from resroute.cli.settings_in_force import print_settings

    return run(lambda interruption: print_settings(url, interruption, as_json=as_json, token=token))
