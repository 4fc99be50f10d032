"""Where settings come from: defaults, then a TOML file, the environment, and options; the last one wins.

Each source checks what it holds before they are merged, so that a mistake can name the setting and say where
it was made.
"""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import attrs
import typed_settings as ts
from typed_settings.dict_utils import set_path
from typed_settings.types import LoadedSettings, LoaderMeta, OptionInfo, OptionList, SettingsDict

from resroute.settings import Heartbeat, InvalidSetting, Settings, flatten, flatten_table, is_loopback

_TABLE = "resroute"
_ENVIRONMENT_PREFIX = "RESROUTE_"


class SettingsMistake(Exception):
    """Something is wrong with the settings; the text is one line for the person who set them."""


@attrs.frozen
class Origin:
    """Where a setting was set."""

    source: Literal["file", "environment", "option"]
    name: str
    """Of the file, the variable or the option."""

    def __str__(self) -> str:
        return f"from {self.name}"


@attrs.frozen
class Loaded:
    """Settings, and by dotted path where each of them was set that is not the default."""

    settings: Settings
    origins: Mapping[str, Origin]


def load_settings(*, options: Mapping[str, str], environ: Mapping[str, str], config: str | None) -> Loaded:
    """Merge and check what was set.

    Args:
        options: names of settings and their values as text.
        environ: the environment; variables that name no setting are somebody else's.
        config: path of the TOML file, if there is one.

    Raises:
        SettingsMistake: if anything is wrong.
    """
    origins: dict[str, Origin] = {}
    sources = [
        _Source(_read_file(config), _read_value, lambda _: Origin("file", str(config)), origins),
        _Source(
            _read_environment(environ),
            _read_text,
            lambda path: Origin("environment", _variable(path)),
            origins,
        ),
        _Source(options, _read_text, lambda path: Origin("option", f"--{path.replace('_', '-')}"), origins),
    ]

    def check(settings_dict: SettingsDict, settings_cls: type, options: OptionList) -> SettingsDict:
        _check_together(settings_dict, origins)
        return settings_dict

    settings = ts.load_settings(Settings, sources, processors=[check])
    _check_exposure(settings, origins)
    return Loaded(settings, origins)


@attrs.frozen
class _Source:
    """One place settings come from: a loader of typed-settings that refuses what is wrong with a value."""

    values: Mapping[str, Any]  # dotted path of a setting -> value
    read: Callable[[Any, Any], Any]  # from the value as it stands there, and the setting's type
    where: Callable[[str], Origin]
    origins: dict[str, Origin]  # dotted path -> the last source that has it

    def __call__(self, settings_cls: type, options: OptionList) -> LoadedSettings:
        known = {option.path: option for option in options}
        settings: SettingsDict = {}
        for path, given in self.values.items():
            option = known.get(path)
            if option is None:
                raise SettingsMistake(f"there is no setting {path}{_meant(path, known)} ({self.where(path)})")
            set_path(settings, path, self._check(option, given))
            self.origins[path] = self.where(path)
        return LoadedSettings(settings, LoaderMeta(self))

    def _check(self, option: OptionInfo, given: Any) -> Any:
        path, where = option.path, self.where(option.path)
        value = self.read(given, option.cls)
        attribute = attrs.fields_dict(option.parent_cls)[option.name]
        if not _is_a(value, option.cls):
            shown = "something else" if attribute.metadata.get("is_secret") else repr(given)
            raise SettingsMistake(f"{path} must be {_words(option.cls)}, not {shown} ({where})")
        if attribute.validator is not None:
            try:
                attribute.validator(None, attribute, value)
            except InvalidSetting as invalid:
                raise SettingsMistake(f"{path} {invalid.problem} ({where})") from invalid
        return value


# --- reading ----------------------------------------------------------------------------------------------


def _read_file(config: str | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        tables = tomllib.loads(Path(config).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsMistake(f"cannot read {config}: {error.strerror}") from error
    except ValueError as error:  # also what is not UTF-8
        raise SettingsMistake(f"{config} is not valid TOML: {error}") from error
    table = tables.pop(_TABLE, {})
    if tables or not isinstance(table, dict):
        stray = next(iter(tables), _TABLE)
        where = f"in the table [{_TABLE}], where all settings go"
        raise SettingsMistake(f"{stray} is not {where} (from {config})")
    return dict(flatten_table(table))


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {path: environ[_variable(path)] for path in flatten(Settings()) if _variable(path) in environ}


def _variable(path: str) -> str:
    return _ENVIRONMENT_PREFIX + path.replace(".", "_").upper()


def _read_value(value: Any, kind: Any) -> Any:
    return value


def _read_text(text: str, kind: Any) -> Any:
    """Text as the value it spells, or as it is if it spells none."""
    if get_origin(kind) is tuple:
        return [item.strip() for item in text.split(",") if item.strip()]
    if kind is bool:
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return text
    return text


# --- checking ---------------------------------------------------------------------------------------------


def _is_a(value: Any, kind: Any) -> bool:
    """Strictly: true is no number, and text is never one. A whole number may stand for any number."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is tuple:
        return isinstance(value, list) and all(_is_a(item, args[0]) for item in value)
    if origin is UnionType:
        return any(_is_a(value, choice) for choice in args)
    if origin is Literal:
        return value in args
    return type(value) in (int, float) if kind is float else type(value) is kind


def _words(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is tuple:
        return f"a list, each {_words(args[0])}"
    if origin is UnionType:
        return _words(args[0])
    if origin is Literal:
        return f"one of {', '.join(args)}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}[kind]


def _meant(path: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(path.replace("-", "_"), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _check_together(merged: SettingsDict, origins: Mapping[str, Origin]) -> None:
    """Refuse values that are right each by itself but not beside each other."""
    values: dict[str, Any] = dict(merged)
    prefix = "heartbeat."
    try:
        values["heartbeat"] = Heartbeat(**values["heartbeat"])
        prefix = ""
        Settings(**values)
    except InvalidSetting as invalid:
        names = [name for name in (invalid.name, invalid.beside) if name is not None]
        told = "; ".join(f"{name} {origins.get(prefix + name, 'is the default')}" for name in names)
        raise SettingsMistake(f"{prefix}{invalid} ({told})") from invalid


def _check_exposure(settings: Settings, origins: Mapping[str, Origin]) -> None:
    has_tokens = bool(settings.admin_tokens or settings.admin_tokens_file)
    for name, host in (("host", settings.host), ("admin_host", settings.admin_host)):
        if not is_loopback(host) and not (name == "admin_host" and has_tokens):
            raise SettingsMistake(
                f"{name} must be a loopback address such as 127.0.0.1, not {host}: "
                f"without authentication the router listens on this machine only ({origins[name]})"
            )
