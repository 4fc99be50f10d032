"""What a connection is bound to: the path and the query of its URL, read strictly. Pure.

A bound connection needs none of the router's own methods. Each request on it is a call to one resource or one service, so
any JSON-RPC library can make it.
"""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from resroute.ids import ID_RULE, ResourceId, ServiceName, is_id
from resroute.protocol.envelope import Envelope
from resroute.protocol.params import RouteCall

_RESOURCES = "/resources/"
_SERVICES = "/services/"
_ROUTERS_PREFIXES = ("rpc.", "$/")
_ROUTERS_METHODS = ("session.authenticate", "session.ping")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_MAX_SHOWN = 80  # characters of what was sent
_MAX_MISTAKES = 10


class BadTarget(Exception):
    """A connection cannot be opened at this path, or not with this query.

    Attributes:
        status: the HTTP status to refuse it with.
        sentence: what is wrong, for whoever asked.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence)
        self.status = status
        self.sentence = sentence


class Binding(msgspec.Struct, frozen=True):
    """Where every request of one connection goes, and what a library that knows no ``meta`` cannot say with each."""

    resource_id: ResourceId | UnsetType = UNSET
    service_name: ServiceName | UnsetType = UNSET
    progress: bool = False
    timeout_seconds: float | UnsetType = UNSET
    owner_changes: bool = False

    @staticmethod
    def covers(method: str) -> bool:
        """Whether a request for this method goes where the connection is bound to: the others are the router's."""
        return not method.startswith(_ROUTERS_PREFIXES) and method not in _ROUTERS_METHODS

    def call(self, method: str, envelope: Envelope) -> RouteCall:
        """A request or notification as the ``route.call`` that it stands for."""
        return RouteCall(
            method,
            resource_id=self.resource_id,
            service_name=self.service_name,
            params=envelope.params,
            timeout_seconds=self.timeout_seconds,
        )


def read_target(target: str, max_timeout_seconds: float) -> Binding | None:
    """What the target of a handshake's request (a path, perhaps a query) binds its connection to; None for ``/``.

    Raises:
        BadTarget: there is no such path, or its id or its query is wrong.
    """
    path, query = _split(target)
    if path == "/":
        return None
    is_resource = path.startswith(_RESOURCES)
    if not is_resource and not path.startswith(_SERVICES):
        raise BadTarget(
            404,
            f"There is nothing at {path[:_MAX_SHOWN]!r}: sessions are at /, {_RESOURCES}RESOURCE_ID and "
            f"{_SERVICES}SERVICE_NAME",
        )
    name = unquote(path.removeprefix(_RESOURCES if is_resource else _SERVICES))
    if not is_id(name):
        what = "resource id" if is_resource else "service name"
        raise BadTarget(400, f"{name[:_MAX_SHOWN]!r} is not a valid {what}: {ID_RULE}")
    options = _Options(query, max_timeout_seconds, is_resource=is_resource)
    if options.mistakes:
        raise BadTarget(400, f"Wrong in the query: {'; '.join(options.mistakes)}")
    return Binding(
        resource_id=ResourceId(name) if is_resource else UNSET,
        service_name=UNSET if is_resource else ServiceName(name),
        progress=options.progress,
        timeout_seconds=options.timeout_seconds,
        owner_changes=options.owner_changes,
    )


def _split(target: str) -> tuple[str, str]:
    """Path and query. A target may also be a whole URL: RFC 9112, section 3.2.2."""
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return path, query
    try:
        url = urlsplit(target)
    except ValueError:
        raise BadTarget(400, f"{target[:_MAX_SHOWN]!r} is no address") from None
    return url.path, url.query


class _Options:
    """The query of a bound connection. Everything that is wrong with it is named."""

    def __init__(self, query: str, max_timeout_seconds: float, *, is_resource: bool) -> None:
        self.progress = False
        self.timeout_seconds: float | UnsetType = UNSET
        self.owner_changes = False
        self._max_timeout_seconds = max_timeout_seconds
        self._readers: dict[str, Callable[[str], str | None]] = {
            "progress": self._read_progress,
            "timeout_seconds": self._read_timeout,
        }
        if is_resource:
            self._readers["owner_changes"] = self._read_owner_changes
        self.mistakes = tuple(islice(self._read(query), _MAX_MISTAKES))

    def _read(self, query: str) -> Iterator[str]:
        seen: set[str] = set()
        for name, value in parse_qsl(query, keep_blank_values=True):
            reader = self._readers.get(name)
            if reader is None:
                yield f"{name[:_MAX_SHOWN]!r} is unknown here, where there are {', '.join(self._readers)}"
            elif name in seen:
                yield f"{name} is there twice"
            elif (mistake := reader(value)) is not None:
                yield f"{name} {mistake}, not {value[:_MAX_SHOWN]!r}"
            seen.add(name)

    def _read_progress(self, value: str) -> str | None:
        self.progress = value == "true"
        return _not_boolean(value)

    def _read_owner_changes(self, value: str) -> str | None:
        self.owner_changes = value == "true"
        return _not_boolean(value)

    def _read_timeout(self, value: str) -> str | None:
        seconds = float(value) if _SECONDS.fullmatch(value) else 0.0
        self.timeout_seconds = seconds
        if 0 < seconds <= self._max_timeout_seconds:
            return None
        return f"must be a number above 0 and at most {self._max_timeout_seconds:g}"


def _not_boolean(value: str) -> str | None:
    return None if value in ("true", "false") else "must be true or false"
