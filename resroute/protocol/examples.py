"""One request and its answer for each method, as they would go over the wire. A test sends them to a router."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs


@attrs.frozen
class Example:
    """Parameters, and the result they would have. Ids, epochs and times differ each time."""

    name: str
    description: str
    params: Mapping[str, Any]
    result: Any


_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_LIMITS = {"max_resources_per_instance": 1000, "max_message_bytes": 1048576, "max_calls_in_flight": 1024}
_HEARTBEAT = {"interval_seconds": 10.0, "timeout_seconds": 25.0}

EXAMPLES: Mapping[str, Sequence[Example]] = {
    "rpc.discover": (Example("discover", "The document that you are reading.", {}, {"openrpc": "1.3.2"}),),
    "session.info": (
        Example(
            "info",
            "A session that has just begun.",
            {},
            {
                "trace_id": _TRACE,
                "session_id": "session-51d30e135b09c262",
                "router_id": "router-bb2d9b660a69",
                "protocol": "resroute.v1",
                "features": [],
                "subject": "anonymous",
                "roles": ["caller", "instance"],
                "limits": _LIMITS,
                "heartbeat": _HEARTBEAT,
            },
        ),
    ),
    "session.ping": (Example("ping", "Is the router there?", {}, {"trace_id": _TRACE}),),
    "session.notify": (
        Example(
            "notify",
            "Tell a caller of doc:7 that it has changed.",
            {
                "session_id": "session-51d30e135b09c262",
                "resource_id": "doc:7",
                "method": "changed",
                "params": {"page": 3},
            },
            {"trace_id": _TRACE, "delivered_to_outbox": True},
        ),
    ),
    "session.end": (
        Example(
            "end",
            "An administrator has seen enough of a session.",
            {"session_id": "session-51d30e135b09c262", "reason": "it answers nonsense"},
            {"trace_id": _TRACE},
        ),
    ),
    "instance.register": (
        Example(
            "register",
            "This session handles documents from here on.",
            {"service_name": "documents", "instance_id": "documents-1"},
            {
                "trace_id": _TRACE,
                "service_name": "documents",
                "instance_id": "documents-1",
                "session_id": "session-51d30e135b09c262",
                "resume_token": "8fSvGnyWDJ2TlpJIo1x3rNl5ELqU1nhYkGW0b4Wxu5M",
                "resumed_count": 0,
                "resumed": {},
                "limits": _LIMITS,
                "heartbeat": _HEARTBEAT,
            },
        ),
        Example(
            "resume",
            "The same program after its connection was lost, in a new session: doc:7 is still its own.",
            {
                "service_name": "documents",
                "instance_id": "documents-1",
                "resume_token": "8fSvGnyWDJ2TlpJIo1x3rNl5ELqU1nhYkGW0b4Wxu5M",
            },
            {
                "trace_id": _TRACE,
                "service_name": "documents",
                "instance_id": "documents-1",
                "session_id": "session-0c9d2ab4e7f05316",
                "resume_token": "Zr9m0kq7YHn5ZC2u1sVYFh4hV3tGQzv5oT8qNw2xk4E",
                "resumed_count": 1,
                "resumed": {"doc:7": 1838474819703840},
                "limits": _LIMITS,
                "heartbeat": _HEARTBEAT,
            },
        ),
    ),
    "instance.drain": (
        Example(
            "drain",
            "This instance is about to stop: whoever else handles documents takes what it owns.",
            {"hand_over_to": "service"},
            {"trace_id": _TRACE, "handed_over": 118, "released": 0, "in_flight": 2},
        ),
    ),
    "instance.query": (
        Example(
            "query",
            "Who handles documents?",
            {"service_name": "documents"},
            {
                "trace_id": _TRACE,
                "instances": [
                    {
                        "instance_id": "documents-1",
                        "service_name": "documents",
                        "session_id": "session-51d30e135b09c262",
                        "connected_at": "2026-11-22T09:30:00.250Z",
                        "status": "healthy",
                        "priority": 0,
                        "resources": 1,
                        "in_flight": 0,
                        "latency_ms": 0.4,
                    }
                ],
                "total_count": 1,
                "has_more": False,
            },
        ),
    ),
    "resource.register": (
        Example(
            "register",
            "Two documents, both or none.",
            {
                "resource_ids": ["doc:7", "doc:8"],
                "metadata": {
                    "doc:7": {"resource_type": "document", "tags": ["draft"], "attributes": {"pages": 3}}
                },
            },
            {
                "trace_id": _TRACE,
                "success": True,
                "registered": ["doc:7", "doc:8"],
                "conflicts": {},
                "epochs": {"doc:7": 1838474819703812, "doc:8": 1838474819703812},
            },
        ),
    ),
    "resource.release": (
        Example(
            "release",
            "One document, for somebody else to take.",
            {"resource_ids": ["doc:8"]},
            {"trace_id": _TRACE, "success": True, "released": ["doc:8"], "failed": {}},
        ),
    ),
    "resource.bulk_register": (
        Example(
            "bulk_register",
            "Three documents, all of them or none. They come into force together.",
            {
                "resources": [
                    {"resource_id": "doc:1"},
                    {"resource_id": "doc:2"},
                    {"resource_id": "doc:3", "metadata": {"tags": ["draft"]}},
                ],
                "batch_size": 2,
            },
            {
                "trace_id": _TRACE,
                "total_requested": 3,
                "complete": True,
                "failed": [],
                "batch_results": [
                    {
                        "batch_number": 1,
                        "success_count": 2,
                        "failure_count": 0,
                        "duration_ms": 0.121,
                        "epoch": 1838474819703815,
                    },
                    {
                        "batch_number": 2,
                        "success_count": 1,
                        "failure_count": 0,
                        "duration_ms": 0.094,
                        "epoch": 1838474819703815,
                    },
                ],
                "rolled_back": False,
                "total_registered": 3,
                "epochs": {},
            },
        ),
    ),
    "resource.bulk_release": (
        Example(
            "bulk_release",
            "All of them, for others to take. Nobody owns doc:9, which counts as given up.",
            {"resource_ids": ["doc:1", "doc:2", "doc:3", "doc:9"], "continue_on_error": True},
            {
                "trace_id": _TRACE,
                "total_requested": 4,
                "complete": True,
                "failed": [],
                "batch_results": [
                    {"batch_number": 1, "success_count": 4, "failure_count": 0, "duration_ms": 0.108}
                ],
                "rolled_back": False,
                "total_released": 4,
            },
        ),
    ),
    "resource.query": (
        Example(
            "query",
            "What does documents-1 own?",
            {"instance_id": "documents-1"},
            {
                "trace_id": _TRACE,
                "resources": [
                    {
                        "resource_id": "doc:7",
                        "owner_instance_id": "documents-1",
                        "service_name": "documents",
                        "registered_at": "2026-11-22T09:30:00.251Z",
                        "epoch": 1838474819703812,
                        "is_healthy": True,
                        "calls_total": 0,
                    }
                ],
                "total_count": 1,
                "has_more": False,
                "revision": 1838474819703813,
            },
        ),
    ),
    "resource.watch": (
        Example(
            "watch",
            "Tell me what becomes of drafts, and which there are now.",
            {"resource_type": "document", "tags": ["draft"], "snapshot": True},
            {
                "trace_id": _TRACE,
                "watch_id": "watch-1",
                "revision": 1838474819703813,
                "resources": [],
            },
        ),
    ),
    "resource.unwatch": (
        Example("unwatch", "That is enough.", {"watch_id": "watch-1"}, {"trace_id": _TRACE}),
    ),
    "resource.update": (
        Example(
            "update",
            "A new tag for doc:7, unless somebody has changed its metadata since.",
            {
                "resource_id": "doc:7",
                "metadata": {"tags": ["draft", "urgent"], "attributes": {"pages": 4}},
                "merge": True,
                "expected_version": 1,
            },
            {
                "trace_id": _TRACE,
                "resource": {
                    "resource_id": "doc:7",
                    "owner_instance_id": "documents-1",
                    "service_name": "documents",
                    "registered_at": "2026-11-22T09:30:00.251Z",
                    "epoch": 1838474819703812,
                    "is_healthy": True,
                    "calls_total": 0,
                    "metadata": {
                        "version": 2,
                        "created_by": "documents-1",
                        "last_modified": "2026-11-22T09:30:00.252Z",
                        "resource_type": "document",
                        "tags": ["draft", "urgent"],
                        "attributes": {"pages": 4},
                        "priority": 0,
                        "ttl_seconds": None,
                    },
                },
            },
        ),
    ),
    "resource.renew": (
        Example(
            "renew",
            "Half a minute more for doc:8, which has a time to live; doc:7 has none.",
            {"resource_ids": ["doc:7", "doc:8"], "ttl_seconds": 30},
            {
                "trace_id": _TRACE,
                "renewed": ["doc:7", "doc:8"],
                "expires_at": {"doc:8": "2026-11-22T09:30:30.252Z"},
            },
        ),
    ),
    "resource.transfer": (
        Example(
            "transfer",
            "Hand doc:7 to another instance of the service, with what it takes to go on there.",
            {
                "resource_ids": ["doc:7"],
                "from_instance_id": "documents-1",
                "to_instance_id": "documents-2",
                "reason": "documents-1 is busy",
                "state": {"doc:7": {"cursor": 118}},
            },
            {
                "trace_id": _TRACE,
                "success": True,
                "transferred": ["doc:7"],
                "failed": {},
                "epochs": {"doc:7": 1838474819703821},
                "transfer_id": "transfer-9b1f6a0c52d84e17",
            },
        ),
    ),
    "service.rebalance": (
        Example(
            "rebalance",
            "documents-2 has just come: have it take its share, but not more than 100 resources for now.",
            {"service_name": "documents", "by": "count", "max_moves": 100},
            {
                "trace_id": _TRACE,
                "moves": [
                    {
                        "resource_id": "doc:7",
                        "from_instance_id": "documents-1",
                        "to_instance_id": "documents-2",
                    }
                ],
                "transfer_ids": ["transfer-5f0c7d1e93ab2846"],
            },
        ),
    ),
    "route.call": (
        Example(
            "call",
            "Ask whoever owns doc:7; this one answers with what it was given.",
            {"resource_id": "doc:7", "method": "echo", "params": {"text": "hello"}},
            {"text": "hello"},
        ),
    ),
    "route.explain": (
        Example(
            "explain",
            "Who gets the calls for doc:7?",
            {"resource_id": "doc:7"},
            {
                "trace_id": _TRACE,
                "status": "owned",
                "candidates": [
                    {
                        "instance_id": "documents-1",
                        "service_name": "documents",
                        "session_id": "session-51d30e135b09c262",
                        "connected_at": "2026-11-22T09:30:00.250Z",
                        "status": "healthy",
                        "priority": 0,
                        "resources": 1,
                        "in_flight": 0,
                        "latency_ms": 0.4,
                        "able": True,
                    }
                ],
                "waiters": 0,
                "transitions": [
                    {
                        "revision": 1838474819703812,
                        "event": "registered",
                        "cause": "request",
                        "at": "2026-11-22T09:30:00.251Z",
                        "instance_id": "documents-1",
                    }
                ],
                "recent_calls": {"ok": 1},
                "would": {"deliver_to": "documents-1"},
                "owner": {
                    "resource_id": "doc:7",
                    "owner_instance_id": "documents-1",
                    "service_name": "documents",
                    "registered_at": "2026-11-22T09:30:00.251Z",
                    "epoch": 1838474819703812,
                    "is_healthy": True,
                    "calls_total": 1,
                    "last_called_at": "2026-11-22T09:31:12.004Z",
                },
            },
        ),
    ),
    "router.statistics": (
        Example(
            "statistics",
            "How is everybody?",
            {},
            {
                "trace_id": _TRACE,
                "sessions": 2,
                "resources": 1,
                "calls_in_flight": 0,
                "uptime_seconds": 72.013,
                "services": {
                    "documents": {
                        "instances": 1,
                        "resources": 1,
                        "in_flight": 0,
                        "calls_total": 1,
                        "errors_total": {},
                        "p50_ms": 0.46,
                        "p99_ms": 0.46,
                    }
                },
            },
        ),
    ),
    "router.top": (
        Example(
            "top",
            "What is called most?",
            {"what": "busiest", "limit": 3},
            {
                "trace_id": _TRACE,
                "entries": [{"resource_id": "doc:7", "count": 1, "last_at": "2026-11-22T09:31:12.004Z"}],
            },
        ),
    ),
}
