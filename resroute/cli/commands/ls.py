"""``resroute ls``."""

from typing import Literal

import click

from resroute.cli.commands.options import TEXT, json_option, url_option
from resroute.cli.exits import ASKING_CODES, epilog


@click.command(epilog=epilog(ASKING_CODES), short_help="List resources or instances.")
@click.argument("what", type=click.Choice(["resources", "instances"]), default="resources")
@click.option("--service", "service_name", metavar="NAME", type=TEXT, help="Only those of this service.")
@click.option(
    "--instance", "instance_id", metavar="ID", type=TEXT, help="Only this instance, or what it owns."
)
@click.option(
    "--resource",
    "resource_ids",
    metavar="ID",
    type=TEXT,
    multiple=True,
    help="Only this resource; repeatable.",
)
@click.option(
    "--limit", metavar="NUMBER", type=click.IntRange(min=1), help="At most so many.  [default: all]"
)
@json_option("Print one JSON object a line.")
@url_option
def ls(
    what: Literal["resources", "instances"],
    service_name: str | None,
    instance_id: str | None,
    resource_ids: tuple[str, ...],
    limit: int | None,
    as_json: bool,
    url: str,
) -> int:
    """List the resources that have an owner, or the instances that are connected, in the order of their ids.

    \b
      resroute ls
      resroute ls instances --service images
      resroute ls --json | jq -r .resource_id
    """
    if resource_ids and what == "instances":
        raise click.UsageError("--resource goes with resources, not with instances.")

    from resroute.cli.interrupts import run
    from resroute.cli.lists import Filters, print_list

    filters = Filters(service_name, instance_id, resource_ids, limit)
    return run(lambda interruption: print_list(what, url, filters, interruption, as_json=as_json))
