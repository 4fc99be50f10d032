"""The command line.

Exit codes: 0 after a clean stop, 1 if the router could not start, 2 for a mistake in what was asked for, 70
if the router had to give up because its own state could not be trusted any more, 130 for an early Ctrl-C.

What a command needs is imported when it runs, so that ``resroute --version`` and ``--help`` answer at once.
"""

import importlib.metadata
import os
import sys
from collections.abc import Callable
from typing import get_args

import attrs
import click
from click.exceptions import NoArgsIsHelpError

from resroute.settings import LogLevel, Settings

CANNOT_START = 1
MISTAKE = 2
FAULT = 70
INTERRUPTED = 130


def main() -> None:
    """Run the command line of this process, and exit."""
    try:
        code = cli.main(prog_name="resroute", standalone_mode=False)
    except NoArgsIsHelpError as mistake:
        mistake.show()
        code = mistake.exit_code
    except click.UsageError as mistake:
        path = mistake.ctx.command_path if mistake.ctx else "resroute"
        _complain(f"{mistake.format_message()} Try '{path} --help'.")
        code = mistake.exit_code
    except click.ClickException as mistake:
        _complain(mistake.format_message())
        code = mistake.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    sys.exit(code)


def _complain(line: str) -> None:
    click.echo(f"resroute: {line}", err=True)


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        try:
            version = importlib.metadata.version("resroute")
        except importlib.metadata.PackageNotFoundError:
            version = "(not installed)"
        click.echo(f"resroute {version}")
        ctx.exit()


@click.group()
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """A router for calls to resources, over WebSocket and JSON-RPC."""


def _setting[F: Callable[..., object]](name: str, metavar: str, text: str) -> Callable[[F], F]:
    """An option for a setting. Its value stays text here: settings are checked where all of them come together."""
    default = attrs.fields_dict(Settings)[name].default
    shown = "" if default is None else f"  [default: {default}]"
    return click.option(f"--{name.replace('_', '-')}", name, metavar=metavar, help=text + shown)


@cli.command()
@_setting("host", "ADDRESS", "Where to listen for sessions.")
@_setting("port", "NUMBER", "Its port; 0 takes any free one.")
@_setting("admin_host", "ADDRESS", "Where the admin pages are.")
@_setting("admin_port", "NUMBER", "Their port; 0 takes any free one.")
@_setting("data_dir", "FOLDER", "Keep on disk here what outlives the router.")
@_setting("log_level", "LEVEL", f"One of {', '.join(get_args(LogLevel))}.")
@click.option(
    "--config",
    metavar="FILE",
    envvar="RESROUTE_CONFIG",
    show_envvar=True,
    help="Read settings from the [resroute] table of this TOML file.",
)
def serve(config: str | None, **options: str | None) -> int:
    """Run a router until SIGTERM or Ctrl-C.

    Every setting can stand in the file (as `heartbeat.interval_seconds`) and in the environment (as
    RESROUTE_HEARTBEAT_INTERVAL_SECONDS; lists with commas). Options win over the environment, and that wins
    over the file.

    The first signal lets calls in flight finish for `drain_seconds`; a second one ends the router at once.

    \b
    Exit codes:
      0      it was told to stop, and did
      1      it could not start, for example because a port is in use
      2      an option or a setting is wrong
      70     it gave up because its own state could not be trusted any more
      128+N  a second signal, of number N, ended it at once
    """
    from resroute.cli.sources import SettingsMistake, load_settings

    given = {name: value for name, value in options.items() if value is not None}
    try:
        settings = load_settings(options=given, environ=os.environ, config=config)
    except SettingsMistake as mistake:
        _complain(str(mistake))
        return MISTAKE

    from resroute.cli.serving import run

    return run(settings)
