"""The params of a call as somebody types them."""

import json
import sys
from typing import Any

import click

_KINDS = {str: "a string", int: "a number", float: "a number", bool: "true or false", type(None): "null"}


class NotParams(click.UsageError):
    """What was given is no params; the text says why."""


def read_params(given: str, option: str = "--params") -> dict[str, Any] | list[Any]:
    """Take JSON from the command line, or for ``-`` from stdin.

    Args:
        option: what it was given as.

    Raises:
        NotParams: it is not JSON, or neither an object nor a list.
    """
    where = option if given != "-" else "stdin"
    try:
        text = given if given != "-" else sys.stdin.buffer.read().decode()
        if given == "-" and not text.strip():
            raise NotParams(f"stdin is empty: {option} - reads a JSON object or list from it.")
        params = json.loads(text, parse_constant=_refuse)
        json.dumps(params, ensure_ascii=False).encode()  # in which halves of surrogate pairs cannot be said
    except RecursionError:
        raise NotParams(f"{where} is nested too deeply.") from None
    except UnicodeError:
        raise NotParams(f"{where} holds what UTF-8 cannot say.") from None
    except ValueError as error:
        raise NotParams(f"{where} is not valid JSON: {error}{_hint(given)}.") from None
    if not isinstance(params, dict | list):
        raise NotParams(f"{where} must be a JSON object or list, not {_KINDS[type(params)]}.")
    return params


def _refuse(constant: str) -> None:
    raise ValueError(f"JSON knows no {constant}")


def _hint(given: str) -> str:
    """Shells take quotes away from those who do not quote them."""
    return "; in a shell put it in single quotes" if given.startswith("{") and '"' not in given else ""
