"""Every error resroute knows, in one tree.

Three branches, by whose fault or word it is:

- :class:`RouterError`: the router's own word, one class for each type in the protocol's table of errors. Each carries the
  fields that the wire's ``error.data`` carries, knows its code and type, and builds its text when asked for it.
- :class:`RemoteError`: the callee answered with an error of its own.
- :class:`ConnectionFailed`, :class:`ConnectionLost`: the world's; there is no connection to the router, or no longer.
  With them :class:`FellBehind`: this program does not take what arrives; and :class:`ResourceLost`: what a block of it
  owned was taken away.

The router raises these and puts them on the wire; the SDK makes the same classes from what it reads there.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from types import UnionType
from typing import Any, ClassVar, Literal, Self, TypedDict, Union, get_args, get_origin, get_type_hints

import attrs
import msgspec

from resroute.ids import InstanceId, ResourceId

Delivery = Literal["not_delivered", "unknown"]
"""Whether a failed call may have run: ``not_delivered`` means its callee never had it and never will."""

UnavailableReason = Literal[
    "draining", "overloaded", "no_healthy_instance", "suspended", "moved", "read_only"
]


class ParamError(TypedDict):
    """What is wrong with one parameter. ``path`` is a dotted path from the params, ``""`` for the whole."""

    path: str
    message: str


class ResrouteError(Exception):
    """The root of every error that resroute raises on purpose."""


@attrs.define(eq=False, slots=False)
class RouterError(ResrouteError):
    """The router refused, or could not finish, what was asked. Base of one class for each type of error."""

    code: ClassVar[int]
    type: ClassVar[str]

    trace_id: str | None = attrs.field(default=None, kw_only=True)
    """The id under which the router's log tells of this operation."""

    def data(self) -> dict[str, Any]:
        """The wire's ``error.data``: the type and every field that is set."""
        fields = {
            name: value for name, value in attrs.asdict(self, recurse=False).items() if value is not None
        }
        return {"type": self.type, **fields}

    def __str__(self) -> str:
        return self.type.replace("_", " ")


@attrs.define(eq=False, slots=False)
class CallError(RouterError):
    """A routed call that the router ended. ``delivery`` tells whether the callee may have run it."""

    delivery: Delivery | None = attrs.field(default=None, kw_only=True)

    def _fate(self) -> str:
        match self.delivery:
            case "not_delivered":
                return "; it was not delivered, so sending it again is safe"
            case "unknown":
                return "; it may have run"
            case _:
                return ""


# --- bad messages -----------------------------------------------------------------------------------------------


@attrs.define(eq=False, slots=False)
class ParseError(RouterError):
    """What arrived is not JSON."""

    code = -32700
    type = "parse_error"

    detail: str | None = None

    def __str__(self) -> str:
        return (
            f"The message is not valid JSON: {self.detail}"
            if self.detail
            else "The message is not valid JSON"
        )


@attrs.define(eq=False, slots=False)
class InvalidRequest(RouterError):
    """What arrived is JSON but not a JSON-RPC 2.0 request. Also: an id that is still in flight, an empty batch."""

    code = -32600
    type = "invalid_request"

    detail: str | None = None

    def __str__(self) -> str:
        return (
            f"Not a valid JSON-RPC 2.0 request: {self.detail}"
            if self.detail
            else "Not a valid JSON-RPC 2.0 request"
        )


@attrs.define(eq=False, slots=False)
class MethodNotFound(RouterError):
    """The router has no such method. Not raised for methods of callees: those answer for themselves."""

    code = -32601
    type = "method_not_found"

    method: str

    def __str__(self) -> str:
        return f"The router has no method {self.method!r}; methods of instances are called through route.call"


@attrs.define(eq=False, slots=False)
class InvalidParams(RouterError):
    """Parameters are missing, unknown, of a wrong type or out of bounds. All of them are named."""

    code = -32602
    type = "invalid_params"

    errors: Sequence[ParamError]

    @classmethod
    def at(cls, path: str, message: str) -> Self:
        """One parameter is wrong."""
        return cls([{"path": path, "message": message}])

    def __str__(self) -> str:
        named = "; ".join(
            f"{e['path']}: {e['message']}" if e["path"] else e["message"] for e in self.errors[:5]
        )
        return f"Invalid params: {named}"


@attrs.define(eq=False, slots=False)
class InternalError(RouterError):
    """The router has a bug. The traceback is in its log, under the trace id."""

    code = -32603
    type = "internal_error"

    def __str__(self) -> str:
        return "The router failed; its log tells why under this trace id"


# --- who may ----------------------------------------------------------------------------------------------------


@attrs.define(eq=False, slots=False)
class Unauthenticated(RouterError):
    """The token is missing, wrong or expired."""

    code = 401
    type = "unauthenticated"

    def __str__(self) -> str:
        return "A valid token is needed"


@attrs.define(eq=False, slots=False)
class Forbidden(RouterError):
    """The session may not do this. ``required`` names the role, or the method to call first."""

    code = 403
    type = "forbidden"

    required: str

    def __str__(self) -> str:
        if "." in self.required:
            return f"Only an instance may do this: call {self.required} first"
        return f"This needs the role {self.required!r}"


@attrs.define(eq=False, slots=False)
class NotOwner(RouterError):
    """Only the owner may do this, and the owner is another instance."""

    code = 403
    type = "not_owner"

    resource_id: str
    owner_instance_id: str

    def __str__(self) -> str:
        return f"Resource {self.resource_id!r} is owned by instance {self.owner_instance_id!r}"


# --- what is not there --------------------------------------------------------------------------------------------


@attrs.define(eq=False, slots=False)
class ResourceNotFound(RouterError):
    """Nobody owns the resource."""

    code = 404
    type = "resource_not_found"

    resource_id: str

    def __str__(self) -> str:
        return f"No instance owns resource {self.resource_id!r}"


@attrs.define(eq=False, slots=False)
class ServiceNotFound(RouterError):
    """No instance of the service is registered."""

    code = 404
    type = "service_not_found"

    service_name: str

    def __str__(self) -> str:
        return f"No instance of service {self.service_name!r} is registered"


@attrs.define(eq=False, slots=False)
class InstanceNotFound(RouterError):
    """No such instance is connected."""

    code = 404
    type = "instance_not_found"

    instance_id: str

    def __str__(self) -> str:
        return f"Instance {self.instance_id!r} is not connected"


@attrs.define(eq=False, slots=False)
class ServiceMismatch(RouterError):
    """The resource or the instance belongs to another service than the one named."""

    code = 404
    type = "service_mismatch"

    service_name: str
    resource_id: str | None = None
    instance_id: str | None = None

    def __str__(self) -> str:
        what = "What was named"
        if self.resource_id is not None:
            what = f"Resource {self.resource_id!r}"
        elif self.instance_id is not None:
            what = f"Instance {self.instance_id!r}"
        return f"{what} does not belong to service {self.service_name!r}"


@attrs.define(eq=False, slots=False)
class WatchNotFound(RouterError):
    """The session has no such watch."""

    code = 404
    type = "watch_not_found"

    watch_id: str

    def __str__(self) -> str:
        return f"This session has no watch {self.watch_id!r}"


@attrs.define(eq=False, slots=False)
class SessionNotFound(RouterError):
    """No such session is connected, or it is none of the caller's business."""

    code = 404
    type = "session_not_found"

    session_id: str

    def __str__(self) -> str:
        return f"There is no session {self.session_id!r}"


# --- conflicts ----------------------------------------------------------------------------------------------------


@attrs.define(eq=False, slots=False)
class ResourceConflict(RouterError):
    """Another instance owns one of the resources. Not raised for what the instance owns already.

    ``conflicts`` maps each contested id to its owner. For a single id the other fields say more about that owner;
    ``since`` is an RFC 3339 time, and so is ``suspended_until``: until then, at the latest, owners that were cut off may come
    back.
    """

    code = 409
    type = "resource_conflict"

    conflicts: Mapping[ResourceId, InstanceId]
    resource_id: str | None = None
    owner_instance_id: str | None = None
    epoch: int | None = None
    since: str | None = None
    owner_healthy: bool | None = None
    pending: bool | None = None
    suspended_until: str | None = None

    def __str__(self) -> str:
        if not self.conflicts:
            return "Another instance owns one of the resources"
        resource_id, owner = next(iter(self.conflicts.items()))
        more = f" (and {len(self.conflicts) - 1} more)" if len(self.conflicts) > 1 else ""
        if self.pending:
            return f"Resource {resource_id!r} is set aside for instance {owner!r}, which asks in bulk{more}"
        if self.suspended_until and self.owner_instance_id:
            return f"Resource {resource_id!r} is kept for instance {owner!r} until {self.suspended_until}"
        return f"Resource {resource_id!r} is already owned by instance {owner!r}{more}"


@attrs.define(eq=False, slots=False)
class VersionConflict(RouterError):
    """The metadata has changed since the version that was expected."""

    code = 409
    type = "version_conflict"

    resource_id: str
    expected_version: int
    current_version: int

    def __str__(self) -> str:
        return (
            f"The metadata of {self.resource_id!r} is at version {self.current_version}, "
            f"not {self.expected_version}: read it again"
        )


@attrs.define(eq=False, slots=False)
class InstanceConflict(RouterError):
    """An instance of this id is connected already, or suspended, and no valid resume token was given.

    ``suspended_until`` is an RFC 3339 time.
    """

    code = 409
    type = "instance_conflict"

    instance_id: str
    suspended_until: str | None = None

    def __str__(self) -> str:
        if self.suspended_until:
            return (
                f"Instance {self.instance_id!r} was cut off, and may come back until {self.suspended_until}"
            )
        return f"An instance {self.instance_id!r} is connected already"


@attrs.define(eq=False, slots=False)
class AlreadyRegistered(RouterError):
    """The session is an instance already."""

    code = 409
    type = "already_registered"

    instance_id: str | None = None

    def __str__(self) -> str:
        which = "an instance" if self.instance_id is None else f"instance {self.instance_id!r}"
        return f"This session is {which} already"


@attrs.define(eq=False, slots=False)
class RevisionGone(RouterError):
    """The watch cannot resume: the events after that revision are no longer kept. Take a new snapshot."""

    code = 410
    type = "revision_gone"

    oldest_revision: int

    def __str__(self) -> str:
        return f"Events are kept from revision {self.oldest_revision} on: take a new snapshot"


# --- limits -------------------------------------------------------------------------------------------------------


@attrs.define(eq=False, slots=False)
class AnswerTooLarge(CallError):
    """The answer is over the limit for one message and was not passed on."""

    code = 413
    type = "answer_too_large"

    limit: int

    def __str__(self) -> str:
        return f"The answer is larger than {self.limit} bytes{self._fate()}"


@attrs.define(eq=False, slots=False)
class ResourceLimitExceeded(RouterError):
    """The instance would own more resources than one instance may."""

    code = 429
    type = "resource_limit_exceeded"

    limit: int
    current: int
    requested: int

    def __str__(self) -> str:
        return (
            f"An instance may own {self.limit} resources; this one owns {self.current} and asked for "
            f"{self.requested} more: spread them over more instances"
        )


@attrs.define(eq=False, slots=False)
class _TooMany(RouterError):
    """A limit of the session or the router was reached: try again later."""

    code = 429

    limit: int
    retry_after_seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.type.replace('_', ' ').capitalize()}: the limit is {self.limit}"


@attrs.define(eq=False, slots=False)
class TooManyCalls(_TooMany):
    """The session has as many calls in flight as it may, or reads its answers too slowly."""

    type = "too_many_calls"


@attrs.define(eq=False, slots=False)
class TooManyWaiters(_TooMany):
    """Too many wait already, for the resource or from the session."""

    type = "too_many_waiters"


@attrs.define(eq=False, slots=False)
class TooManyWatches(_TooMany):
    """The session has as many watches as it may."""

    type = "too_many_watches"


@attrs.define(eq=False, slots=False)
class RateLimited(_TooMany):
    """The session asks more often than it may."""

    type = "rate_limited"


# --- calls that the router ended ----------------------------------------------------------------------------------


@attrs.define(eq=False, slots=False)
class CallCancelled(CallError):
    """The caller cancelled the call."""

    code = 499
    type = "call_cancelled"

    def __str__(self) -> str:
        return f"The call was cancelled{self._fate()}"


@attrs.define(eq=False, slots=False)
class OwnerDisconnected(CallError):
    """The callee's session ended before it answered."""

    code = 502
    type = "owner_disconnected"

    instance_id: str

    def __str__(self) -> str:
        return f"Instance {self.instance_id!r} disconnected before it answered{self._fate()}"


@attrs.define(eq=False, slots=False)
class InvalidAnswer(CallError):
    """The callee answered with something that is not a JSON-RPC answer."""

    code = 502
    type = "invalid_answer"

    instance_id: str | None = None

    def __str__(self) -> str:
        who = "The callee" if self.instance_id is None else f"Instance {self.instance_id!r}"
        return f"{who} answered with something that is not JSON-RPC{self._fate()}"


@attrs.define(eq=False, slots=False)
class Unavailable(CallError):
    """Nobody can take this now. ``reason`` says why; ``retry_after_seconds`` when to ask again, if known."""

    code = 503
    type = "unavailable"

    reason: UnavailableReason
    retry_after_seconds: float | None = None

    def __str__(self) -> str:
        text = {
            "draining": "It is shutting down and takes nothing new",
            "overloaded": "The receiver has more work than it can take",
            "no_healthy_instance": "No instance of the service is healthy",
            "suspended": "The owner is away and may come back",
            "moved": "The resource has just moved to another owner",
            "read_only": "The cluster has no quorum; nothing new is granted",
        }.get(self.reason, self.reason)
        return text + self._fate()


@attrs.define(eq=False, slots=False)
class CallTimeout(CallError):
    """No answer came within the time the caller gave."""

    code = 504
    type = "call_timeout"

    timeout_seconds: float

    def __str__(self) -> str:
        return f"No answer within {self.timeout_seconds:g} seconds{self._fate()}"


@attrs.define(eq=False, slots=False)
class UnknownRouterError(RouterError):
    """An error of a type that this version does not know, from a newer router."""

    code: int  # type: ignore[misc]  # the wire's, where the other classes have one of their own
    type: str  # type: ignore[misc]
    message: str
    wire_data: Mapping[str, Any]

    def data(self) -> dict[str, Any]:
        return dict(self.wire_data)

    def __str__(self) -> str:
        return self.message


# --- not the router's word ----------------------------------------------------------------------------------------


@attrs.define(eq=False, slots=False)
class RemoteError(ResrouteError):
    """The callee's own error, as it sent it. A method of a service may raise it to send one.

    Attributes:
        code: the number, free for the service to choose.
        message: a sentence for people.
        data: whatever the callee added, or None.
    """

    code: int
    message: str
    data: Any = None

    def __str__(self) -> str:
        return f"{self.message} (code {self.code})"


class StaleEpoch(RemoteError):
    """What an instance raises when a call comes with an epoch that is out of date, before it has run anything.

    The router then sends the call to the owner that there is now, or tells the caller that it was not delivered: so the
    caller, too, may take it that nothing ran. Not raised at callers.
    """

    type: ClassVar = "stale_epoch"

    def __init__(self) -> None:
        super().__init__(409, "stale epoch", {"type": self.type})


@attrs.define(eq=False, slots=False)
class ConnectionFailed(ResrouteError):
    """No connection to the router could be made."""

    url: str
    reason: str
    http_status: int | None = None
    """With which the handshake was refused, if it was."""
    retry_after_seconds: float | None = None
    """When to come again, if whoever refused it said so: the router, or a proxy in front of it."""

    def __str__(self) -> str:
        return f"Cannot connect to {self.url}: {self.reason}"


@attrs.define(eq=False, slots=False)
class ConnectionLost(ResrouteError):
    """The connection to the router has ended. ``code`` is the WebSocket's close code, None without a close.

    ``delivery`` is ``not_delivered`` when what was asked never left this process.
    """

    code: int | None = None
    reason: str = ""
    delivery: Delivery = "unknown"

    def __str__(self) -> str:
        why = (
            f"close code {self.code}" + (f", {self.reason}" if self.reason else "")
            if self.code
            else self.reason
        )
        return "The connection to the router has ended" + (f": {why}" if why else "")


class TokenRejected(ConnectionLost):
    """The router takes the token not, or not any more, or has waited for one in vain. The client does not reconnect."""


class AccessDenied(ConnectionLost):
    """The router does not let this session be, whoever it is. The client does not reconnect."""


class SessionReplaced(ConnectionLost):
    """Another connection has resumed this session with its token, and has all it owned. The client does not reconnect."""


class SessionEnded(ConnectionLost):
    """An administrator has ended this session; ``reason`` says why. The client does not reconnect."""


_LOST_BY_CODE: Mapping[int | None, type[ConnectionLost]] = {
    4001: TokenRejected,
    4003: AccessDenied,
    4009: SessionReplaced,
    4010: SessionEnded,
}


def connection_lost(code: int | None, reason: str, delivery: Delivery = "unknown") -> ConnectionLost:
    """The error for the end of a connection, of the class that its close code has."""
    return _LOST_BY_CODE.get(code, ConnectionLost)(code, reason, delivery)


@attrs.define(eq=False, slots=False)
class FellBehind(ResrouteError):
    """What arrived was not taken fast enough: more than ``limit_bytes`` were waiting, and what came then is lost.

    A call whose partial results these were is cancelled; it may have run.
    """

    limit_bytes: int

    def __str__(self) -> str:
        return f"More than {self.limit_bytes} bytes have arrived that were not taken"


@attrs.define(eq=False, slots=False)
class ResourceLost(ResrouteError):
    """A block that owned a resource has lost it, so its body was cancelled. See :meth:`resroute.Instance.own`.

    Attributes:
        epoch: of the grant that is over.
        cause: ``forced``, ``transfer``, ``expired`` or ``released_by_admin``, as the router says; ``session_ended``: the
            connection has ended, which is the cause of this error; ``released``: this instance itself has given it up.
        new_owner: the instance that owns it now, if the router says so.
        transfer_id: of the transfer, if it was one.
        reason: what whoever took it says.
    """

    resource_id: str
    epoch: int | None
    cause: str
    new_owner: str | None = None
    transfer_id: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        to = "" if self.new_owner is None else f", to {self.new_owner!r}"
        why = "" if self.reason is None else f": {self.reason}"
        return f"Resource {self.resource_id!r} was lost ({self.cause}{to}){why}"


@attrs.define(eq=False, slots=False)
class WatchLost(ResrouteError):
    """A watch has ended because what it was to be told is forgotten: this session read too slowly.

    Begin again with a snapshot. What is remembered still is after ``oldest_revision``.
    """

    oldest_revision: int

    def __str__(self) -> str:
        return f"The watch fell behind: changes are remembered from revision {self.oldest_revision} on"


def _leaves(cls: type[RouterError]) -> list[type[RouterError]]:
    below = [leaf for child in cls.__subclasses__() for leaf in _leaves(child)]
    return below or [cls]


ROUTER_ERRORS: Mapping[str, type[RouterError]] = {
    cls.type: cls for cls in _leaves(RouterError) if cls is not UnknownRouterError
}
"""Each error type of the protocol and its class."""


def router_error_from_wire(code: int, message: str, data: Mapping[str, Any]) -> RouterError:
    """The error that the router put on the wire.

    Tolerant of newer routers: members this version does not know are left out, and an unknown type (or one whose members
    are not what they should be) is an :class:`UnknownRouterError` that keeps all that was sent.
    """
    cls = ROUTER_ERRORS.get(str(data.get("type")))
    if cls is not None and cls.code == code:
        try:
            return cls(**msgspec.structs.asdict(msgspec.convert(data, _members_of(cls))))
        except msgspec.ValidationError:
            pass
    kept = UnknownRouterError(code, str(data.get("type", "unknown")), message, data)
    trace_id = data.get("trace_id")
    kept.trace_id = trace_id if isinstance(trace_id, str) else None
    return kept


_members: dict[type[RouterError], type[msgspec.Struct]] = {}  # made when they are first needed


def _members_of(cls: type[RouterError]) -> type[msgspec.Struct]:
    """What an error of this class has on the wire."""
    if cls in _members:
        return _members[cls]
    types = get_type_hints(cls)
    members: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        (field.name, _any_word(types[field.name]))
        + (() if field.default is attrs.NOTHING else (field.default,))
        for field in attrs.fields(cls)
    ]
    made = _members[cls] = msgspec.defstruct(cls.__name__, members, kw_only=True)
    return made


def _any_word(kind: Any) -> Any:
    """A type, with any text where this version knows some words: a newer router may have others."""
    if get_origin(kind) is Literal:
        return str
    if get_origin(kind) in (Union, UnionType):
        return reduce(or_, (_any_word(each) for each in get_args(kind)))
    return kind
