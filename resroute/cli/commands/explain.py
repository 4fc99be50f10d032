"""``resroute explain``."""

import click

from resroute.cli.commands.options import TEXT, json_option, router_options
from resroute.cli.exits import ASKING_CODES, epilog


@click.command(epilog=epilog(ASKING_CODES), short_help="Tell what a call would meet, and why.")
@click.argument("resource_id", metavar="[ID]", type=TEXT, required=False)
@click.option(
    "--service",
    "service_name",
    metavar="NAME",
    type=TEXT,
    help="Explain a call to this service; with an ID: its owner must belong to it.",
)
@json_option("Print one JSON object in one line.")
@router_options
def explain(
    resource_id: str | None, service_name: str | None, as_json: bool, url: str, token: str | None
) -> int:
    """Tell what a call to the resource ID would meet if it were made now, and why. Nobody is called.

    It says who owns the resource, who gets the call or which error it meets, how earlier calls to the owner have
    ended, and how the resource has changed hands lately, the last change first.

    \b
      resroute explain doc:1
      resroute explain --service images
    """
    if resource_id is None and service_name is None:
        raise click.UsageError("Explain what? Give an ID, --service or both.")

    from resroute.cli.explaining import print_explanation
    from resroute.cli.interrupts import run

    return run(
        lambda interruption: print_explanation(
            url, resource_id, service_name, interruption, as_json=as_json, token=token
        )
    )
