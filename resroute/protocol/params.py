"""The parameters of the router's own methods. What a docstring says below a member is what the method reference shows."""

from typing import Annotated, Literal

import attrs
import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute.ids import InstanceId, ResourceId, ServiceName, SessionId
from resroute.protocol.converting import (
    LATER,
    HandOverTo,
    JsonObject,
    JsonValue,
    Payload,
    ProgressToken,
    TraceId,
)


@attrs.frozen(kw_only=True)
class Params:
    """What every method takes."""

    trace_id: TraceId | None = None


@attrs.frozen(kw_only=True)
class NotifyParams(Params):
    """Parameters of ``session.notify``."""

    session_id: SessionId
    resource_id: ResourceId
    method: str
    params: Payload | None = None


@attrs.frozen(kw_only=True)
class EndSessionParams(Params):
    """Parameters of ``session.end``."""

    session_id: SessionId
    reason: str


@attrs.frozen(kw_only=True)
class RegisterInstanceParams(Params):
    """Parameters of ``instance.register``."""

    service_name: ServiceName
    instance_id: InstanceId | None = None
    metadata: JsonObject | None = None
    priority: int = 0
    max_concurrency: int | None = None
    plain: bool = False
    resume_token: str | None = None
    resume_grace_seconds: float = 0.0


@attrs.frozen(kw_only=True)
class DrainInstanceParams(Params):
    """Parameters of ``instance.drain``."""

    instance_id: InstanceId | None = None
    hand_over_to: HandOverTo = "service"
    deadline_seconds: float | None = None
    batch_size: int = 100
    progress_token: ProgressToken | None = None


@attrs.frozen(kw_only=True)
class QueryInstancesParams(Params):
    """Parameters of ``instance.query``."""

    service_name: ServiceName | None = None
    instance_id: InstanceId | None = None
    limit: int = 100
    offset: int = 0


class MetadataParams(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What a client gives of the metadata of a resource. What the router has added to it may be sent back."""

    resource_type: str | UnsetType | None = UNSET
    tags: list[str] | UnsetType = UNSET
    attributes: JsonObject | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    ttl_seconds: float | UnsetType | None = UNSET
    version: Raw | UnsetType = UNSET
    last_modified: Raw | UnsetType = UNSET
    created_by: Raw | UnsetType = UNSET


@attrs.frozen(kw_only=True)
class RegisterResourcesParams(Params):
    """Parameters of ``resource.register``."""

    resource_ids: list[ResourceId]
    service_name: ServiceName | None = None
    instance_id: InstanceId | None = None
    force: bool = False
    partial: bool = False
    wait_seconds: float = 0.0
    metadata: dict[ResourceId, MetadataParams] | None = None


@attrs.frozen(kw_only=True)
class UpdateResourceParams(Params):
    """Parameters of ``resource.update``."""

    resource_id: ResourceId
    metadata: MetadataParams
    merge: bool = False
    expected_version: int | None = None


@attrs.frozen(kw_only=True)
class RenewResourcesParams(Params):
    """Parameters of ``resource.renew``."""

    resource_ids: list[ResourceId]
    ttl_seconds: float | None = None


@attrs.frozen(kw_only=True)
class ReleaseResourcesParams(Params):
    """Parameters of ``resource.release``."""

    resource_ids: list[ResourceId]
    partial: bool = False


@attrs.frozen(kw_only=True)
class TransferResourcesParams(Params):
    """Parameters of ``resource.transfer``."""

    resource_ids: list[ResourceId]
    from_instance_id: InstanceId
    to_instance_id: InstanceId
    reason: str
    service_name: ServiceName | None = None
    verify_ownership: bool = True
    partial: bool = False
    state: dict[ResourceId, JsonValue] | None = None


@attrs.frozen(kw_only=True)
class FilterParams(Params):
    """Which resources are meant: those that are all of what is given."""

    service_name: ServiceName | None = None
    instance_id: InstanceId | None = None
    resource_ids: list[ResourceId] | None = None
    resource_type: str | None = None
    tags: list[str] | None = None
    prefix: str | None = None


@attrs.frozen(kw_only=True)
class BulkResource:
    """One resource of a registration in bulk."""

    resource_id: ResourceId
    metadata: MetadataParams | None = None
    force: bool = False


@attrs.frozen(kw_only=True)
class BulkParams(Params):
    """What both methods in bulk take."""

    service_name: ServiceName | None = None
    instance_id: InstanceId | None = None
    batch_size: int = 100
    continue_on_error: bool = False
    progress_token: ProgressToken | None = None


@attrs.frozen(kw_only=True)
class BulkRegisterParams(BulkParams):
    """Parameters of ``resource.bulk_register``."""

    resources: Annotated[list[BulkResource], LATER]


@attrs.frozen(kw_only=True)
class BulkReleaseParams(BulkParams):
    """Parameters of ``resource.bulk_release``."""

    resource_ids: Annotated[list[ResourceId], LATER]


@attrs.frozen(kw_only=True)
class QueryResourcesParams(FilterParams):
    """Parameters of ``resource.query``."""

    include_metadata: bool = True
    limit: int = 100
    offset: int = 0
    cursor: str | None = None


@attrs.frozen(kw_only=True)
class WatchParams(FilterParams):
    """Parameters of ``resource.watch``."""

    snapshot: bool = False
    from_revision: int | None = None


@attrs.frozen(kw_only=True)
class UnwatchParams(Params):
    """Parameters of ``resource.unwatch``."""

    watch_id: str


@attrs.frozen(kw_only=True)
class RebalanceServiceParams(Params):
    """Parameters of ``service.rebalance``."""

    service_name: ServiceName
    by: Literal["count", "calls"]
    max_moves: int | None = None
    dry_run: bool = False


@attrs.frozen(kw_only=True)
class ExplainParams(Params):
    """Parameters of ``route.explain``."""

    resource_id: ResourceId | None = None
    service_name: ServiceName | None = None


@attrs.frozen(kw_only=True)
class TopParams(Params):
    """Parameters of ``router.top``."""

    what: Literal["busiest", "unowned", "conflicts"]
    limit: int = 100


class RouteCall(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Parameters of ``route.call``: decoded on the hot path, so by msgspec, and without building ``params``."""

    method: str
    resource_id: ResourceId | UnsetType = UNSET
    service_name: ServiceName | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    timeout_seconds: float | UnsetType = UNSET
    idempotency_key: str | UnsetType = UNSET
    wait_for_owner_seconds: float | UnsetType = UNSET
    trace_id: str | UnsetType = UNSET


@attrs.frozen(kw_only=True)
class RouteCallParams(Params):
    """The same as :class:`RouteCall`, for naming everything that is wrong once something is."""

    method: str
    resource_id: ResourceId | None = None
    service_name: ServiceName | None = None
    params: Payload | None = None
    timeout_seconds: float | None = None
    idempotency_key: str | None = None
    wait_for_owner_seconds: float = 0.0


decode_route_call = msgspec.json.Decoder(RouteCall).decode
