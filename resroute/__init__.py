"""A router for calls to resources: each resource has one owner, for exactly as long as the owner's connection
lives.

What users of the Python SDK need is here: :func:`open_client` and everything that it leads to, and every
error. It is imported when it is first used, so that a program that needs only the router loads no client, and
the other way round.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resroute.client import (
        Call,
        Caller,
        CallStream,
        Client,
        ClientStatistics,
        Connection,
        Heartbeat,
        Instance,
        InstanceInfo,
        InstancePage,
        Notification,
        Notifications,
        Registered,
        Released,
        ResourceInfo,
        ResourceMetadata,
        ResourcePage,
        SessionInfo,
        SessionInstance,
        current_call,
        open_client,
        open_client_over,
    )
    from resroute.errors import (
        AlreadyRegistered,
        AnswerTooLarge,
        CallCancelled,
        CallError,
        CallTimeout,
        ConnectionFailed,
        ConnectionLost,
        Delivery,
        FellBehind,
        Forbidden,
        InstanceConflict,
        InstanceNotFound,
        InternalError,
        InvalidAnswer,
        InvalidParams,
        InvalidRequest,
        MethodNotFound,
        NotOwner,
        OwnerDisconnected,
        ParseError,
        RateLimited,
        RemoteError,
        ResourceConflict,
        ResourceLimitExceeded,
        ResourceNotFound,
        ResrouteError,
        RevisionGone,
        RouterError,
        ServiceMismatch,
        ServiceNotFound,
        SessionNotFound,
        StaleEpoch,
        TooManyCalls,
        TooManyWaiters,
        TooManyWatches,
        Unauthenticated,
        Unavailable,
        UnknownRouterError,
        VersionConflict,
        WatchNotFound,
    )

__all__ = [
    "AlreadyRegistered",
    "AnswerTooLarge",
    "Call",
    "CallCancelled",
    "CallError",
    "CallStream",
    "CallTimeout",
    "Caller",
    "Client",
    "ClientStatistics",
    "Connection",
    "ConnectionFailed",
    "ConnectionLost",
    "Delivery",
    "FellBehind",
    "Forbidden",
    "Heartbeat",
    "Instance",
    "InstanceConflict",
    "InstanceInfo",
    "InstanceNotFound",
    "InstancePage",
    "InternalError",
    "InvalidAnswer",
    "InvalidParams",
    "InvalidRequest",
    "MethodNotFound",
    "NotOwner",
    "Notification",
    "Notifications",
    "OwnerDisconnected",
    "ParseError",
    "RateLimited",
    "Registered",
    "Released",
    "RemoteError",
    "ResourceConflict",
    "ResourceInfo",
    "ResourceLimitExceeded",
    "ResourceMetadata",
    "ResourceNotFound",
    "ResourcePage",
    "ResrouteError",
    "RevisionGone",
    "RouterError",
    "ServiceMismatch",
    "ServiceNotFound",
    "SessionInfo",
    "SessionInstance",
    "SessionNotFound",
    "StaleEpoch",
    "TooManyCalls",
    "TooManyWaiters",
    "TooManyWatches",
    "Unauthenticated",
    "Unavailable",
    "UnknownRouterError",
    "VersionConflict",
    "WatchNotFound",
    "current_call",
    "open_client",
    "open_client_over",
]

if not TYPE_CHECKING:  # type checkers would take any name for one of ours

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from resroute import errors

        if hasattr(errors, name):
            return getattr(errors, name)
        from resroute import client

        return getattr(client, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
