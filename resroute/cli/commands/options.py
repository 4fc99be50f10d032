"""Arguments and options that several commands have."""

import functools
import os
from collections.abc import Callable, Set
from typing import Literal, Protocol, get_args

import attrs
import click

from resroute.cli.exits import MISTAKE
from resroute.cli.output import complain
from resroute.settings import LogLevel, Settings, is_loopback

DEFAULT_URL = f"ws://{Settings().host}:{Settings().port}/"
DEFAULT_ADMIN_URL = f"http://{Settings().admin_host}:{Settings().admin_port}/"


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


_Way = Literal["session", "admin API"]
"""To a router: at its own port, or at that of its administrators."""

_SESSION: frozenset[_Way] = frozenset({"session"})
_ADMIN_API: frozenset[_Way] = frozenset({"admin API"})
_BOTH = _SESSION | _ADMIN_API


def _check_url(url: str, ways: Set[_Way], where: str = "") -> str:
    """See to it that a URL leads to a router by one of these ways, and return its host."""
    from resroute.cli.remote.address import is_admin_url, parse_admin_url
    from resroute.client.address import parse_url

    is_admin = is_admin_url(url)
    if is_admin and "admin API" not in ways:
        raise click.UsageError(
            f"{url!r} leads to an admin API, and this needs the router's own port, at a URL that begins with "
            f"ws:// or wss://{where}."
        )
    if "://" in url and not is_admin and not url.lower().startswith(("ws://", "wss://")):
        raise click.UsageError(
            f"{url!r} is no URL of a router: it begins with ws://, wss://, http:// or https://{where}."
        )
    try:
        address = parse_admin_url(url) if is_admin else parse_url(url)
    except ValueError as mistake:
        raise click.UsageError(f"{mistake}{where}.") from mistake
    if not is_admin and "session" not in ways:
        raise click.UsageError(
            f"{url!r} leads to the router's own port, and this is to be had at its admin API only, at a URL that "
            f"begins with http:// or https://{where}."
        )
    if not is_admin and address.target.startswith(("/resources/", "/services/")):
        raise click.UsageError(
            f"{url!r} is for programs that know nothing of a router; this one needs the router's own URL, "
            f"without the path{where}."
        )
    return address.host


def _warn_of_plain_token(url: str, host: str) -> None:
    if url.lower().startswith(("ws://", "http://")) and not is_loopback(host):
        complain(f"warning: the token travels to {host} unprotected: wss:// and https:// protect it")


def _complete_profile(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from resroute.cli.profiles import profile_names

    return [name for name in profile_names(os.environ) if name.startswith(incomplete)]


def _router_options(default_url: str) -> tuple[_Decorator, ...]:
    return (
        click.option(
            "--url",
            metavar="URL",
            type=TEXT,
            envvar="RESROUTE_URL",
            show_envvar=True,
            help=f"Where the router is.  [default: the profile's, or {default_url}]",
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


class _WrongTarget(click.ClickException):
    """A profile or a token file is not as it should be."""

    exit_code = MISTAKE


@attrs.frozen
class RouterChoice:
    """What was said of the router that a command is to ask."""

    _url: str | None
    _profile: str | None
    _token_file: str | None
    _ways: Set[_Way]
    _default_url: str

    @property
    def was_made(self) -> bool:
        """Whether it was said now, and not once for all commands."""
        return any(is_from_command_line(name) for name in ("url", "profile"))

    def target(self) -> tuple[str, str | None]:
        """The URL and the token that come of it.

        Raises:
            click.ClickException: there are none to be had, or the URL leads to no router, or not by one of the ways.
        """
        from resroute.cli.profiles import ProfileMistake, choose_target

        if self._url is not None:
            _check_url(self._url, self._ways)
        # who names a profile now means its router, whatever the environment says of all commands
        prefer_profile = is_from_command_line("profile") and not is_from_command_line("url")
        try:
            target = choose_target(
                self._url, self._profile, self._token_file, os.environ, prefer_profile=prefer_profile
            )
        except ProfileMistake as mistake:
            raise _WrongTarget(str(mistake)) from mistake
        chosen = target.url or self._default_url
        host = _check_url(
            chosen, self._ways, "" if target.url in (None, self._url) else " (from the profile)"
        )
        if target.token is not None:
            _warn_of_plain_token(chosen, host)
        return chosen, target.token


def is_from_command_line(name: str) -> bool:
    """Whether an option of the command that runs was given now, and not by a variable."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _with_choice(command: Callable[..., int], ways: Set[_Way], default_url: str) -> Callable[..., int]:
    @functools.wraps(command)
    def with_choice(
        *arguments: object, url: str | None, profile: str | None, token_file: str | None, **options: object
    ) -> int:
        choice = RouterChoice(url, profile, token_file, ways, default_url)
        return command(*arguments, choice=choice, **options)

    decorated: Callable[..., int] = with_choice
    for option in reversed(_router_options(default_url)):
        decorated = option(decorated)
    return decorated


def _with_router(command: Callable[..., int], ways: Set[_Way], default_url: str) -> Callable[..., int]:
    @functools.wraps(command)
    def with_target(*arguments: object, choice: RouterChoice, **options: object) -> int:
        url, token = choice.target()
        return command(*arguments, url=url, token=token, **options)

    return _with_choice(with_target, ways, default_url)


def router_options(command: Callable[..., int]) -> Callable[..., int]:
    """``--url``, ``--profile`` and ``--token-file``: the command is given ``url`` and ``token`` that come of them."""
    return _with_router(command, _BOTH, DEFAULT_URL)


def session_options(command: Callable[..., int]) -> Callable[..., int]:
    """The same for a command that needs a session: the URL is that of the router's own port."""
    return _with_router(command, _SESSION, DEFAULT_URL)


def admin_options(command: Callable[..., int]) -> Callable[..., int]:
    """The same for a command that needs the admin API."""
    return _with_router(command, _ADMIN_API, DEFAULT_ADMIN_URL)


def admin_choice(command: Callable[..., int]) -> Callable[..., int]:
    """The same for one that needs it only if no file is given: the command is given a ``choice`` and asks that itself."""
    return _with_choice(command, _ADMIN_API, DEFAULT_ADMIN_URL)


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
