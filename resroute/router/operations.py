"""The router's own methods: who may call them, and which part does what they ask for."""

from collections.abc import Iterator, Mapping

from msgspec import Raw

from resroute.errors import Forbidden, InternalError, RouterError
from resroute.protocol.structure import structure_params
from resroute.router.request import Handler, Request
from resroute.settings import Settings


class Operations:
    """What each of the router's own methods does.

    Args:
        handlers: of methods, by their names.
    """

    def __init__(self, settings: Settings, *handlers: Mapping[str, Handler]) -> None:
        self._settings = settings
        self._handlers = {name: handler for group in handlers for name, handler in group.items()}

    def start(self, request: Request, params: Raw | None) -> Iterator[None] | None:
        """Do what a request asks for. It is answered exactly once, by the end of this or later.

        What takes long is left to the steps that are returned: see :data:`~resroute.router.request.Handler`.
        """
        method = request.method
        try:
            values = structure_params(
                params,
                method.params,
                max_items=self._settings.max_bulk_items,
                max_object_bytes=self._settings.max_metadata_bytes,
                max_value_bytes=self._settings.max_state_bytes,
            )
            if request.trace is not None:
                request.trace.asks_for(values)
            if method.role is not None and not request.session.may(method.role):
                raise Forbidden(method.role)
            steps = self._handlers[method.name](request, values)
        except Exception as error:
            _fail(request, error)
            return None
        return None if steps is None else _go_on(request, steps)


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
