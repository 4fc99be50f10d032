"""``resroute serve``."""

import functools
import os

import click

from resroute.cli.commands.options import setting_options
from resroute.cli.exits import MISTAKE, SERVE_CODES, epilog
from resroute.cli.output import complain


@click.command(epilog=epilog(SERVE_CODES), short_help="Run a router.")
@setting_options
def serve(config: str | None, **options: str | None) -> int:
    """Run a router until SIGTERM or Ctrl-C.

    Every setting can stand in the file (as `heartbeat.interval_seconds`) and in the environment (as
    RESROUTE_HEARTBEAT_INTERVAL_SECONDS; lists with commas). Options win over the environment, and that wins
    over the file. `resroute config` shows what comes of it.

    The first signal lets calls in flight finish for `drain_seconds`; a second one ends the router at once.

    SIGHUP has it read the file again. `log_level`, `allowed_origins`, `drain_seconds`, `audit_retention_days`,
    `audit_max_bytes`, and the tokens and the certificate of the admin port change while it runs; the log says what
    has changed, and which settings wait for a restart.
    """
    from resroute.cli.sources import SettingsMistake, load_settings

    given = {name: value for name, value in options.items() if value is not None}
    load = functools.partial(load_settings, options=given, environ=dict(os.environ), config=config)
    try:
        settings = load().settings
    except SettingsMistake as mistake:
        complain(str(mistake))
        return MISTAKE

    from resroute.cli.serving import run

    return run(settings, lambda: load().settings)
