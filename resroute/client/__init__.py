"""The Python SDK: call resources and services, and be an instance that answers such calls."""

from resroute.client.bulk import (
    BatchProgress,
    BatchResult,
    BulkFailure,
    BulkProgress,
    BulkRegistered,
    BulkReleased,
    BulkResource,
)
from resroute.client.calls import Call, Caller, OwnedCall, current_call
from resroute.client.changes import Acquired, Changes, Disconnected, Lost, Regained
from resroute.client.client import Client
from resroute.client.connection import Connection
from resroute.client.draining import Drained, DrainProgress
from resroute.client.insight import (
    Candidate,
    ErrorInfo,
    Explanation,
    RankedResource,
    Ranking,
    RouterStatistics,
    ServiceStatistics,
    Transition,
    Would,
)
from resroute.client.instance import Instance
from resroute.client.link import ClientState
from resroute.client.notices import Notification
from resroute.client.notifications import Notifications
from resroute.client.opening import open_client, open_client_over
from resroute.client.owning import Grant
from resroute.client.paging import Resources
from resroute.client.reconnecting import ReconnectPolicy
from resroute.client.results import (
    ClientStatistics,
    Heartbeat,
    InstanceInfo,
    InstancePage,
    MetadataFields,
    Move,
    Rebalanced,
    Registered,
    Released,
    Renewed,
    ResourceEvent,
    ResourceInfo,
    ResourceMetadata,
    ResourcePage,
    SessionInfo,
    SessionInstance,
    Transferred,
)
from resroute.client.retrying import RetryPolicy
from resroute.client.service import Releasing, Service
from resroute.client.streams import CallStream
from resroute.client.watching import ResourceEvents

__all__ = [
    "Acquired",
    "BatchProgress",
    "BatchResult",
    "BulkFailure",
    "BulkProgress",
    "BulkRegistered",
    "BulkReleased",
    "BulkResource",
    "Call",
    "CallStream",
    "Caller",
    "Candidate",
    "Changes",
    "Client",
    "ClientState",
    "ClientStatistics",
    "Connection",
    "Disconnected",
    "DrainProgress",
    "Drained",
    "ErrorInfo",
    "Explanation",
    "Grant",
    "Heartbeat",
    "Instance",
    "InstanceInfo",
    "InstancePage",
    "Lost",
    "MetadataFields",
    "Move",
    "Notification",
    "Notifications",
    "OwnedCall",
    "RankedResource",
    "Ranking",
    "Rebalanced",
    "ReconnectPolicy",
    "Regained",
    "Registered",
    "Released",
    "Releasing",
    "Renewed",
    "ResourceEvent",
    "ResourceEvents",
    "ResourceInfo",
    "ResourceMetadata",
    "ResourcePage",
    "Resources",
    "RetryPolicy",
    "RouterStatistics",
    "Service",
    "ServiceStatistics",
    "SessionInfo",
    "SessionInstance",
    "Transferred",
    "Transition",
    "Would",
    "current_call",
    "open_client",
    "open_client_over",
]
