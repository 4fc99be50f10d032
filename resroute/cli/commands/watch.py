"""``resroute watch``."""

import click

from resroute.cli.commands.options import TEXT, json_option, router_options
from resroute.cli.exits import WATCH_CODES, epilog


@click.command(epilog=epilog(WATCH_CODES), short_help="Print what becomes of resources.")
@click.option("--service", "service_name", metavar="NAME", type=TEXT, help="Only those of this service.")
@click.option("--instance", "instance_id", metavar="ID", type=TEXT, help="Only those of this instance.")
@click.option(
    "--resource",
    "resource_ids",
    metavar="ID",
    type=TEXT,
    multiple=True,
    help="Only this resource; repeatable.",
)
@click.option("--type", "resource_type", metavar="TYPE", type=TEXT, help="Only those of this type.")
@click.option(
    "--tag", "tags", metavar="TAG", type=TEXT, multiple=True, help="Only those with this tag; repeatable."
)
@click.option("--prefix", metavar="TEXT", type=TEXT, help="Only those whose id begins with this.")
@click.option(
    "--from-revision",
    metavar="NUMBER",
    type=click.IntRange(min=0),
    help="Go on after this revision.  [default: now]",
)
@json_option("Print one JSON object a line.")
@router_options
def watch(
    service_name: str | None,
    instance_id: str | None,
    resource_ids: tuple[str, ...],
    resource_type: str | None,
    tags: tuple[str, ...],
    prefix: str | None,
    from_revision: int | None,
    as_json: bool,
    url: str,
    token: str | None,
) -> int:
    """Print each change of the resources that match before it or after it, until SIGTERM or Ctrl-C.

    At the end it says on stderr from which revision another watch goes on.

    \b
      resroute watch --service images
      resroute watch --prefix doc: --json | jq -r 'select(.event == "released").resource.resource_id'
    """
    from resroute.cli.interrupts import run
    from resroute.cli.watching import Wanted, print_events

    wanted = Wanted(service_name, instance_id, resource_ids, resource_type, tags, prefix)
    return run(
        lambda interruption: print_events(
            url, wanted, interruption, from_revision=from_revision, as_json=as_json, token=token
        )
    )
