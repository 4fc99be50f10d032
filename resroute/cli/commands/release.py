"""``resroute release``."""

import click

from resroute.cli.commands.options import TEXT, json_option, router_options
from resroute.cli.exits import FINDING_CODES, epilog


@click.command(
    epilog=epilog(FINDING_CODES), short_help="Take resources away from their owners, as an administrator."
)
@click.argument("resource_ids", metavar="ID...", nargs=-1, required=True, type=TEXT)
@click.option("--partial", is_flag=True, help="Release those that somebody owns, where nobody owns the rest.")
@json_option("Print one JSON object in one line.")
@router_options
def release(resource_ids: tuple[str, ...], partial: bool, as_json: bool, url: str, token: str | None) -> int:
    """Have nobody own the resources ID... any more: all of them or none. Their owners are told that they have lost them.

    Only administrators may. (What `resroute hold` holds is released when that ends.)

    \b
      resroute release doc:1 doc:2
    """
    from resroute.cli.interrupts import run
    from resroute.cli.releasing import release_resources

    return run(
        lambda interruption: release_resources(
            url, resource_ids, interruption, partial=partial, as_json=as_json, token=token
        )
    )
