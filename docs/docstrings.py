"""For mkdocs.yml: roles in docstrings, such as :class:`resroute.Client`, become links between pages."""

import re
from typing import Any

import griffe

import resroute
from resroute import errors

_ROLE = re.compile(r":\w+:`~?([^`]+)`")


class Roles(griffe.Extension):
    """Rewrites each docstring once it is read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for everything that it finds."""
        if obj.docstring is not None:
            text = _ROLE.sub(lambda role: _reference(role[1]), obj.docstring.value)
            obj.docstring.value = text.replace("``", "`")


def _reference(name: str) -> str:
    """A link to what has a place on the page of the SDK, else just its name."""
    name = name.removeprefix("resroute.")
    first = name.partition(".")[0]
    if first not in resroute.__all__ or first in ("Connection",):
        return f"`{name}`"
    home = "errors" if hasattr(errors, first) else "client"
    return f"[`{name}`][resroute.{home}.{name}]"
