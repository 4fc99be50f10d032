"""On whose behalf a session acts."""

from resroute.core.records import OwnerRecord
from resroute.core.state import State
from resroute.errors import Forbidden, InstanceNotFound, ServiceMismatch
from resroute.ids import InstanceId, ServiceName
from resroute.router.session import Session


def acting_owner(
    state: State,
    session: Session,
    service_name: ServiceName | None,
    instance_id: InstanceId | None,
    *,
    may_be_suspended: bool = False,
) -> OwnerRecord:
    """The instance that a request is about: the session's own, or for administrators the one they name."""
    own = session.owner
    is_own = own is not None and instance_id in (None, own.instance_id)
    if not session.may("admin") and (
        (instance_id is not None and not is_own)
        or (own is not None and service_name not in (None, own.service.name))
    ):
        raise Forbidden("admin" if own is not None else "instance.register")
    owner = own if is_own else state.instance(instance_id) if instance_id is not None else None
    if owner is not None and owner.suspended_until is not None and not may_be_suspended:
        owner = None
    if owner is None:
        if instance_id is not None:
            raise InstanceNotFound(instance_id)
        raise Forbidden("instance.register")
    if service_name not in (None, owner.service.name):
        raise ServiceMismatch(str(service_name), instance_id=owner.instance_id)
    return owner
