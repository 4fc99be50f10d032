"""``resroute hold``."""

import click

from resroute.cli.commands.options import TEXT, session_options
from resroute.cli.exits import HOLD_CODES, epilog


@click.command(epilog=epilog(HOLD_CODES), short_help="Own resources, and answer calls.")
@click.argument("resource_ids", metavar="[ID]...", nargs=-1, type=TEXT)
@click.option(
    "--service", "service_name", metavar="NAME", type=TEXT, required=True, help="Be of this service."
)
@click.option(
    "--instance", "instance_id", metavar="ID", type=TEXT, help="Be this instance.  [default: a new name]"
)
@click.option("--exec", "command", metavar="CMD", help="Answer each call by running this shell command.")
@click.option(
    "--jobs",
    metavar="NUMBER",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Run so many commands at a time; other calls wait, in order.",
)
@click.option("--partial", is_flag=True, help="Take what is free, where others own the rest.")
@click.option(
    "--wait",
    "wait_seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Wait so long, in line with others, until all of it is to be had.",
)
@click.option(
    "--drain-seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=25.0,
    show_default=True,
    help="How long it may take to stop.",
)
@session_options
def hold(
    resource_ids: tuple[str, ...],
    service_name: str,
    instance_id: str | None,
    command: str | None,
    jobs: int,
    partial: bool,
    wait_seconds: float,
    drain_seconds: float,
    url: str,
    token: str | None,
) -> int:
    """Be an instance that owns the resources ID... and answers calls, until Ctrl-C.

    It prints what it holds, and later what it loses. Without --exec a call is answered with what it was: method,
    params, resource. Without any ID the instance answers calls to its service only.

    \b
      resroute hold doc:1 doc:2 --service documents
      resroute hold leader --service workers --wait 60
      resroute hold --service hashes --exec 'jq .params.text | sha256sum | jq -R .'

    The command gets the call on stdin, as {"method": ..., "params": ...}, and prints the result on stdout: JSON,
    or nothing for null. If it fails, the caller gets an error with the last line of its stderr. It is killed when
    its caller cancels or leaves, and at the end of the call's time. In its environment are
    RESROUTE_TRACE_ID and, if it was called by resource, RESROUTE_RESOURCE_ID and RESROUTE_EPOCH (the fencing
    token).

    The first signal (SIGTERM, or Ctrl-C) hands everything over to other instances of the service, or releases what
    nobody can take, and lets calls at work finish; a second one cuts them off.
    """
    if partial and wait_seconds:
        raise click.UsageError("--partial takes what is free at once: it cannot --wait for the rest.")
    from resroute.cli.holding import Wishes, hold_resources
    from resroute.cli.interrupts import run

    wishes = Wishes(
        service_name, resource_ids, instance_id, partial, wait_seconds, command, jobs, drain_seconds
    )
    return run(lambda interruption: hold_resources(url, wishes, interruption, token=token))
