"""Arguments and options that several commands have."""

import functools
import os
from collections.abc import Callable
from typing import Protocol, get_args

import attrs
import click

from resroute.cli.exits import MISTAKE
from resroute.cli.output import complain
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


def _check_url(url: str, where: str = "") -> None:
    from resroute.client.address import parse_url

    try:
        address = parse_url(url)
    except ValueError as mistake:
        raise click.UsageError(f"{mistake}{where}.") from mistake
    if address.target.startswith(("/resources/", "/services/")):
        raise click.UsageError(
            f"{url!r} is for programs that know nothing of a router; this one needs the router's own URL, "
            f"without the path{where}."
        )


def _complete_profile(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from resroute.cli.profiles import profile_names

    return [name for name in profile_names(os.environ) if name.startswith(incomplete)]


_COMMANDLINE = click.core.ParameterSource.COMMANDLINE

_ROUTER_OPTIONS: tuple[_Decorator, ...] = (
    click.option(
        "--url",
        metavar="URL",
        type=TEXT,
        envvar="RESROUTE_URL",
        show_envvar=True,
        help=f"Where the router is.  [default: the profile's, or {DEFAULT_URL}]",
    ),
    click.option(
        "--profile",
        metavar="NAME",
        type=TEXT,
        envvar="RESROUTE_PROFILE",
        show_envvar=True,
        shell_complete=_complete_profile,
        help="Take URL and token from this profile.  [default: 'default', where there is no --url]",
    ),
    click.option(
        "--token-file",
        metavar="FILE",
        type=click.Path(),  # so that shells complete it
        envvar="RESROUTE_TOKEN_FILE",
        show_envvar=True,
        help="Show the router the token in this file.  [default: the profile's, or none]",
    ),
)


def router_options(command: Callable[..., int]) -> Callable[..., int]:
    """``--url``, ``--profile`` and ``--token-file``: the command is given ``url`` and ``token`` that come of them."""

    @functools.wraps(command)
    def with_target(
        *arguments: object, url: str | None, profile: str | None, token_file: str | None, **options: object
    ) -> int:
        from resroute.cli.profiles import ProfileMistake, choose_target

        if url is not None:
            _check_url(url)
        # who names a profile now means its router, whatever the environment says of all commands
        source = click.get_current_context().get_parameter_source
        prefer_profile = source("profile") is _COMMANDLINE and source("url") is not _COMMANDLINE
        try:
            target = choose_target(url, profile, token_file, os.environ, prefer_profile=prefer_profile)
        except ProfileMistake as mistake:
            complain(str(mistake))
            return MISTAKE
        if target.url is not None and target.url != url:
            _check_url(target.url, " (from the profile)")
        return command(*arguments, url=target.url or DEFAULT_URL, token=target.token, **options)

    decorated: Callable[..., int] = with_target
    for option in reversed(_ROUTER_OPTIONS):
        decorated = option(decorated)
    return decorated


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
