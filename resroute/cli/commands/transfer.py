"""``resroute transfer``."""

import click

from resroute.cli.commands.options import TEXT, json_option, router_options
from resroute.cli.exits import MOVING_CODES, epilog


@click.command(
    epilog=epilog(MOVING_CODES),
    short_help="Hand resources from one instance to another, as an administrator.",
)
@click.argument("resource_ids", metavar="ID...", nargs=-1, required=True, type=TEXT)
@click.option("--to", metavar="INSTANCE", type=TEXT, required=True, help="Who is to own them.")
@click.option(
    "--from",
    "source",
    metavar="INSTANCE",
    type=TEXT,
    help="Only if this instance owns them.  [default: whoever does]",
)
@click.option(
    "--reason",
    metavar="TEXT",
    type=TEXT,
    default="asked for on the command line",
    show_default=True,
    help="For people: the owner is told, and the audit log has it.",
)
@click.option("--partial", is_flag=True, help="Hand over what can be, where the rest cannot.")
@json_option("Print one JSON object in one line.")
@router_options
def transfer(
    resource_ids: tuple[str, ...],
    to: str,
    source: str | None,
    reason: str,
    partial: bool,
    as_json: bool,
    url: str,
    token: str | None,
) -> int:
    """Hand the resources ID... to another instance: all of them or none. Calls go on, and none is lost.

    Only administrators may. Calls that the owner was handed stay with it; later ones go to the new one. What an
    instance keeps in its memory for a resource does not travel with it: it can hand that over only itself.

    \b
      resroute transfer doc:1 doc:2 --to documents-2
      resroute transfer doc:1 --from documents-1 --to documents-2 --reason 'documents-1 is too busy'
    """
    from resroute.cli.interrupts import run
    from resroute.cli.moving import transfer_resources

    return run(
        lambda interruption: transfer_resources(
            url,
            resource_ids,
            interruption,
            to=to,
            source=source,
            reason=reason,
            partial=partial,
            as_json=as_json,
            token=token,
        )
    )
