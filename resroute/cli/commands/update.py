"""``resroute update``."""

import click

from resroute.cli.commands.options import TEXT, json_option, router_options
from resroute.cli.exits import UPDATE_CODES, epilog


@click.command(
    epilog=epilog(UPDATE_CODES), short_help="Say something else of a resource, as an administrator."
)
@click.argument("resource_id", metavar="ID", type=TEXT)
@click.option(
    "--metadata",
    metavar="JSON",
    required=True,
    help="What to say of it: an object with resource_type, tags, attributes, priority, ttl_seconds; - reads it from stdin.",
)
@click.option(
    "--merge", is_flag=True, help="Leave what is not given as it is.  [default: nothing else stays]"
)
@click.option(
    "--expected-version",
    metavar="NUMBER",
    type=click.IntRange(min=0),
    help="Only if this is still the version of what is said of it.",
)
@json_option("Print the resource as one JSON object in one line.")
@router_options
def update(
    resource_id: str,
    metadata: str,
    merge: bool,
    expected_version: int | None,
    as_json: bool,
    url: str,
    token: str | None,
) -> int:
    """Replace the metadata of the resource ID, whoever owns it. Only administrators may.

    `resroute show` tells the version. With --expected-version nobody's change is overwritten unseen.

    \b
      resroute update doc:1 --metadata '{"tags": ["draft"], "priority": 2}'
      resroute update doc:1 --merge --metadata '{"tags": []}' --expected-version 4
    """
    from resroute.cli.interrupts import run
    from resroute.cli.params import NotParams, read_params
    from resroute.cli.updating import update_metadata

    given = read_params(metadata, "--metadata")
    if not isinstance(given, dict):
        raise NotParams("--metadata must be a JSON object, not a list.")
    return run(
        lambda interruption: update_metadata(
            url,
            resource_id,
            given,
            interruption,
            merge=merge,
            expected_version=expected_version,
            as_json=as_json,
            token=token,
        )
    )
