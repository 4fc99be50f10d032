"""``$/ownerChanged``: bound connections that asked are told of each new owner of their resource, and of its loss."""

from typing import TYPE_CHECKING

from resroute.core.facts import Applied, Fact, ResourceRegistered, ResourceReleased, ResourceTransferred
from resroute.core.lots import Lot, parts_of
from resroute.ids import ResourceId
from resroute.protocol.envelope import notification_message

if TYPE_CHECKING:
    from resroute.router.session import Session

_CHANGES = (ResourceRegistered, ResourceTransferred, ResourceReleased)


class OwnerChanges:
    """Who is to be told when a resource changes hands. Costs nothing as long as nobody has asked."""

    def __init__(self) -> None:
        # resource -> the sessions bound to it that asked; none is there without a session
        self._listeners: dict[ResourceId, dict[Session, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._listeners.values()))

    def add(self, session: "Session") -> None:
        """A session has begun. Does nothing unless it asked to be told."""
        if (resource_id := _listens_to(session)) is not None:
            self._listeners.setdefault(resource_id, {})[session] = None

    def remove(self, session: "Session") -> None:
        """A session has ended."""
        if (resource_id := _listens_to(session)) is not None:
            listeners = self._listeners[resource_id]
            del listeners[session]
            if not listeners:
                del self._listeners[resource_id]

    def tell(self, applied: Applied) -> None:
        """Tell of every change among these facts, in their order."""
        listened_to = self._listeners
        if not listened_to:
            return
        for part in parts_of(applied.facts):
            if isinstance(part, Lot):
                for place, its_id in enumerate(part.resource_ids):
                    if its_id in listened_to:
                        self._tell(part[place], its_id)
                continue
            for fact in part:
                # quicker than to ask thousands of structs what they are
                resource_id = getattr(fact, "resource_id", None)
                if resource_id is not None and resource_id in listened_to:
                    self._tell(fact, resource_id)

    def _tell(self, fact: Fact, resource_id: ResourceId) -> None:
        if not isinstance(fact, _CHANGES):
            return
        params: dict[str, object] = {"resource_id": resource_id}
        if isinstance(fact, ResourceRegistered | ResourceTransferred):
            params["epoch"] = fact.epoch
        message = notification_message("$/ownerChanged", params)
        for session in self._listeners[resource_id]:
            session.post(message)


def _listens_to(session: "Session") -> ResourceId | None:
    binding = session.binding
    if binding is None or not binding.owner_changes:
        return None
    assert isinstance(binding.resource_id, str), (
        "only connections that are bound to a resource can ask for it"
    )
    return binding.resource_id
