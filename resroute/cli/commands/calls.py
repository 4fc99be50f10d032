"""``resroute calls``."""

import click

from resroute.cli.commands.options import TEXT, admin_options, json_option
from resroute.cli.exits import CALLS_CODES, epilog


@click.command(epilog=epilog(CALLS_CODES), short_help="Show the calls that an instance has not answered yet.")
@click.argument("instance_id", metavar="INSTANCE", type=TEXT)
@click.option(
    "--limit", metavar="NUMBER", type=click.IntRange(min=1), help="At most so many.  [default: all]"
)
@json_option("Print one JSON object a line: the calls.")
@admin_options
def calls(instance_id: str, limit: int | None, as_json: bool, url: str, token: str | None) -> int:
    """Show which calls INSTANCE has to answer, the oldest that are with it first, then those in line, and how long it
    takes to answer. A router tells that at its admin API, and measures it while somebody asks at least every two minutes.

    \b
      resroute calls documents-1 --profile production
      resroute calls documents-1 --json | jq -r .method
    """
    from resroute.cli.calls_at_work import print_calls
    from resroute.cli.interrupts import run

    return run(
        lambda interruption: print_calls(
            url, instance_id, interruption, limit=limit, as_json=as_json, token=token
        )
    )
