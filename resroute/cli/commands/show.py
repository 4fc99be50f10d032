"""``resroute show``."""

import click

from resroute.cli.commands.options import TEXT, json_option, router_options
from resroute.cli.exits import FINDING_CODES, epilog


@click.command(epilog=epilog(FINDING_CODES), short_help="Show all about one resource.")
@click.argument("resource_id", metavar="ID", type=TEXT)
@json_option("Print one JSON object in one line.")
@router_options
def show(resource_id: str, as_json: bool, url: str, token: str | None) -> int:
    """Show who owns the resource ID and since when, its epoch, when it expires, how calls to its owner have ended, who
    waits for it, what it says of itself, and how it has changed lately, the last change first.

    \b
      resroute show doc:1
      resroute show doc:1 --json | jq .metadata
    """
    from resroute.cli.interrupts import run
    from resroute.cli.one import show_resource

    return run(
        lambda interruption: show_resource(url, resource_id, interruption, as_json=as_json, token=token)
    )
