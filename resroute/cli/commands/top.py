"""``resroute top``."""

import math

import click

from resroute.cli.commands.options import json_option, router_options
from resroute.cli.exits import ASKING_CODES, epilog

MIN_INTERVAL_SECONDS = 0.1


def _interval(_ctx: click.Context, _param: click.Parameter, seconds: float) -> float:
    if not MIN_INTERVAL_SECONDS <= seconds < math.inf:
        raise click.BadParameter(f"must be at least {MIN_INTERVAL_SECONDS:g}.")
    return seconds


@click.command(epilog=epilog(ASKING_CODES), short_help="Show what the router is busy with.")
@click.option(
    "--interval",
    "interval_seconds",
    metavar="SECONDS",
    type=float,
    default=2.0,
    callback=_interval,
    show_default=True,
    help="How long to count calls before they are shown.",
)
@click.option(
    "--count", metavar="NUMBER", type=click.IntRange(min=1), help="End after so many.  [default: at Ctrl-C]"
)
@json_option("Print one JSON object a line.")
@router_options
def top(interval_seconds: float, count: int | None, as_json: bool, url: str, token: str | None) -> int:
    """Show each service: its instances, resources, calls in flight, calls and errors a second, and how long calls
    took in the last minute. The busiest come first.

    On a terminal it is drawn again after each interval; elsewhere it is printed once an interval.

    \b
      resroute top
      resroute top --count 1 --json | jq '.services | map_values(.calls_per_second)'
    """
    from resroute.cli.interrupts import run
    from resroute.cli.topping import show_top

    return run(
        lambda interruption: show_top(
            url, interruption, interval_seconds=interval_seconds, count=count, as_json=as_json, token=token
        )
    )
