"""``resroute drain``."""

import click

from resroute.cli.commands.options import TEXT, json_option, router_options
from resroute.cli.exits import MOVING_CODES, epilog


@click.command(
    epilog=epilog(MOVING_CODES),
    short_help="Have an instance hand all that it owns over, as an administrator.",
)
@click.argument("instance_id", metavar="INSTANCE", type=TEXT)
@click.option(
    "--to",
    "heirs",
    metavar="INSTANCE",
    type=TEXT,
    multiple=True,
    help="Who gets it; repeatable.  [default: all others of its service]",
)
@click.option("--to-nobody", is_flag=True, help="Release all of it instead.")
@click.option(
    "--deadline",
    "deadline_seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Release what is not handed over by then.",
)
@click.option(
    "--batch-size",
    metavar="NUMBER",
    type=click.IntRange(min=1, max=1000),
    default=100,
    show_default=True,
    help="Move so many at a time.",
)
@json_option("Print one JSON object in one line.")
@router_options
def drain(
    instance_id: str,
    heirs: tuple[str, ...],
    to_nobody: bool,
    deadline_seconds: float | None,
    batch_size: int,
    as_json: bool,
    url: str,
    token: str | None,
) -> int:
    """Have INSTANCE get nothing new from now on, and hand all that it owns to the others of its service.

    Whoever owns least gets the next; what finds nobody is released. Calls go on, and none is lost: those that the
    instance was handed stay with it. It stays connected until it leaves by itself, and gets nothing more until then.

    Only administrators may. The router moves what an instance owns, and not what it keeps in its memory for that:
    an instance that is told to stop (SIGTERM) can hand that over itself.

    \b
      resroute drain documents-1
      resroute drain documents-1 --to documents-2 --to documents-3 --deadline 30

    A signal leaves the rest with the instance.
    """
    if heirs and to_nobody:
        raise click.UsageError("--to somebody, or --to-nobody: not both.")
    from resroute.cli.interrupts import run
    from resroute.cli.moving import drain_instance

    return run(
        lambda interruption: drain_instance(
            url,
            instance_id,
            interruption,
            hand_over_to="nobody" if to_nobody else heirs or "service",
            deadline_seconds=deadline_seconds,
            batch_size=batch_size,
            as_json=as_json,
            token=token,
        )
    )
