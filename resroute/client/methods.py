"""From an object with methods to a handler: which methods a service has, and how params become arguments."""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from resroute.client.calls import Call, Handler
from resroute.errors import ParamError, RemoteError

METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602


def handler_for(service: object) -> Handler:
    """What answers the calls to ``service``: itself if it is a function, else its methods.

    Raises:
        TypeError: it is a class, or has no public method.
    """
    if isinstance(service, type):
        raise TypeError(f"a service is an object: pass {service.__name__}(), not the class")
    if isinstance(service, functools.partial) or inspect.isroutine(service):
        handler: Handler = service
        return handler
    methods = {name: _Method(name, function) for name, function in _public_methods(service)}
    if not methods:
        raise TypeError(f"{type(service).__name__} has no public methods")
    return functools.partial(_invoke, methods)


def _invoke(methods: dict[str, "_Method"], call: Call) -> object:
    method = methods.get(call.method)
    if method is None:
        raise RemoteError(METHOD_NOT_FOUND, f"There is no method {call.method!r}", {"method": call.method})
    return method.invoke(call.params)


def _public_methods(service: object) -> Iterator[tuple[str, Callable[..., object]]]:
    """What the class defines as methods. Properties are not looked into, and what instances store is never called."""
    kind = type(service)
    for name in dir(kind):
        if name.startswith("_"):
            continue
        attribute = inspect.getattr_static(kind, name)
        is_bound_on_access = hasattr(type(attribute), "__get__")
        if is_bound_on_access and (callable(attribute) or isinstance(attribute, classmethod)):
            yield name, getattr(service, name)


class _Method:
    """One method and what it takes, worked out once."""

    __slots__ = (
        "_function",
        "_name",
        "_named",
        "_positional",
        "_required",
        "_takes_any_name",
        "_takes_any_number",
    )

    def __init__(self, name: str, function: Callable[..., object]) -> None:
        parameters = inspect.signature(function).parameters.values()
        self._name = name
        self._function = function
        # in order, and whether it must be given
        self._positional = {
            p.name: p.default is p.empty
            for p in parameters
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        }
        self._named = frozenset(
            p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        )
        self._required = frozenset(
            p.name
            for p in parameters
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        )
        self._takes_any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self._takes_any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)

    def invoke(self, params: Any) -> object:
        """Call the function, or refuse without running anything."""
        match params:
            case dict():
                if not self._required <= params.keys() or not (
                    self._takes_any_name or params.keys() <= self._named
                ):
                    raise _invalid(self._wrong_names(params.keys()))
                if not self._required <= self._named:
                    raise _invalid([_wrong("", f"{self._name} takes its params by position")])
                return self._function(**params)
            case list():
                wrong = list(self._wrong_number(len(params)))
                if wrong:
                    raise _invalid(wrong)
                return self._function(*params)
            case _:
                if self._required:
                    raise _invalid(self._wrong_names(()))
                return self._function()

    def _wrong_names(self, given: Iterable[str]) -> list[ParamError]:
        missing = [_wrong(name, "is missing") for name in sorted(self._required.difference(given))]
        if self._takes_any_name:
            return missing
        return missing + [
            _wrong(name, f"is no parameter of {self._name}") for name in given if name not in self._named
        ]

    def _wrong_number(self, given: int) -> Iterator[ParamError]:
        if given > len(self._positional) and not self._takes_any_number:
            yield _wrong(
                "", f"{self._name} takes at most {len(self._positional)} params by position, not {given}"
            )
        by_position = list(self._positional)[:given]
        for name in sorted(self._required.difference(by_position)):
            yield _wrong(name, "is missing")


def _wrong(path: str, message: str) -> ParamError:
    return {"path": path, "message": message}


def _invalid(errors: list[ParamError]) -> RemoteError:
    named = "; ".join(f"{error['path']} {error['message']}".strip() for error in errors[:5])
    return RemoteError(INVALID_PARAMS, f"Invalid params: {named}", {"errors": errors})
