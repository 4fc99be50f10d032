"""From an object with methods to a handler: which methods a service has, and how params become arguments."""

import functools
import inspect
import logging
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from types import SimpleNamespace
from typing import Any

from resroute.client.calls import MAX_TOLD, Call, Handler
from resroute.client.structuring import MAX_ERRORS, Structure, bug_in, mistakes, structure_for
from resroute.errors import ParamError, RemoteError, StaleEpoch

_log = logging.getLogger("resroute.client")

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
    methods = {name: Method(name, function) for name, function in _public_methods(service)}
    if not methods:
        raise TypeError(f"{type(service).__name__} has no public methods")
    return functools.partial(invoke, methods)


def invoke(methods: Mapping[str, "Method"], call: Call) -> object:
    """Call the method that a call names."""
    method = methods.get(call.method)
    if method is None:
        name = call.method[:MAX_TOLD]
        raise RemoteError(METHOD_NOT_FOUND, f"There is no method {name!r}", {"method": name})
    return method.invoke(call)


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


class Method:
    """One method and what it takes, worked out once.

    Args:
        is_strict: types that cannot be made out of JSON, or not be found out, are refused. Otherwise that is logged, and
            such params are taken as they come.
        is_fenced: it runs only for a resource that this instance owns, under the epoch that the call has.
    """

    __slots__ = (
        "_function",
        "_is_fenced",
        "_name",
        "_named",
        "_other_names",
        "_positional",
        "_required",
        "_rest",
        "_structures",
        "_takes_any_name",
        "_takes_any_number",
        "_takes_call",
    )

    def __init__(
        self,
        name: str,
        function: Callable[..., object],
        *,
        is_strict: bool = False,
        is_fenced: bool = False,
    ) -> None:
        hints = _hints_of(name, function, is_strict=is_strict)
        everything = list(inspect.signature(function).parameters.values())
        # what the router says of the call is no param of the caller's
        wants_call = [p for p in everything if hints.get(p.name) is Call]
        if wants_call[1:] or (wants_call and wants_call[0] is not everything[0]):
            raise TypeError(f"{name} has to take its call as the first parameter, and nowhere else")
        parameters = everything[len(wants_call) :]
        self._takes_call = bool(wants_call)
        self._is_fenced = is_fenced
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
        # what makes the argument of those that say their type
        structures = dict(_structures_for(name, parameters, hints, is_strict=is_strict))
        # of all that one parameter collects: by position, where that is its name and what makes each; and by name
        self._rest = next(
            ((p.name, structures.pop(p.name, None)) for p in parameters if p.kind is p.VAR_POSITIONAL), None
        )
        self._other_names = next(
            (structures.pop(p.name, None) for p in parameters if p.kind is p.VAR_KEYWORD), None
        )
        self._structures = structures

    def invoke(self, call: Call) -> object:
        """Call the function, or refuse without running anything."""
        params = call.params
        if self._is_fenced:
            _check_epoch(call)
        function = functools.partial(self._function, call) if self._takes_call else self._function
        match params:
            case dict():
                if not self._required <= params.keys() or not (
                    self._takes_any_name or params.keys() <= self._named
                ):
                    raise _invalid(self._wrong_names(params.keys()))
                if not self._required <= self._named:
                    raise _invalid([_wrong("", f"{self._name} takes its params by position")])
                others = () if self._other_names is None else params.keys() - self._named
                return function(**self._structured(params, others, self._other_names))
            case list():
                wrong = list(self._wrong_number(len(params)))
                if wrong:
                    raise _invalid(wrong)
                rest_name, rest_structure = self._rest or ("", None)
                if not self._structures and rest_structure is None:
                    return function(*params)
                by_position = dict(zip(self._positional, params, strict=False))
                rest = {f"{rest_name}.{n}": each for n, each in enumerate(params[len(by_position) :])}
                return function(*self._structured(by_position | rest, rest, rest_structure).values())
            case _:
                if self._required:
                    raise _invalid(self._wrong_names(()))
                return function()

    def _structured(
        self, params: dict[str, Any], collected: Iterable[str], structure_of_those: Structure | None
    ) -> dict[str, Any]:
        """Make what the function takes.

        Args:
            collected: the names of those that one parameter collects.
            structure_of_those: makes each of them. None: they stay as they are.
        """
        structures = self._structures
        if structure_of_those is not None:
            structures = structures | dict.fromkeys(collected, structure_of_those)
        if not structures:
            return params
        arguments = dict(params)
        errors: list[ParamError] = []
        for name, structure in structures.items():
            if name in arguments:
                try:
                    arguments[name] = structure(arguments[name])
                except Exception as error:
                    bug = bug_in(error)
                    if isinstance(bug, RecursionError):
                        errors.append(_wrong(name, "is nested too deeply"))
                        continue
                    if bug is not None:
                        raise
                    errors += islice(mistakes(error, name), MAX_ERRORS - len(errors))
        if errors:
            raise _invalid(errors)
        return arguments

    def _wrong_names(self, given: Iterable[str]) -> list[ParamError]:
        missing = [_wrong(name, "is missing") for name in sorted(self._required.difference(given))]
        if self._takes_any_name:
            return missing
        unknown = (
            _wrong(name[:MAX_TOLD], f"is no parameter of {self._name}")
            for name in given
            if name not in self._named
        )
        return missing + list(islice(unknown, max(0, MAX_ERRORS - len(missing))))

    def _wrong_number(self, given: int) -> Iterator[ParamError]:
        if given > len(self._positional) and not self._takes_any_number:
            yield _wrong(
                "", f"{self._name} takes at most {len(self._positional)} params by position, not {given}"
            )
        by_position = list(self._positional)[:given]
        for name in sorted(self._required.difference(by_position)):
            yield _wrong(name, "is missing")


def _check_epoch(call: Call) -> None:
    if call.resource_id is None or call.epoch is None:
        raise RemoteError(INVALID_PARAMS, f"{call.method!r} has to be called with a resource_id")
    if not call.is_current:
        raise StaleEpoch


def _hints_of(name: str, function: Callable[..., object], *, is_strict: bool) -> dict[str, Any]:
    """What the params say of their types. Those that cannot be found out are left out, unless ``is_strict``."""
    try:
        return typing.get_type_hints(function)
    except Exception:
        pass  # one that cannot be found out, maybe only what is returned
    hints: dict[str, Any] = {}
    for param, said in getattr(function, "__annotations__", {}).items():
        alone = SimpleNamespace(__annotations__={} if param == "return" else {param: said})
        try:
            hints |= typing.get_type_hints(alone, getattr(function, "__globals__", {}))
        except Exception as error:
            if is_strict:
                raise TypeError(f"the type of {param} of {name} cannot be found out: {error}") from error
            _log_unchecked(name, param, error)
    return hints


def _log_unchecked(name: str, param: str, error: Exception) -> None:
    _log.warning("param_not_checked method=%s param=%s reason=%r", name, param, str(error))


def _structures_for(
    name: str, parameters: Iterable[inspect.Parameter], hints: dict[str, Any], *, is_strict: bool
) -> Iterator[tuple[str, Structure]]:
    for parameter in parameters:
        if parameter.name not in hints:
            continue
        try:
            structure = structure_for(hints[parameter.name])
        except TypeError as error:
            if is_strict:
                raise
            _log_unchecked(name, parameter.name, error)
        else:
            if structure is not None:
                yield parameter.name, structure


def _wrong(path: str, message: str) -> ParamError:
    return {"path": path, "message": message}


def _invalid(errors: list[ParamError]) -> RemoteError:
    named = "; ".join(f"{error['path']} {error['message']}".strip() for error in errors[:5])
    return RemoteError(INVALID_PARAMS, f"Invalid params: {named}", {"errors": errors})
