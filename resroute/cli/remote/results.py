"""What only the admin API answers, as values. Members that a newer router adds are left out."""

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from resroute.audit.records import Event
from resroute.core.commands import Cause


@attrs.frozen(kw_only=True)
class RemoteSettings:
    """The settings that a router runs with.

    Attributes:
        settings: by their dotted paths; what is secret is masked.
        changeable: those that are read again at SIGHUP.
    """

    settings: Mapping[str, Any]
    changeable: tuple[str, ...] = ()


# --- calls --------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class CallInFlight:
    """One call that an instance has to answer.

    Attributes:
        state: ``in_line``, ``queued`` or ``sent``: it waits for the instance to have room, is about to be sent, or is there.
        left_seconds: until its time is up.
    """

    call_id: int
    state: str
    age_seconds: float
    left_seconds: float
    caller_session_id: str
    caller_subject: str
    trace_id: str
    caller_instance_id: str | None = None
    method: str | None = None
    resource_id: str | None = None
    service_name: str | None = None


@attrs.frozen(kw_only=True)
class CallTimes:
    """How long calls took that were answered in the last minute, and how many that were."""

    answered: int
    p50_ms: float | None = None
    p99_ms: float | None = None


@attrs.frozen(kw_only=True)
class InstanceCalls:
    """Calls that an instance has not answered yet, and how long it takes to answer.

    Attributes:
        times: of what it answered in the last minute, as far as it was looked at.
        errors_total: calls that ended without a result while it was looked at, by the type of the error.
        measured_seconds: for how long it has been looked at.
        service_times: of what all instances of its service answered.
    """

    calls: tuple[CallInFlight, ...]
    total_count: int
    has_more: bool
    times: CallTimes
    errors_total: Mapping[str, int]
    measured_seconds: float
    service_times: CallTimes
    trace_id: str | None = None


# --- the audit log ------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class AuditFilters:
    """Which records. What is not given does not restrict; a time is one in RFC 3339, a day, or how long ago."""

    since: str | None = None
    until: str | None = None
    resource_id: str | None = None
    instance_id: str | None = None
    actor: str | None = None
    event: Event | None = None
    cause: Cause | None = None


@attrs.frozen(kw_only=True)
class AuditActor:
    """Who asked for it."""

    subject: str
    session_id: str
    instance_id: str | None = None


@attrs.frozen(kw_only=True)
class AuditResource:
    """A resource that a record is about."""

    resource_id: str


@attrs.frozen(kw_only=True)
class AuditRecord:
    """One thing that was recorded.

    Attributes:
        resources: the first of them; if one was asked for, that one.
        actor: None: the router itself.
    """

    id: int
    at: str
    event: str
    resource_count: int
    resources: tuple[AuditResource, ...] = ()
    cause: str | None = None
    actor: AuditActor | None = None
    instance_before: str | None = None
    instance_after: str | None = None
    reason: str | None = None


@attrs.frozen(kw_only=True)
class AuditPage:
    """Some records of the audit log. Without a ``next_cursor`` nothing follows."""

    records: tuple[AuditRecord, ...]
    next_cursor: int | None = None


read_settings = msgspec.json.Decoder(RemoteSettings).decode
read_instance_calls = msgspec.json.Decoder(InstanceCalls).decode
read_audit_page = msgspec.json.Decoder(AuditPage).decode
