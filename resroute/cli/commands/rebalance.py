"""``resroute rebalance``."""

from typing import Literal

import click

from resroute.cli.commands.options import TEXT, json_option, router_options
from resroute.cli.exits import MOVING_CODES, epilog


@click.command(
    epilog=epilog(MOVING_CODES), short_help="Spread what a service owns evenly, as an administrator."
)
@click.argument("service_name", metavar="SERVICE", type=TEXT)
@click.option(
    "--by",
    type=click.Choice(["count", "calls"]),
    default="count",
    show_default=True,
    help="Even out how many resources each instance owns, or how many calls there are for them.",
)
@click.option(
    "--max-moves", metavar="NUMBER", type=click.IntRange(min=1), help="Move at most so many.  [default: all]"
)
@click.option("--dry-run", is_flag=True, help="Only say what would be moved.")
@json_option("Print one JSON object in one line.")
@router_options
def rebalance(
    service_name: str,
    by: Literal["count", "calls"],
    max_moves: int | None,
    dry_run: bool,
    as_json: bool,
    url: str,
    token: str | None,
) -> int:
    """Have instances of SERVICE that own much hand some of it to those that own little, such as one that has just begun.

    Resources of the lowest priority go first. Calls go on, and none is lost. Only administrators may. The router moves
    what instances own, and not what they keep in their memory for that.

    \b
      resroute rebalance documents --dry-run
      resroute rebalance documents --by calls --max-moves 20
    """
    from resroute.cli.interrupts import run
    from resroute.cli.moving import rebalance_service

    return run(
        lambda interruption: rebalance_service(
            url,
            service_name,
            interruption,
            by=by,
            max_moves=max_moves,
            dry_run=dry_run,
            as_json=as_json,
            token=token,
        )
    )
