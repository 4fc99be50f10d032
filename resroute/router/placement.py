"""Which instance of a service gets a call: the highest priority first, then the fewest calls in flight, then in turn.

An instance that lets calls time out has few in flight, and would get more of them for it. So one that has let
:data:`TIMEOUTS_IN_A_ROW` calls time out without answering any is left alone for :data:`LEFT_ALONE_SECONDS`, then tried with
one call. If that times out too, the time doubles, up to :data:`MAX_LEFT_ALONE_SECONDS`; any answer ends it. Where nobody
else can take the call it gets it all the same: callers with short time-outs must not be able to keep others from a service.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from resroute.core.state import State
from resroute.errors import ServiceNotFound, Unavailable
from resroute.ids import ServiceName, SessionId

if TYPE_CHECKING:
    from resroute.router.session import Session

TIMEOUTS_IN_A_ROW = 5
LEFT_ALONE_SECONDS = 5.0
MAX_LEFT_ALONE_SECONDS = 60.0


def note_timeout(session: "Session", now: float) -> None:
    """An instance was handed a call and has not answered it in time."""
    session.timeouts_in_a_row += 1
    if session.timeouts_in_a_row >= TIMEOUTS_IN_A_ROW:
        session.left_alone_until = now + _left_alone_seconds(session)


def note_try(session: "Session", now: float) -> None:
    """An instance gets a call by service. If it was left alone, that is one to try it with: no other before it has failed."""
    if session.timeouts_in_a_row >= TIMEOUTS_IN_A_ROW and now >= session.left_alone_until:
        session.left_alone_until = now + _left_alone_seconds(session)


def is_left_alone(session: "Session", now: float) -> bool:
    """Whether an instance gets calls by service only where nobody else can take them."""
    return session.timeouts_in_a_row >= TIMEOUTS_IN_A_ROW and now < session.left_alone_until


def _left_alone_seconds(session: "Session") -> float:
    doublings = min(session.timeouts_in_a_row - TIMEOUTS_IN_A_ROW, 10)
    return min(LEFT_ALONE_SECONDS * (1 << doublings), MAX_LEFT_ALONE_SECONDS)


class Pool:
    """The instances of one service that takes calls by name, ordered by how busy they are.

    Finding the next one and counting a call cost the same for two instances and for a thousand: each level holds the
    sessions with that many calls in flight, and whoever moves to a level goes to its end, which is what takes turns.
    """

    __slots__ = ("_levels", "_priorities")

    def __init__(self) -> None:
        # priority -> calls in flight -> sessions; no level without a session
        self._levels: dict[int, dict[int, dict[Session, None]]] = {}
        self._priorities: list[int] = []  # highest first

    def __len__(self) -> int:
        return sum(len(level) for levels in self._levels.values() for level in levels.values())

    def add(self, session: "Session", priority: int) -> None:
        """An instance has come."""
        levels = self._levels.get(priority)
        if levels is None:
            levels = self._levels[priority] = {}
            self._priorities = sorted(self._levels, reverse=True)
        levels.setdefault(len(session.delivered), {})[session] = None

    def remove(self, session: "Session", priority: int) -> None:
        """An instance has gone. Its calls in flight are still counted in its session."""
        levels = self._levels[priority]
        self._leave(levels, session, len(session.delivered))
        if not levels:
            del self._levels[priority]
            self._priorities = sorted(self._levels, reverse=True)

    def moved(self, session: "Session", priority: int, before: int) -> None:
        """The calls in flight of an instance have changed from ``before`` to what its session says now."""
        levels = self._levels[priority]
        self._leave(levels, session, before)
        levels.setdefault(len(session.delivered), {})[session] = None

    @staticmethod
    def _leave(levels: "dict[int, dict[Session, None]]", session: "Session", count: int) -> None:
        level = levels[count]
        del level[session]
        if not level:
            del levels[count]

    def in_order(self) -> "Iterator[Session]":
        """The instances, best first. Take one and stop reading before anything changes."""
        for priority in self._priorities:
            levels = self._levels[priority]
            for count in sorted(levels):
                yield from levels[count]


class Pools:
    """A pool for each service that was called by name. The others cost their instances nothing."""

    __slots__ = ("_pools", "_sessions", "_soft_bytes", "_state")

    def __init__(self, state: State, sessions: "Mapping[SessionId, Session]", soft_bytes: int) -> None:
        self._soft_bytes = soft_bytes
        self._state = state
        self._sessions = sessions
        self._pools: dict[ServiceName, Pool] = {}

    def choose(self, service_name: ServiceName, now: float) -> "Session":
        """The instance to call; :func:`note_try` when it is.

        Raises:
            ServiceNotFound: no instance of the service is registered.
            Unavailable: none of them can take a call now.
        """
        service = self._state.service(service_name)
        if service is None:
            raise ServiceNotFound(service_name)
        pool = self._pools.get(service_name)
        if pool is None:
            pool = self._pools[service_name] = Pool()
            for owner in service.instances.values():
                self.add(self._sessions.get(owner.session_id))
            if not len(pool):  # the ends of its sessions are still on their way through the log
                del self._pools[service_name]
        is_any_healthy = False
        left_alone = None
        for session in pool.in_order():
            if not session.is_responsive:
                continue
            is_any_healthy = True
            if not session.has_room or session.outbox.size_bytes > self._soft_bytes:
                continue
            if not is_left_alone(session, now):
                return session
            left_alone = left_alone or session
        if left_alone is not None:
            return left_alone
        if is_any_healthy:
            raise Unavailable("overloaded", delivery="not_delivered")
        connected = [owner for owner in service.instances.values() if owner.suspended_until is None]
        do_all_drain = bool(connected) and all(owner.is_draining for owner in connected)
        raise Unavailable("draining" if do_all_drain else "no_healthy_instance", delivery="not_delivered")

    def in_order(self, service_name: ServiceName) -> "Iterator[Session]":
        """The instances of a service that was called by name, best first. Stop reading before anything changes."""
        pool = self._pools.get(service_name)
        return iter(()) if pool is None else pool.in_order()

    def add(self, session: "Session | None") -> None:
        """An instance is there. Does nothing unless its service was called by name before, or if it drains."""
        if session is not None and (owner := session.owner) is not None and not owner.is_draining:
            pool = self._pools.get(owner.service.name)
            if pool is not None and session.pool is None:
                session.pool = pool
                pool.add(session, owner.priority)

    def remove(self, session: "Session") -> None:
        """An instance has gone, or drains."""
        if session.pool is not None and session.owner is not None:
            session.pool.remove(session, session.owner.priority)
            if not len(session.pool):
                del self._pools[session.owner.service.name]
            session.pool = None
