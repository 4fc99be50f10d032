"""Which router a command talks to, and with which token: options and variables first, then a profile in a TOML file.

A token comes from a file and from nowhere else, so that neither a list of processes nor an environment shows it, and
no text here repeats it.
"""

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from resroute.cli.output import complain

DEFAULT_PROFILE = "default"
"""The profile of whoever names none, and no URL either."""

MAX_TOKEN_BYTES = 16_384
"""No token is longer; what is, is another file given by mistake."""

_PLACE = Path("resroute", "profiles.toml")
_KEYS = ("url", "token_file")


class ProfileMistake(Exception):
    """Something is wrong with a profile or a token file; the text is one line for the person who wrote it."""


@attrs.frozen
class Target:
    """A router, and what to show it. Where it is None, nothing was said of it."""

    url: str | None = None
    token: str | None = attrs.field(default=None, repr=False)


def choose_target(
    url: str | None,
    profile: str | None,
    token_file: str | None,
    environ: Mapping[str, str],
    *,
    prefer_profile: bool = False,
) -> Target:
    """Put together what was given and what stands in the profile. What was given wins.

    The token of a profile that names a router is for that router: it goes to no other one.

    Args:
        url: where the router is, if that was given.
        profile: the profile's name. Without one and without ``url`` it is ``default``, if there is such a profile.
        token_file: a file that holds the token, if that was given.
        environ: the environment, for where the profiles are.
        prefer_profile: the URL in the profile wins over ``url``.

    Raises:
        ProfileMistake: there is no such profile, or it or the token file is not as it should be.
    """
    of_profile: dict[str, str] = {}
    if profile is not None or url is None:
        of_profile = _read_profile(profile, environ)
    its_url = of_profile.get("url")
    if url is None or (prefer_profile and its_url is not None):
        url = its_url
    if token_file is None and its_url in (None, url):
        token_file = of_profile.get("token_file")
    return Target(url, None if token_file is None else _read_token(_path(token_file)))


def profile_names(environ: Mapping[str, str]) -> list[str]:
    """The names of all profiles, for whoever is to choose one; none where they cannot be read."""
    try:
        return _names(_read_tables(profiles_path(environ)))
    except (OSError, ProfileMistake):
        return []


def profiles_path(environ: Mapping[str, str]) -> Path:
    """The file that the profiles are in, whether or not it exists.

    Raises:
        ProfileMistake: there is no home folder to look for it in.
    """
    if given := environ.get("RESROUTE_PROFILES"):
        return _path(given)
    config = environ.get("XDG_CONFIG_HOME", "")
    # one that is relative counts for nothing, says the standard that the variable is from
    return (Path(config) if os.path.isabs(config) else _path("~/.config")) / _PLACE


# --- profiles -------------------------------------------------------------------------------------------------


def _read_profile(name: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    path = profiles_path(environ)
    must_exist = name is not None or bool(environ.get("RESROUTE_PROFILES"))
    try:
        tables = _read_tables(path)
    except OSError as error:
        if not must_exist and isinstance(error, FileNotFoundError | NotADirectoryError):
            return {}
        raise ProfileMistake(f"cannot read the profiles in {path}: {error.strerror}") from error
    if name is None:
        if DEFAULT_PROFILE not in tables:
            return {}
        name = DEFAULT_PROFILE
    if not isinstance(table := tables.get(name), dict):
        there = ", ".join(_names(tables)) or "none"
        raise ProfileMistake(f"there is no profile {name!r} in {path}; there is: {there}")
    return _checked(table, f"from the profile {name!r} in {path}", path.parent)


def _checked(table: Mapping[str, Any], where: str, folder: Path) -> dict[str, str]:
    for key, value in table.items():
        if key not in _KEYS:
            raise ProfileMistake(f"a profile has {' and '.join(_KEYS)}, and no {key} ({where})")
        if not isinstance(value, str) or not value:
            raise ProfileMistake(f"{key} must be a string that is not empty ({where})")
    profile: dict[str, str] = dict(table)
    if "token_file" in profile:
        profile["token_file"] = str(folder / _path(profile["token_file"]))
    return profile


def _read_tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also what is not UTF-8
        raise ProfileMistake(f"{path} is not valid TOML: {error}") from error


def _names(tables: Mapping[str, Any]) -> list[str]:
    return [name for name, table in tables.items() if isinstance(table, dict)]


# --- tokens ---------------------------------------------------------------------------------------------------


def _read_token(path: Path) -> str:
    from resroute.client.tokens import check_token

    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_TOKEN_BYTES + 1)
    except OSError as error:
        raise ProfileMistake(f"cannot read the token file {path}: {error.strerror}") from error
    except ValueError as error:  # a name that no file can have
        raise ProfileMistake(f"cannot read the token file {str(path)!r}: {error}") from error
    if len(content) > MAX_TOKEN_BYTES:
        raise ProfileMistake(f"the token file {path} is longer than {MAX_TOKEN_BYTES} bytes")
    token = content.decode("latin-1").strip()  # which reads every byte; what is not ASCII is refused below
    if not token:
        raise ProfileMistake(f"the token file {path} is empty")
    try:
        check_token(token)
    except ValueError as error:
        raise ProfileMistake(f"the token file {path} holds no token: {error}") from error
    if stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        complain(f"warning: others can read the token file {path}; chmod 600 keeps it to you")
    return token


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ProfileMistake(f"there is no home folder for {text}") from error
