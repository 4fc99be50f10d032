"""Parameters from a path, a query and a body to the JSON object that a method of the router takes.

Whether they are right is for the router to say. Here is only seen to it that each is given once and that text becomes the
value that it spells.
"""

import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

import attrs
import msgspec
from msgspec import Raw
from quart import Request
from werkzeug.datastructures import MultiDict

from resroute.admin.problems import Problem
from resroute.admin.routes import MAX_IDS, Route
from resroute.errors import InvalidParams, ParseError
from resroute.protocol.converting import MAX_SHOWN
from resroute.transport.packing import is_utf8

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BOOLS = {"true": True, "false": False}

_encode = msgspec.json.Encoder().encode

MAX_MEMBERS = 100
"""Of a body: more than any method has parameters."""


class _Name(str):
    """The name of a member: a type of its own, so that the decoder asks about each."""

    __slots__ = ()


async def read_params(route: Route, in_path: Mapping[str, str], request: Request) -> bytes:
    """The parameters of a request, as the JSON of an object.

    Raises:
        Problem: there is none to be had.
    """
    members: dict[str, Any]
    if route.verb in ("GET", "DELETE"):
        members = read_query(route.fields(), request.args)
    else:
        if request.args:
            raise Problem.of(
                InvalidParams.at(next(iter(request.args))[:MAX_SHOWN], "parameters are in the body here")
            )
        members = await _read_body(request)
    # what the method takes and is said otherwise here, or not at all
    taken = {*route.in_path, *route.fixed, *route.left_out, route.alone_in}
    for name in members:
        if name in taken:
            raise Problem.of(InvalidParams.at(name, "unknown member"))
    _check_ids(members.get("resource_ids"))
    members |= route.fixed
    for name, text in in_path.items():
        if route.alone_in is None:
            members[name] = text
        else:
            members[route.alone_in] = [text]
    return _encode(members)


def _check_ids(ids: object) -> None:
    if isinstance(ids, Raw):
        try:
            ids = msgspec.json.decode(ids, type=list[Raw])
        except msgspec.DecodeError:
            return  # no list: the router says so
    if isinstance(ids, list) and len(ids) > MAX_IDS:
        raise Problem.of(
            InvalidParams.at("resource_ids", f"at most {MAX_IDS} in one request over HTTP: make several")
        )


def read_query(fields: "Sequence[attrs.Attribute[Any]]", given: "MultiDict[str, str]") -> dict[str, Any]:
    """The parameters in a query. One that should be a list may be there several times.

    Raises:
        Problem: another one is.
    """
    kinds = {field.name: field.type for field in fields}
    members: dict[str, Any] = {}
    for name in given:
        texts = given.getlist(name)
        kind = kinds.get(name)
        if kind is not None and _is_list(kind):
            members[name] = texts
        elif len(texts) == 1:
            members[name] = value_of(texts[0], kind)
        else:
            raise Problem.of(InvalidParams.at(name[:MAX_SHOWN], "is given more than once"))
    return members


def _choices(kind: Any) -> Sequence[Any]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _is_list(kind: Any) -> bool:
    return any(get_origin(choice) is list for choice in _choices(kind))


def value_of(text: str, kind: Any) -> Any:
    """The value that a text spells, or the text if it spells none of this kind."""
    choices = _choices(kind)
    if bool in choices:
        return _BOOLS.get(text, text)
    if (int in choices or float in choices) and _NUMBER.fullmatch(text):
        return Raw(text.encode())
    return text


async def _read_body(request: Request) -> dict[str, Any]:
    body = await request.get_data()
    assert isinstance(body, bytes)
    if not body:
        return {}
    if request.mimetype != "application/json":
        raise Problem(415, "The body has to be JSON, and to say so: Content-Type: application/json")
    try:
        if not is_utf8(body):
            raise Problem.of(ParseError("it is not UTF-8"))
        return members_of(body)
    except msgspec.ValidationError:
        raise Problem.of(InvalidParams.at("", "params are by name: an object")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem.of(ParseError(str(error))) from None


def members_of(body: bytes) -> dict[str, Any]:
    """The members of the object that a body is, each as it came. What is within them is not looked at.

    Raises:
        Problem: one is there twice, or there are far too many.
        DecodeError: it is no object, or no JSON.
    """
    names: set[str] = set()

    def note(_: type, name: str) -> _Name:
        if name in names:
            raise Problem.of(InvalidParams.at(name[:MAX_SHOWN], "is given more than once"))
        if len(names) == MAX_MEMBERS:
            raise Problem.of(InvalidParams.at("", f"there are more than {MAX_MEMBERS} members"))
        names.add(name)
        return _Name(name)

    return dict(msgspec.json.decode(body, type=dict[_Name, Raw], dec_hook=note))
