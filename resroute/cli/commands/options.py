"""Arguments and options that several commands have."""

from collections.abc import Callable
from typing import Protocol, get_args

import attrs
import click

from resroute.settings import LogLevel, Settings

DEFAULT_URL = f"ws://{Settings().host}:{Settings().port}/"


class _Decorator(Protocol):
    """Adds an option to a command."""

    def __call__[F: Callable[..., object]](self, command: F, /) -> F: ...


class _Text(click.ParamType[str]):
    """Text that can be sent. What was typed in another encoding than UTF-8 cannot."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail("it is not valid UTF-8.", param, ctx)
        return value


TEXT = _Text()


def _checked_url(ctx: click.Context, _param: click.Parameter, url: str) -> str:
    if not ctx.resilient_parsing:  # it is for a shell's completion
        from resroute.client.address import parse_url

        try:
            address = parse_url(url)
        except ValueError as mistake:
            raise click.UsageError(f"{mistake}.") from mistake
        if address.target.startswith(("/resources/", "/services/")):
            raise click.UsageError(
                f"{url!r} is for programs that know nothing of a router; this one needs the router's own URL, "
                "without the path."
            )
    return url


def url_option[F: Callable[..., object]](command: F) -> F:
    """``--url``: where the router is."""
    return click.option(
        "--url",
        metavar="URL",
        type=TEXT,
        default=DEFAULT_URL,
        envvar="RESROUTE_URL",
        callback=_checked_url,
        show_default=True,
        show_envvar=True,
        help="Where the router is.",
    )(command)


def json_option(text: str) -> _Decorator:
    """``--json``: for programs instead of people."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def _setting(name: str, metavar: str, text: str) -> _Decorator:
    """An option for a setting. Its value stays text here: settings are checked where all of them come together."""
    default = attrs.fields_dict(Settings)[name].default
    shown = "" if default is None else f"  [default: {default}]"
    return click.option(f"--{name.replace('_', '-')}", name, metavar=metavar, help=text + shown)


_SETTING_OPTIONS: tuple[_Decorator, ...] = (
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


def setting_options[F: Callable[..., object]](command: F) -> F:
    """The settings that are options too, each by its own name, and ``--config``."""
    for option in reversed(_SETTING_OPTIONS):
        command = option(command)
    return command
