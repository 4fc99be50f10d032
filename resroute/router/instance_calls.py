"""What one instance has to do: the calls that it has not answered yet, and how long it takes to answer."""

from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Literal

import msgspec
import trio
import trio.lowlevel
from msgspec import UNSET, UnsetType

from resroute.core.state import State
from resroute.ids import InstanceId, ResourceId, ServiceName, SessionId
from resroute.router.calls import Call
from resroute.router.close_ups import CloseUps
from resroute.router.session import Session
from resroute.router.wording import method_of
from resroute.telemetry.traffic import Traffic, quantile_seconds

MAX_METHOD_LENGTH = 256
"""As much of the name of a method as is told."""

_AT_A_TIME = 50


class CallInFlight(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One call that an instance has to answer."""

    call_id: int
    """The correlation id under which the instance has it; of one in line, its number there."""
    state: Literal["in_line", "queued", "sent"]
    """Whether it waits for the instance to have room, is about to be sent to it, or is with it."""
    trace_id: str
    caller_session_id: SessionId
    caller_subject: str
    age_seconds: float
    left_seconds: float
    """Until its time is up."""
    caller_instance_id: InstanceId | UnsetType = UNSET
    method: str | UnsetType = UNSET
    """Absent of a large call that is with its callee: the router does not keep it."""
    resource_id: ResourceId | UnsetType = UNSET
    service_name: ServiceName | UnsetType = UNSET
    """As the caller gave it."""


class CallTimes(msgspec.Struct, kw_only=True):
    """How long calls took that were answered in the last minute, and how many that were. Null without any."""

    answered: int
    p50_ms: float | None
    p99_ms: float | None


class InstanceCalls(msgspec.Struct, kw_only=True):
    """Some of the calls that an instance has to answer, and how long it takes."""

    calls: Sequence[CallInFlight]
    total_count: int
    has_more: bool
    times: CallTimes
    errors_total: Mapping[str, int]
    """Of calls that it ended without a result since it is looked at, by the type of the error."""
    measured_seconds: float
    """For how long it has been looked at: before that, nothing was measured of this instance alone."""
    service_times: CallTimes
    """The same of its whole service, always."""


class CallsView:
    """Reads what the router knows of the calls of an instance. Who looks again and again has its calls measured meanwhile."""

    def __init__(self, state: State, sessions: Mapping[SessionId, Session], close_ups: CloseUps) -> None:
        self._state = state
        self._sessions = sessions
        self._close_ups = close_ups

    async def of(self, instance_id: InstanceId, *, limit: int, offset: int = 0) -> InstanceCalls | None:
        """Those that are with it, longest there first, then those in line. None if no such instance is connected.

        They are those of one moment; each is told as it is a moment later, while others get their turn in between.
        """
        owner = self._state.instance(instance_id)
        session = None if owner is None else self._sessions.get(owner.session_id)
        if session is None or session.owner is None:
            return None
        now = trio.current_time()
        close_up = self._close_ups.look_at(session, now)
        line = session.line
        total = len(session.delivered) + (0 if line is None else len(line))
        calls = list(islice(chain(session.delivered.values(), line or ()), offset, offset + limit))
        told = InstanceCalls(
            calls=[],
            total_count=total,
            has_more=offset + len(calls) < total,
            times=_times(close_up),
            errors_total=dict(close_up.errors),
            measured_seconds=round(now - close_up.began_at, 3),
            service_times=_times(close_up.service),
        )
        infos: list[CallInFlight] = []
        for number, call in enumerate(calls, 1):
            infos.append(_info(call, session, now))
            if not number % _AT_A_TIME:
                await trio.lowlevel.checkpoint()
        told.calls = infos
        return told


def _times(traffic: Traffic) -> CallTimes:
    lately = traffic.lately()
    return CallTimes(
        answered=sum(lately),
        p50_ms=_milliseconds(quantile_seconds(lately, 0.5)),
        p99_ms=_milliseconds(quantile_seconds(lately, 0.99)),
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds * 1000:.3g}")


def _info(call: Call, callee: Session, now: float) -> CallInFlight:
    caller = call.caller
    return CallInFlight(
        call_id=call.number,
        state=_state(call, callee),
        trace_id=call.trace_id,
        caller_session_id=caller.id,
        caller_subject=caller.subject,
        caller_instance_id=UNSET if caller.owner is None else caller.owner.instance_id,
        method=(method_of(call) or "")[:MAX_METHOD_LENGTH] or UNSET,
        resource_id=call.resource_id or UNSET,
        service_name=call.service_name or UNSET,
        age_seconds=round(now - call.started, 3),
        left_seconds=round(max(0.0, call.deadline - now), 3),
    )


def _state(call: Call, callee: Session) -> Literal["in_line", "queued", "sent"]:
    if call.place is not None:
        return "in_line"
    return "sent" if call.number <= callee.outbox.taken else "queued"
