"""``resroute ls``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from resroute.cli.commands.options import TEXT, json_option, router_options
from resroute.cli.exits import ASKING_CODES, epilog

if TYPE_CHECKING:
    from resroute.cli.lists import Listed


_WHAT: Sequence[str] = ("resources", "instances", "services", "busiest", "unowned", "conflicts")


@click.command(epilog=epilog(ASKING_CODES), short_help="List resources, instances or services.")
@click.argument("what", type=click.Choice(_WHAT), default="resources")
@click.option("--service", "service_name", metavar="NAME", type=TEXT, help="Only those of this service.")
@click.option(
    "--instance", "instance_id", metavar="ID", type=TEXT, help="Only this instance, or what it owns."
)
@click.option(
    "--resource",
    "--id",
    "resource_ids",
    metavar="ID",
    type=TEXT,
    multiple=True,
    help="Only this resource; repeatable.",
)
@click.option("--type", "resource_type", metavar="TYPE", type=TEXT, help="Only those of this type.")
@click.option(
    "--tag",
    "tags",
    metavar="TAG",
    type=TEXT,
    multiple=True,
    help="Only those with this tag; repeatable: with all.",
)
@click.option("--prefix", metavar="TEXT", type=TEXT, help="Only those whose id begins with this.")
@click.option(
    "--limit", metavar="NUMBER", type=click.IntRange(min=1), help="At most so many.  [default: all]"
)
@json_option("Print one JSON object a line.")
@router_options
def ls(
    what: "Listed",
    service_name: str | None,
    instance_id: str | None,
    resource_ids: tuple[str, ...],
    resource_type: str | None,
    tags: tuple[str, ...],
    prefix: str | None,
    limit: int | None,
    as_json: bool,
    url: str,
    token: str | None,
) -> int:
    """List the resources that have an owner, the instances that are connected, or the services that these are of, in
    the order of their ids. Or the resources that stand out, most first: those that are `busiest`, those that are called
    while they are `unowned`, and those that others want to register, for `conflicts`.

    \b
      resroute ls
      resroute ls --type page --tag draft --tag eu
      resroute ls --prefix user: --limit 20
      resroute ls instances --service images
      resroute ls unowned --limit 10
      resroute ls --json | jq -r .resource_id
    """
    if what != "resources":
        of_others: dict[str, object] = {
            "--resource": resource_ids,
            "--type": resource_type,
            "--tag": tags,
            "--prefix": prefix,
        }
        if what != "instances":
            of_others["--instance"] = instance_id
        if what not in ("instances", "services"):
            of_others["--service"] = service_name
        for option, value in of_others.items():
            if value not in (None, ()):
                raise click.UsageError(f"{option} goes with resources, not with {what}.")

    from resroute.cli.interrupts import run
    from resroute.cli.lists import Filters, print_list

    filters = Filters(service_name, instance_id, resource_ids, resource_type, tags, prefix, limit)
    return run(
        lambda interruption: print_list(what, url, filters, interruption, as_json=as_json, token=token)
    )
