"""What an instance owns, as the router tells it. Every change of that happens in this file, in the reader's order."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Protocol

import attrs
import msgspec
import trio
from msgspec import Raw

from resroute.client.arrivals import Listeners
from resroute.client.changes import (
    Acquired,
    Change,
    Disconnected,
    Lost,
    Regained,
    read_acquired,
    read_lost,
)
from resroute.client.claims import Claim
from resroute.client.requests import given
from resroute.client.results import (
    MetadataFields,
    Registered,
    Released,
    fields_of,
    read_registered,
    read_released,
)
from resroute.errors import ResourceLost

MAX_ENDED = 10_000
"""How many grants that have ended are remembered."""

_ASKED_FOR = "request"
_RESUMED = "resume"
_NOT_OURS = ("resource_not_found", "not_owner")


class Follower(Protocol):
    """Whoever is told of each grant when it begins and when it ends. Told at once, so it must not wait."""

    def granted(self, acquired: Acquired, *, is_back: bool) -> None:
        """A grant is in force, and no call under it has begun yet.

        ``is_back``: this instance has owned the resource in its last session, and nobody has in between.
        """
        ...

    def ended(self, resource_id: str) -> None:
        """A grant is over."""
        ...


class Owned:
    """Resources and the epochs of their grants.

    Attributes:
        follower: of them, if there is one.
        interruptions: how often all of it was over with a session.
        resumed_at: the epoch of what was taken over from an earlier session, in one step and with nobody in between; 0 if
            nothing was.
    """

    def __init__(self) -> None:
        self.follower: Follower | None = None
        self.resumed_at = 0
        self.listeners = Listeners[Change]()
        self.interruptions = 0
        self._is_over = False
        self._epochs: dict[str, int] = {}
        # resource -> the epoch of its last grant that has ended; the oldest is forgotten when there are too many
        self._ended: dict[str, int] = {}
        # resource -> the block that owns it, or is about to
        self._claims: dict[str, Claim] = {}
        # what was owned when the last session ended and is to be taken back: resource -> the epoch of its grant then
        self._wanted: dict[str, int] = {}
        # what this instance has said of what it owns or wants, for a router that has forgotten it
        self._said: dict[str, MetadataFields] = {}
        # resources whose release is under way: nobody wants them back
        self._leaving: Counter[str] = Counter()

    @property
    def epochs(self) -> Mapping[str, int]:
        """A live view."""
        return MappingProxyType(self._epochs)

    def claim(self, resource_id: str) -> Claim:
        """Have one block alone take care of a resource, until :meth:`disclaim`.

        Raises:
            trio.BusyResourceError: another block does.
        """
        if resource_id in self._claims:
            raise trio.BusyResourceError(f"another block of this instance owns {resource_id!r}")
        claim = self._claims[resource_id] = Claim(resource_id)
        return claim

    def disclaim(self, claim: Claim) -> None:
        """The block has ended."""
        del self._claims[claim.resource_id]

    def take_registered(self, result: Raw) -> Registered:
        """The answer to a registration."""
        registered = read_registered(result)
        for resource_id, epoch in registered.epochs.items():
            if self._epochs.get(resource_id) != epoch:
                self._begin(self._granted(resource_id, epoch))
        return registered

    def note_said(self, metadata: Mapping[str, MetadataFields]) -> None:
        """What this instance says of resources that it owns, by their ids. Of others nothing is kept."""
        for resource_id, fields in metadata.items():
            if resource_id in self._epochs:
                self._said[resource_id] = fields

    def take_granted(self, epochs: Mapping[str, int]) -> None:
        """The answer to a registration in bulk. Calls under these epochs may have come before it, and later news."""
        for resource_id, epoch in epochs.items():
            self.take_epoch(resource_id, epoch)

    def take_claimed(self, claim: Claim, result: Raw) -> int:
        """The answer to the registration of a block. Returns the epoch."""
        epoch = self.take_registered(result).epochs.get(claim.resource_id)
        if epoch is None:
            raise msgspec.ValidationError("the answer to a registration has no epoch")
        claim.begin(epoch)
        return epoch

    def take_released(self, result: Raw) -> Released:
        """The answer to a release."""
        released = read_released(result)
        self.drop(released.released)
        # as it is after a release that was cancelled before its answer came
        self.drop(resource_id for resource_id, kind in released.failed.items() if kind in _NOT_OURS)
        return released

    def take_lost(self, params: Raw) -> None:
        """A notice that something was taken away."""
        notice = read_lost(params)
        size = len(params) // max(1, len(notice.resource_ids))
        for resource_id in notice.resource_ids:
            self._said.pop(resource_id, None)
            lost = Lost(
                resource_id=resource_id,
                epoch=self._end(resource_id),
                cause=notice.cause,
                new_owner=notice.new_owner,
                transfer_id=notice.transfer_id,
                reason=notice.reason,
            )
            claim = self._claims.get(resource_id)
            if claim is not None:
                claim.lose(ResourceLost(**attrs.asdict(lost)))
            self.listeners.tell(lost, size)

    def take_acquired(self, params: Raw) -> None:
        """A notice that something was handed over to this instance."""
        acquired = read_acquired(params)
        for grant in acquired:
            self._take(grant)
            if grant.metadata is not None:
                self.note_said({grant.resource_id: fields_of(grant.metadata)})
            self.listeners.tell(grant, len(params) // len(acquired))

    def take_epoch(self, resource_id: str, epoch: int) -> bool:
        """A call came with this epoch: news, if it is above the one we know.

        That is how the grant of a registration becomes known that was cancelled before its answer came.

        Returns:
            Whether the grant can be in force. Not if a later one is known, or if this one is known to have ended.
        """
        known = self._epochs.get(resource_id, 0)
        if self._is_over:
            return False
        return epoch == known or self._take(self._granted(resource_id, epoch))

    def _take(self, acquired: Acquired) -> bool:
        """Whether a grant is news, and can be in force."""
        resource_id = acquired.resource_id
        last = max(self._epochs.get(resource_id, 0), self._ended.get(resource_id, 0))
        if acquired.epoch > last:
            self._begin(acquired)
        return acquired.epoch > last

    def _begin(self, acquired: Acquired) -> None:
        if self._is_over:
            return
        resource_id, epoch = acquired.resource_id, acquired.epoch
        self._epochs[resource_id] = epoch
        previous_epoch = self._wanted.pop(resource_id, None)
        if self.follower is not None:
            is_back = previous_epoch is not None and acquired.cause == _RESUMED
            self.follower.granted(acquired, is_back=is_back)
        if previous_epoch is not None and acquired.cause in (_ASKED_FOR, _RESUMED):
            regained = Regained(resource_id=resource_id, epoch=epoch, previous_epoch=previous_epoch)
            self.listeners.tell(regained, len(resource_id))

    def _granted(self, resource_id: str, epoch: int) -> Acquired:
        """What this instance has asked for."""
        cause = _RESUMED if epoch == self.resumed_at else _ASKED_FOR
        return Acquired(resource_id=resource_id, epoch=epoch, cause=cause)

    def drop(self, resource_ids: Iterable[str]) -> None:
        """This instance has given them up."""
        for resource_id in resource_ids:
            self._said.pop(resource_id, None)
            epoch = self._end(resource_id)
            claim = self._claims.get(resource_id)
            if claim is not None and not claim.is_leaving:
                claim.lose(ResourceLost(resource_id, epoch, "released"))

    @contextmanager
    def leaving(self, resource_ids: Iterable[str]) -> Iterator[None]:
        """Their release is under way, for as long as the block runs. If the session ends meanwhile, that does it."""
        ids = list(resource_ids)
        self._leaving.update(ids)
        try:
            yield
        finally:
            self._leaving.subtract(ids)
            for resource_id in ids:
                if not self._leaving[resource_id]:
                    del self._leaving[resource_id]

    # --- from one session to the next -----------------------------------------------------------------------------

    def interrupt(self, reason: str) -> None:
        """The session has ended, and with it all ownership; what is wanted is to be taken back in the next one.

        Not what blocks own: they have lost it, and end.
        """
        self.interruptions += 1
        for resource_id, epoch in list(self._epochs.items()):
            if resource_id not in self._claims and resource_id not in self._leaving:
                self._wanted[resource_id] = epoch
            else:
                self._said.pop(resource_id, None)
            self._end(resource_id)
        for resource_id, claim in self._claims.items():
            claim.lose(ResourceLost(resource_id, claim.epoch, "session_ended"))
        self.listeners.tell(Disconnected(reason=reason), len(reason))

    def is_wanted(self, resource_id: str) -> bool:
        """Whether it was owned in the last session and is not taken back yet, nor given up."""
        return resource_id in self._wanted

    def wanted_items(self) -> dict[str, dict[str, Any]]:
        """What to register in bulk, by id."""
        return {
            resource_id: given(resource_id=resource_id, metadata=self._said.get(resource_id))
            for resource_id in self._wanted
        }

    def miss(self, resource_id: str, owner: str | None, reason: str | None) -> None:
        """It cannot be taken back."""
        epoch = self._wanted.pop(resource_id, None)
        self._said.pop(resource_id, None)
        if self.follower is not None:
            self.follower.ended(resource_id)
        lost = Lost(
            resource_id=resource_id, epoch=epoch, cause="session_ended", new_owner=owner, reason=reason
        )
        self.listeners.tell(lost, len(resource_id))

    def clear(self, cause: str) -> None:
        """Nothing is owned any more, and nothing will be, whatever the router says."""
        self._is_over = True
        ended = list(self._epochs)
        self._epochs.clear()
        self._wanted.clear()
        self._said.clear()
        if self.follower is not None:
            for resource_id in ended:
                self.follower.ended(resource_id)
        for resource_id, claim in self._claims.items():
            claim.lose(ResourceLost(resource_id, claim.epoch, cause))
        self.listeners.finish()

    def _end(self, resource_id: str) -> int | None:
        """The grant is over, if there was one. Returns its epoch."""
        epoch = self._epochs.pop(resource_id, None)
        if epoch is not None:
            self._ended.pop(resource_id, None)  # to the end of the line
            self._ended[resource_id] = epoch
            if len(self._ended) > MAX_ENDED:
                del self._ended[next(iter(self._ended))]
            if self.follower is not None:
                self.follower.ended(resource_id)
        return epoch
