"""``resroute call``."""

import math

import click

from resroute.cli.commands.options import TEXT, json_option, router_options
from resroute.cli.exits import CALL_CODES, epilog


def _seconds(_ctx: click.Context, _param: click.Parameter, seconds: float | None) -> float | None:
    if seconds is not None and not 0 < seconds < math.inf:
        raise click.BadParameter("must be more than 0.")
    return seconds


@click.command(epilog=epilog(CALL_CODES), short_help="Make one call, and print its result.")
@click.argument("method", type=TEXT)
@click.option("--resource", "resource_id", metavar="ID", type=TEXT, help="Call the owner of this resource.")
@click.option(
    "--service",
    "service_name",
    metavar="NAME",
    type=TEXT,
    help="Call an instance of this service; with --resource: its owner must belong to it.",
)
@click.option(
    "--params", metavar="JSON", help="What to call it with: an object or a list; - reads it from stdin."
)
@click.option(
    "--timeout",
    "timeout_seconds",
    metavar="SECONDS",
    type=float,
    callback=_seconds,
    help="How long it may take, connecting included. Without it the router's default holds for the call.",
)
@json_option("Print the result in one line.")
@router_options
def call(
    method: str,
    resource_id: str | None,
    service_name: str | None,
    params: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    url: str,
    token: str | None,
) -> int:
    """Call METHOD of whoever owns a resource, or of an instance of a service, and print the result.

    \b
      resroute call get --resource doc:1
      resroute call resize --service images --params '{"width": 640}' --timeout 5

    The result is JSON on stdout. An error is one line on stderr, and the exit code tells its kind.
    """
    if resource_id is None and service_name is None:
        raise click.UsageError("Whom to call? Give --resource, --service or both.")

    from resroute.cli.calling import make_call
    from resroute.cli.interrupts import run
    from resroute.cli.params import read_params

    given = None if params is None else read_params(params)
    return run(
        lambda interruption: make_call(
            url,
            method,
            given,
            resource_id=resource_id,
            service_name=service_name,
            timeout_seconds=timeout_seconds,
            in_one_line=as_json,
            interruption=interruption,
            token=token,
        )
    )
