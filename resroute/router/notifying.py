"""``session.notify``: what an owner may tell whom, and how that reads on the wire. Synchronous."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from resroute.core.records import Grant
from resroute.core.state import State
from resroute.errors import Forbidden, NotOwner, ResourceNotFound, SessionNotFound, Unavailable
from resroute.ids import ResourceId, SessionId
from resroute.protocol.messagepack import object_of, pack
from resroute.protocol.params import NotifyParams
from resroute.router.call_params import check_method
from resroute.router.calls import Call
from resroute.router.wording import translated
from resroute.transport.interface import CARRIAGE_RETURN, LINE_BREAK, in_one_line

if TYPE_CHECKING:
    from resroute.router.session import Session

_encode = msgspec.json.encode


def notify(
    sender: "Session",
    params: NotifyParams,
    payload: Raw | None,
    state: State,
    sessions: "Mapping[SessionId, Session]",
) -> None:
    """Put a notification of an owner's into the outbox of a session that has to do with its resource.

    Args:
        payload: what it passes on as the sender's own bytes, if those in ``params`` only stand for them.

    Raises:
        InvalidParams: the method is one that only the router may use, or the receiver's encoding cannot say the payload.
        Forbidden: the sender is no instance.
        ResourceNotFound: nobody owns the resource.
        NotOwner: somebody else does.
        SessionNotFound: there is no such session, or it has nothing to do with the resource: the two look alike.
        Unavailable: too much waits for that session already.
    """
    check_method(params.method, is_notification=True)
    grant = _grant_of(sender, params.resource_id, state)
    receiver = sessions.get(params.session_id)
    if receiver is None or not _knows(receiver, grant):
        raise SessionNotFound(params.session_id)
    if receiver.outbox.size_bytes > receiver.settings.outbox_soft_bytes:
        raise Unavailable("overloaded", delivery="not_delivered")
    own = params.params if params.params is None or payload is None else payload
    receiver.post_encoded(_message(params.method, own, grant, sender, receiver))


def _grant_of(sender: "Session", resource_id: ResourceId, state: State) -> Grant:
    if sender.owner is None:
        raise Forbidden("instance.register")
    grant = state.grant_of(resource_id)
    if grant is None:
        raise ResourceNotFound(resource_id)
    if grant.owner is not sender.owner:
        raise NotOwner(resource_id, grant.owner.instance_id)
    return grant


def _knows(receiver: "Session", grant: Grant) -> bool:
    """Whether a session has let the owner of a resource know of it."""
    resource_id = grant.resource_id
    return (
        grant.was_called_by(receiver.id)
        or (receiver.binding is not None and receiver.binding.resource_id == resource_id)
        or any(isinstance(made, Call) and made.resource_id == resource_id for made in receiver.made.values())
    )


def _message(method: str, payload: Raw | None, grant: Grant, sender: "Session", receiver: "Session") -> bytes:
    """The notification. Whom it is from stands in ``meta``, but for peers that are to get plain JSON-RPC."""
    said = None if payload is None else translated(payload, sender, receiver)
    meta = None
    if receiver.binding is None and not receiver.is_plain:
        meta = {"resource_id": grant.resource_id, "instance_id": grant.owner.instance_id}
    if receiver.speaks_msgpack:
        members = {"jsonrpc": pack("2.0"), "method": pack(method)}
        if said is not None:
            members["params"] = said
        if meta is not None:
            members["meta"] = pack(meta)
        return object_of(members)
    parts = [b'{"jsonrpc":"2.0","method":', _encode(method)]
    if said is not None:
        if receiver.takes_lines and (LINE_BREAK in said or CARRIAGE_RETURN in said):
            said = in_one_line(said)
        parts += (b',"params":', said)
    if meta is not None:
        parts += (b',"meta":', _encode(meta))
    return b"".join((*parts, b"}"))  # a large payload is copied once
