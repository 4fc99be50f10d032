"""The router's own methods: who may call them, and which part does what they ask for."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Raw

from resroute.errors import Forbidden, InternalError, RouterError
from resroute.protocol.structure import LARGE_BYTES, Bounds, structure_in_steps, structure_params
from resroute.router.request import Handler, Request
from resroute.settings import Settings


class Operations:
    """What each of the router's own methods does.

    Args:
        handlers: of methods, by their names.
    """

    def __init__(self, settings: Settings, *handlers: Mapping[str, Handler]) -> None:
        self._bounds = Bounds(settings.max_bulk_items, settings.max_metadata_bytes, settings.max_state_bytes)
        self._handlers = {name: handler for group in handlers for name, handler in group.items()}

    def start(self, request: Request, params: Raw | None) -> Iterator[None] | None:
        """Do what a request asks for. It is answered exactly once, by the end of this or later.

        What takes long is left to the steps that are returned: see :data:`~resroute.router.request.Handler`.
        """
        if params is not None and memoryview(params).nbytes > LARGE_BYTES:
            return _go_on(request, self._read_in_steps(request, params))
        try:
            values = structure_params(params, request.method.params, self._bounds)
            steps = self._begin(request, values)
        except Exception as error:
            _fail(request, error)
            return None
        return None if steps is None else _go_on(request, steps)

    def _read_in_steps(self, request: Request, params: Raw) -> Iterator[None]:
        """Large params take their time, so others get theirs before that, and before what is asked for is done."""
        yield
        values = yield from structure_in_steps(params, request.method.params, self._bounds)
        yield
        yield from self._begin(request, values) or ()

    def _begin(self, request: Request, values: Any) -> Iterator[None] | None:
        """Do what is asked for, or the first of it."""
        method = request.method
        if request.trace is not None:
            request.trace.asks_for(values)
        if method.role is not None and not request.session.may(method.role):
            raise Forbidden(method.role)
        return self._handlers[method.name](request, values)


def _go_on(request: Request, steps: Iterator[None]) -> Iterator[None]:
    try:
        yield from steps
    except Exception as error:
        _fail(request, error)
    except GeneratorExit:  # its session has ended in the middle
        request.abandon()
        raise


def _fail(request: Request, error: Exception) -> None:
    """Answer a request with the error that came of it."""
    if isinstance(error, RouterError):
        request.refuse(error)
    else:
        request.session.log.error(
            "request failed", operation=request.method.name, trace_id=request.trace_id, exc_info=error
        )
        request.refuse(InternalError())
