"""The Python SDK: call resources and services, and be an instance that answers such calls."""

from resroute.client.calls import Call, current_call
from resroute.client.client import Client
from resroute.client.connection import Connection
from resroute.client.instance import Instance
from resroute.client.messages import Caller
from resroute.client.opening import open_client, open_client_over
from resroute.client.results import (
    ClientStatistics,
    Heartbeat,
    InstanceInfo,
    InstancePage,
    Registered,
    Released,
    ResourceInfo,
    ResourceMetadata,
    ResourcePage,
    SessionInfo,
    SessionInstance,
)

__all__ = [
    "Call",
    "Caller",
    "Client",
    "ClientStatistics",
    "Connection",
    "Heartbeat",
    "Instance",
    "InstanceInfo",
    "InstancePage",
    "Registered",
    "Released",
    "ResourceInfo",
    "ResourceMetadata",
    "ResourcePage",
    "SessionInfo",
    "SessionInstance",
    "current_call",
    "open_client",
    "open_client_over",
]
