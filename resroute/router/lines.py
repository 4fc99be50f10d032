"""Where calls wait inside the router: in line for room at an instance, or for a resource to have an owner.

Synchronous and without a clock: when a wait is over is the business of whoever put the call here.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from resroute.errors import TooManyWaiters, Unavailable
from resroute.ids import ResourceId

if TYPE_CHECKING:
    from resroute.router.calls import Call
    from resroute.router.session import Session


class FairLine:
    """Calls that wait for room at one instance: a line for each caller, and the callers take turns.

    The soft mark of the instance's outbox bounds the bytes, as ``max_calls`` bounds the number: see
    :attr:`resroute.router.session.Session.backlog_bytes`. When the line is full, a caller whose share is smaller takes the
    place of the last call of the caller that has most calls in it: one that floods an instance crowds out itself.
    """

    __slots__ = ("_callee", "_lines", "_max_calls", "_size", "size_bytes")

    def __init__(self, callee: "Session", max_calls: int) -> None:
        self._callee = callee
        self._max_calls = max_calls
        # caller -> its calls by number, in order; the caller whose turn it is comes first, none is there without a call
        self._lines: dict[Session, dict[int, Call]] = {}
        self._size = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return self._size

    def has_any_of(self, caller: "Session") -> bool:
        """Whether a call of that caller waits here."""
        return caller in self._lines

    def make_room_for(self, caller: "Session") -> "Call | None":
        """Whose place the next call of that caller is to take: None where there is a free one.

        The call that is returned still stands in line, and must be removed.

        Raises:
            Unavailable: the line is full, and nobody has more calls in it than this caller would have.
        """
        if self._size < self._max_calls:
            return None
        own = self._lines.get(caller, ())
        longest = max(self._lines.values(), key=len, default=own)
        if len(longest) <= len(own) + 1:
            raise Unavailable("overloaded", delivery="not_delivered")
        return longest[next(reversed(longest))]

    def add(self, call: "Call") -> None:
        """Put a call at the end of its caller's line, for which :meth:`make_room_for` has made room."""
        line = self._lines.get(call.caller)
        if line is None:
            line = self._lines[call.caller] = {}
        line[call.number] = call
        self._size += 1
        self.size_bytes += call.size_bytes
        self._callee.keep(call.size_bytes)

    def remove(self, call: "Call") -> None:
        """A call waits no longer."""
        line = self._lines[call.caller]
        del line[call.number]
        if not line:
            del self._lines[call.caller]
        self._size -= 1
        self.size_bytes -= call.size_bytes
        self._callee.keep(-call.size_bytes)

    def next(self) -> "Call":
        """The call whose turn it is. Its caller goes to the end; the call stays until it is removed."""
        caller, line = next(iter(self._lines.items()))
        del self._lines[caller]
        self._lines[caller] = line
        return next(iter(line.values()))

    def __iter__(self) -> "Iterator[Call]":
        """All that wait, caller by caller. Stop reading before anything changes."""
        return (call for line in self._lines.values() for call in line.values())


class OwnerLines:
    """Calls that wait for a resource to have an owner, in the order they came. They count in their callers' memory."""

    __slots__ = ("_lines", "_max_calls")

    def __init__(self, max_calls: int) -> None:
        self._max_calls = max_calls  # for one resource
        # resource -> calls by number, in order; no resource is there without a call
        self._lines: dict[ResourceId, dict[int, Call]] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def check_room_for(self, resource_id: ResourceId) -> None:
        """Whether one more call may wait for this resource.

        Raises:
            TooManyWaiters: no.
        """
        if self.count(resource_id) >= self._max_calls:
            raise TooManyWaiters(self._max_calls)

    def add(self, call: "Call") -> None:
        """A call by resource waits, for which there is room."""
        assert call.resource_id is not None
        self._lines.setdefault(call.resource_id, {})[call.number] = call
        call.caller.keep(call.size_bytes)

    def remove(self, call: "Call") -> None:
        """A call waits no longer."""
        assert call.resource_id is not None
        line = self._lines[call.resource_id]
        del line[call.number]
        if not line:
            del self._lines[call.resource_id]
        call.caller.keep(-call.size_bytes)

    def count(self, resource_id: ResourceId) -> int:
        """How many wait for this resource."""
        return len(self._lines.get(resource_id, ()))

    def waiting_for(self, resource_id: ResourceId) -> "list[Call]":
        """The calls that wait for this resource. They stay until they are removed."""
        return list(self._lines.get(resource_id, {}).values())

    def all(self) -> "list[Call]":
        """All calls that wait. They stay until they are removed."""
        return [call for line in self._lines.values() for call in line.values()]
