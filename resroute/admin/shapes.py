"""What the API of administrators takes and tells beside what the router's methods do."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from resroute.audit.records import Event
from resroute.core.commands import Cause
from resroute.ids import InstanceId, ResourceId
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.router.instance_calls import CallInFlight, CallTimes

MAX_REVISION = 2**53 - 1
"""Any revision fits into what JavaScript takes for a whole number."""

MAX_RECORD_ID = 2**63 - 1
"""Of the audit log, as are its cursors."""


class OneInstance(r.Result, kw_only=True):
    """One connected instance."""

    instance: r.InstanceInfo


class OneResource(r.Result, kw_only=True):
    """One resource that has an owner, and what has become of it lately."""

    resource: r.ResourceInfo
    waiters: int
    """Registrations that wait for it."""
    history: Sequence[r.TransitionInfo]
    """The last changes of its owner or its metadata, oldest first."""


class CallsOfInstance(r.Result, kw_only=True):
    """Calls that an instance has not answered yet, and how long it takes to answer."""

    calls: Sequence[CallInFlight]
    total_count: int
    has_more: bool
    times: CallTimes
    """Of what it answered in the last minute, as far as it was looked at."""
    errors_total: Mapping[str, int]
    """Calls that ended without a result while it was looked at, by the type of the error."""
    measured_seconds: float
    """For how long it has been looked at."""
    service_times: CallTimes
    """Of what all instances of its service answered in the last minute."""


class CalleeError(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An error of the callee's own."""

    code: int
    message: str
    data: Any | UnsetType = UNSET


class CallMeta(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the router says about an answer."""

    trace_id: str
    duration_ms: float
    resource_id: str | UnsetType = UNSET
    instance_id: str | UnsetType = UNSET
    epoch: int | UnsetType = UNSET


class CallAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the callee answered: a result or an error of its own."""

    meta: CallMeta
    result: Any | UnsetType = UNSET
    error: CalleeError | UnsetType = UNSET


class AuditResource(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A resource that a record is about."""

    resource_id: str
    epoch_before: int | None = None
    """None: nobody owned it."""
    epoch_after: int | None = None


class AuditActor(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Who asked for it."""

    subject: str
    session_id: str
    instance_id: str | None = None


class AuditRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One thing that was recorded."""

    id: int
    at: str
    """Time."""
    revision: int
    event: Event
    resource_count: int
    resources: Sequence[AuditResource]
    """The first of them; if one was asked for, that one."""
    cause: Cause | None = None
    actor: AuditActor | None = None
    """None: the router itself."""
    service_name: str | None = None
    instance_before: str | None = None
    instance_after: str | None = None
    about_session_id: str | None = None
    transfer_id: str | None = None
    trace_id: str | None = None
    reason: str | None = None


class AuditPage(r.Result, kw_only=True):
    """Some records of the audit log."""

    records: Sequence[AuditRecord]
    next_cursor: int | UnsetType = UNSET
    """To ask for what follows; without one nothing does."""


class SettingsInForce(r.Result, kw_only=True):
    """The settings that the router runs with."""

    settings: Mapping[str, Any]
    changeable: Sequence[str]
    """Those that are read again at SIGHUP."""


@attrs.frozen(kw_only=True)
class AuditFilterParams(p.Params):
    """Which records. A time is one in RFC 3339, a day, or how long ago: `90s`, `15m`, `1h`, `2d`, `1w`."""

    since: str | None = None
    until: str | None = None
    resource_id: ResourceId | None = None
    instance_id: InstanceId | None = None
    actor: str | None = None
    event: Event | None = None
    cause: Cause | None = None


@attrs.frozen(kw_only=True)
class AuditParams(AuditFilterParams):
    """Parameters of a page of the audit log."""

    limit: int = 100
    cursor: int | None = None
    newest_first: bool = True


@attrs.frozen(kw_only=True)
class ExportParams(AuditFilterParams):
    """Parameters of an export of the audit log."""

    format: Literal["jsonl", "csv"] = "jsonl"
    limit: int | None = attrs.field(
        default=None, metadata={"bounds": {"minimum": 1, "maximum": MAX_RECORD_ID}}
    )
    """Only so many records, the newest."""


@attrs.frozen(kw_only=True)
class EventParams(p.FilterParams):
    """Parameters of a stream of events."""

    from_revision: int | None = None


@attrs.frozen(kw_only=True)
class CallsParams(p.Params):
    """Parameters of a page of the calls that an instance has to answer."""

    instance_id: InstanceId
    limit: int = 100
    offset: int = 0
