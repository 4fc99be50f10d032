"""Options that several commands have."""

from collections.abc import Callable
from typing import get_args

import attrs
import click

from resroute.settings import LogLevel, Settings

DEFAULT_URL = f"ws://{Settings().host}:{Settings().port}/"

type _Decorator[F: Callable[..., object]] = Callable[[F], F]


def url_option[F: Callable[..., object]](command: F) -> F:
    """``--url``: where the router is."""
    return click.option(
        "--url",
        metavar="URL",
        default=DEFAULT_URL,
        envvar="RESROUTE_URL",
        show_default=True,
        show_envvar=True,
        help="Where the router is.",
    )(command)


def json_option[F: Callable[..., object]](text: str) -> _Decorator[F]:
    """``--json``: for programs instead of people."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def _setting[F: Callable[..., object]](name: str, metavar: str, text: str) -> _Decorator[F]:
    """An option for a setting. Its value stays text here: settings are checked where all of them come together."""
    default = attrs.fields_dict(Settings)[name].default
    shown = "" if default is None else f"  [default: {default}]"
    return click.option(f"--{name.replace('_', '-')}", name, metavar=metavar, help=text + shown)


def setting_options[F: Callable[..., object]](command: F) -> F:
    """The settings that are options too, each by its own name, and ``--config``."""
    for option in reversed(
        (
            _setting("host", "ADDRESS", "Where to listen for sessions."),
            _setting("port", "NUMBER", "Its port; 0 takes any free one."),
            _setting("admin_host", "ADDRESS", "Where the admin pages are."),
            _setting("admin_port", "NUMBER", "Their port; 0 takes any free one."),
            _setting("data_dir", "FOLDER", "Keep on disk here what outlives the router."),
            _setting("log_level", "LEVEL", f"One of {', '.join(get_args(LogLevel))}."),
            click.option(
                "--config",
                metavar="FILE",
                type=click.Path(),  # so that shells complete it
                envvar="RESROUTE_CONFIG",
                show_envvar=True,
                help="Read settings from the [resroute] table of this TOML file.",
            ),
        )
    ):
        command = option(command)
    return command
