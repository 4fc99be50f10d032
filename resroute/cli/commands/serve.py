"""``resroute serve``."""

import os

import click

from resroute.cli.commands.options import setting_options
from resroute.cli.exits import MISTAKE, SERVE_CODES, epilog
from resroute.cli.output import complain


@click.command(epilog=epilog(SERVE_CODES))
@setting_options
def serve(config: str | None, **options: str | None) -> int:
    """Run a router until SIGTERM or Ctrl-C.

    Every setting can stand in the file (as `heartbeat.interval_seconds`) and in the environment (as
    RESROUTE_HEARTBEAT_INTERVAL_SECONDS; lists with commas). Options win over the environment, and that wins
    over the file. `resroute config` shows what comes of it.

    The first signal lets calls in flight finish for `drain_seconds`; a second one ends the router at once.
    SIGHUP has it read the file again: `log_level`, `allowed_origins` and `drain_seconds` change while it runs,
    and the log says which others need a restart.
    """
    from resroute.cli.sources import SettingsMistake, Sources

    sources = Sources(
        options={name: value for name, value in options.items() if value is not None},
        environ=dict(os.environ),
        config=config,
    )
    try:
        settings = sources.load().settings
    except SettingsMistake as mistake:
        complain(str(mistake))
        return MISTAKE

    from resroute.cli.serving import run

    return run(settings, sources)
