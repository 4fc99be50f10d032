"""The results of the router's own methods, and the shapes they are made of. Members that are not set are left out."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from resroute.ids import Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId
from resroute.protocol.converting import JsonObject


class Result(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What every result holds."""

    trace_id: str = ""


class HeartbeatInfo(msgspec.Struct, kw_only=True):
    """When a silent session counts as gone."""

    interval_seconds: float
    timeout_seconds: float


class SessionInstance(msgspec.Struct, kw_only=True):
    """Which instance a session is."""

    service_name: ServiceName
    instance_id: InstanceId


class SessionInfo(Result, kw_only=True):
    """Result of ``session.info``."""

    session_id: SessionId
    router_id: str
    protocol: str
    features: Sequence[str]
    subject: str
    roles: Sequence[str]
    limits: Mapping[str, float]
    heartbeat: HeartbeatInfo
    instance: SessionInstance | UnsetType = UNSET


class Notified(Result, kw_only=True):
    """Result of ``session.notify``."""

    delivered_to_outbox: Literal[True]


class RegisteredInstance(Result, kw_only=True):
    """Result of ``instance.register``. ``resumed`` tells the first 1000 of what was taken over from an earlier session."""

    service_name: ServiceName
    instance_id: InstanceId
    session_id: SessionId
    resume_token: str
    resumed_count: int
    resumed: Mapping[ResourceId, Epoch]
    limits: Mapping[str, float]
    heartbeat: HeartbeatInfo


class DrainedInstance(Result, kw_only=True):
    """Result of ``instance.drain``."""

    handed_over: int
    released: int
    in_flight: int


class InstanceInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One instance. ``remote_address`` and ``metadata`` are for administrators."""

    instance_id: InstanceId
    service_name: ServiceName
    session_id: SessionId
    connected_at: str
    status: Literal["healthy", "unresponsive", "draining", "suspended"]
    priority: int
    resources: int
    in_flight: int
    latency_ms: float | None
    remote_address: str | UnsetType = UNSET
    metadata: Annotated[JsonObject, msgspec.Meta(extra_json_schema={"type": "object"})] | UnsetType = UNSET
    suspended_until: str | UnsetType = UNSET


class InstancePage(Result, kw_only=True):
    """Result of ``instance.query``."""

    instances: Sequence[InstanceInfo]
    total_count: int
    has_more: bool


class RegisteredResources(Result, kw_only=True):
    """Result of ``resource.register``."""

    success: bool
    registered: Sequence[ResourceId]
    conflicts: Mapping[ResourceId, InstanceId]
    epochs: Mapping[ResourceId, Epoch]


class ReleasedResources(Result, kw_only=True):
    """Result of ``resource.release``. ``failed`` names an error type for each id that was not released."""

    success: bool
    released: Sequence[ResourceId]
    failed: Mapping[ResourceId, str]


class ResourceMetadata(msgspec.Struct, kw_only=True):
    """What a resource says of itself."""

    version: int
    created_by: InstanceId
    last_modified: str
    """Time."""
    resource_type: str | None
    tags: Sequence[str]
    attributes: Annotated[JsonObject, msgspec.Meta(extra_json_schema={"type": "object"})]
    priority: int
    ttl_seconds: float | None


class ResourceInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One resource that has an owner."""

    resource_id: ResourceId
    owner_instance_id: InstanceId
    service_name: ServiceName
    registered_at: str
    epoch: Epoch
    is_healthy: bool
    calls_total: int
    last_called_at: str | UnsetType = UNSET
    metadata: ResourceMetadata | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    suspended_until: str | UnsetType = UNSET


EventName = Literal["registered", "transferred", "released", "updated", "expired"]


class ResourceEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One change of the owner or of the metadata of a resource, as watches are told."""

    event: EventName
    resource: ResourceInfo
    """As it was after the event, or the last there was."""
    cause: str
    previous_owner: InstanceId | UnsetType = UNSET


class StartedWatch(Result, kw_only=True):
    """Result of ``resource.watch``."""

    watch_id: str
    revision: Revision
    """Every change after this one is told."""
    resources: Sequence[ResourceInfo] | UnsetType = UNSET
    next_cursor: str | UnsetType = UNSET


class ResourcePage(Result, kw_only=True):
    """Result of ``resource.query``, in code-point order of ids."""

    resources: Sequence[ResourceInfo]
    total_count: int
    has_more: bool
    revision: Revision
    total_count_is_lower_bound: Literal[True] | UnsetType = UNSET
    next_cursor: str | UnsetType = UNSET


class UpdatedResource(Result, kw_only=True):
    """Result of ``resource.update``."""

    resource: ResourceInfo


class TransferredResources(Result, kw_only=True):
    """Result of ``resource.transfer``. ``failed`` names an error type for each id that stays where it is."""

    success: bool
    transferred: Sequence[ResourceId]
    failed: Mapping[ResourceId, str]
    epochs: Mapping[ResourceId, Epoch]
    transfer_id: str


class Move(msgspec.Struct, kw_only=True, gc=False):
    """One resource that goes from one instance to another."""

    resource_id: ResourceId
    from_instance_id: InstanceId
    to_instance_id: InstanceId


class RebalancedService(Result, kw_only=True):
    """Result of ``service.rebalance``."""

    moves: Sequence[Move]
    transfer_ids: Sequence[str]
    """One for each pair of instances between which something was moved. None of a dry run."""
    has_more: Literal[True] | UnsetType = UNSET
    """It takes more moves than were allowed, or fit into an answer: ask again."""


class RenewedResources(Result, kw_only=True):
    """Result of ``resource.renew``."""

    renewed: Sequence[ResourceId]
    expires_at: Mapping[ResourceId, str]


class Failure(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One item of a bulk that failed."""

    resource_id: ResourceId
    reason: str
    error_code: str
    """The type of an error."""
    current_owner: InstanceId | UnsetType = UNSET


class BatchResult(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of one batch."""

    batch_number: int
    """From 1."""
    success_count: int
    failure_count: int
    duration_ms: float
    epoch: Epoch | UnsetType = UNSET
    """Of what it has registered and was not owned before."""


class BulkResult(Result, kw_only=True):
    """What both methods in bulk answer."""

    total_requested: int
    complete: bool
    """All that was asked for is done."""
    failed: Sequence[Failure]
    batch_results: Sequence[BatchResult]
    rolled_back: bool
    """Nothing is done, and everything is as it was."""
    has_more: Literal[True] | UnsetType = UNSET
    """The lists are cut: all of it would be over `max_message_bytes`."""


class BulkRegistered(BulkResult, kw_only=True):
    """Result of ``resource.bulk_register``. When it is complete, what was asked for is not said again."""

    total_registered: int
    epochs: Mapping[ResourceId, Epoch]
    """When `complete`, only those that differ from the `epoch` of their batch."""
    registered: Sequence[ResourceId] | UnsetType = UNSET


class BulkReleased(BulkResult, kw_only=True):
    """Result of ``resource.bulk_release``. When it is complete, what was asked for is not said again."""

    total_released: int
    released: Sequence[ResourceId] | UnsetType = UNSET


class Candidate(InstanceInfo, kw_only=True):
    """An instance that could get a call."""

    able: bool
    """Whether it would take one now."""
    reason: (
        Literal["draining", "suspended", "unresponsive", "max_concurrency", "outbox_full", "left_alone"]
        | UnsetType
    ) = UNSET
    """Why not. `left_alone`: it has let calls time out, and gets one only where nobody else can take it."""


class TransitionInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One change of the owner or of the metadata of a resource."""

    revision: Revision
    event: EventName
    cause: str
    at: str
    """Time."""
    instance_id: InstanceId | UnsetType = UNSET
    """Who owns it from then on; of a release or an expiry, who owned it until then; of an update, who owns it."""


class ErrorInfo(msgspec.Struct, kw_only=True):
    """An error as a call would be answered with it."""

    code: int
    message: str
    data: Mapping[str, Any]


class Would(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a call would meet if it were made now: one of the two."""

    deliver_to: InstanceId | UnsetType = UNSET
    error: ErrorInfo | UnsetType = UNSET


class Explanation(Result, kw_only=True):
    """Result of ``route.explain``."""

    status: Literal["owned", "unowned", "suspended", "pending"]
    candidates: Sequence[Candidate]
    waiters: int
    transitions: Sequence[TransitionInfo]
    recent_calls: Mapping[str, int]
    would: Would
    owner: ResourceInfo | UnsetType = UNSET
    flapping: Literal[True] | UnsetType = UNSET


class RankedResource(msgspec.Struct, kw_only=True):
    """One resource in a ranking."""

    resource_id: ResourceId
    count: int
    last_at: str
    """Time."""


class Ranking(Result, kw_only=True):
    """Result of ``router.top``, the highest count first."""

    entries: Sequence[RankedResource]


class ServiceStatistics(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One service in numbers."""

    instances: int
    resources: int
    in_flight: int
    calls_total: int
    errors_total: Mapping[str, int]
    p50_ms: float | None
    p99_ms: float | None
    suspended: int = 0
    """Instances that were cut off, and may come back. Left out if there are none."""


class Statistics(Result, kw_only=True):
    """Result of ``router.statistics``."""

    sessions: int
    resources: int
    calls_in_flight: int
    uptime_seconds: float
    services: Mapping[ServiceName, ServiceStatistics]
    services_left_out: int | UnsetType = UNSET


class Document(msgspec.Struct, kw_only=True):
    """Result of ``rpc.discover``: an OpenRPC document. Without a trace id, so that tools take it as it is."""

    openrpc: str
    info: Mapping[str, Any]
    methods: Sequence[Mapping[str, Any]]
    components: Mapping[str, Any]


encode_result = msgspec.json.Encoder().encode
