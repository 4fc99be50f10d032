"""``resroute kick``."""

import click

from resroute.cli.commands.options import TEXT, json_option, router_options
from resroute.cli.exits import MOVING_CODES, epilog


@click.command(epilog=epilog(MOVING_CODES), short_help="End a session, as an administrator.")
@click.argument("session_id", metavar="[SESSION]", type=TEXT, required=False)
@click.option("--instance", "instance_id", metavar="ID", type=TEXT, help="End the session of this instance.")
@click.option(
    "--reason",
    metavar="TEXT",
    type=TEXT,
    default="ended on the command line",
    show_default=True,
    help="For people: the session is told, and the audit log has it.",
)
@json_option("Print one JSON object in one line.")
@router_options
def kick(
    session_id: str | None, instance_id: str | None, reason: str, as_json: bool, url: str, token: str | None
) -> int:
    """End a session: its connection is closed with 4010, which says not to come back.

    All that it owned is free, and calls that it was handed fail. Only administrators may. Where calls are not to fail,
    `resroute drain` the instance first.

    \b
      resroute kick session-51d30e135b09c262
      resroute kick --instance documents-1 --reason 'it writes nonsense'
    """
    if (session_id is None) == (instance_id is None):
        raise click.UsageError("End which? Give a SESSION or an --instance.")
    from resroute.cli.interrupts import run
    from resroute.cli.moving import end_session

    return run(
        lambda interruption: end_session(
            url,
            interruption,
            session_id=session_id,
            instance_id=instance_id,
            reason=reason,
            as_json=as_json,
            token=token,
        )
    )
