"""``resroute stats``."""

import click

from resroute.cli.commands.options import json_option, router_options
from resroute.cli.exits import ASKING_CODES, epilog


@click.command(epilog=epilog(ASKING_CODES), short_help="Show the router in numbers.")
@json_option("Print one JSON object in one line.")
@router_options
def stats(as_json: bool, url: str, token: str | None) -> int:
    """Show for how long the router has run, what there is in it now, and each service in numbers since then.

    (`resroute top` shows how many calls there are a second.)

    \b
      resroute stats
      resroute stats --json | jq .sessions
    """
    from resroute.cli.interrupts import run
    from resroute.cli.numbers import print_statistics

    return run(lambda interruption: print_statistics(url, interruption, as_json=as_json, token=token))
