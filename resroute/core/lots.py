"""Facts of one kind that come of one command, thousands at a time: each is made when somebody looks at it.

A bulk that is committed is ten thousand facts. To make them takes longer than to commit it, and hardly anybody looks at
them at once: what is to be known for that is kept instead, as it was then.
"""

from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import eq
from typing import TYPE_CHECKING, overload, override

from resroute.core.facts import (
    Details,
    Fact,
    Owner,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
    ResourceUpdated,
    TtlChanged,
    TtlKept,
)
from resroute.ids import Epoch, ResourceId

if TYPE_CHECKING:
    from resroute.core.commands import Cause
    from resroute.core.metadata import Metadata
    from resroute.core.records import Grant


class _Made[F: Fact](Sequence[F]):
    """Facts that are made when they are looked at. The same as any other sequence of the same facts."""

    __slots__ = ()

    @abstractmethod
    def _make(self, index: int) -> F:
        """The one at a place that there is."""

    @overload
    def __getitem__(self, index: int) -> F: ...
    @overload
    def __getitem__(self, index: slice) -> list[F]: ...
    @override
    def __getitem__(self, index: int | slice) -> F | list[F]:
        places = range(len(self))[index]
        if isinstance(places, int):
            return self._make(places)
        forwards = places if places.step > 0 else places[::-1]
        found = list(islice(self, forwards.start, forwards.stop, forwards.step))
        return found if forwards is places else found[::-1]

    @override
    def __iter__(self) -> Iterator[F]:
        return map(self._make, range(len(self)))

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    @override
    def __repr__(self) -> str:
        return repr(tuple(self))

    __hash__ = None  # type: ignore[assignment]  # they are equal to lists


class _Names(Sequence[ResourceId]):
    """Different ids in order, to be gone through.

    In a dictionary, which the garbage collector leaves alone from the start, since nothing in it can be part of a cycle. Of
    a new tuple it looks at each item.
    """

    __slots__ = ("_names",)

    def __init__(self, resource_ids: Iterable[ResourceId]) -> None:
        self._names = dict.fromkeys(resource_ids)

    @override
    def __len__(self) -> int:
        return len(self._names)

    @override
    def __iter__(self) -> Iterator[ResourceId]:
        return iter(self._names)

    @override
    def __contains__(self, name: object) -> bool:
        return name in self._names

    @overload
    def __getitem__(self, index: int) -> ResourceId: ...
    @overload
    def __getitem__(self, index: slice) -> list[ResourceId]: ...
    @override
    def __getitem__(self, index: int | slice) -> ResourceId | list[ResourceId]:
        if isinstance(index, slice):
            return list(self._names)[index]
        return next(islice(self._names, range(len(self._names))[index], None))


class Lot[F: Fact](_Made[F]):
    """Facts of one kind, each about another resource."""

    __slots__ = ("resource_ids",)

    def __init__(self, resource_ids: Iterable[ResourceId]) -> None:
        self.resource_ids: Sequence[ResourceId] = _Names(resource_ids)
        """What they are about, in their order."""

    @override
    def __len__(self) -> int:
        return len(self.resource_ids)

    @override
    def __iter__(self) -> Iterator[F]:
        return map(self._about, self.resource_ids, range(len(self)))

    @override
    def _make(self, index: int) -> F:
        return self._about(self.resource_ids[index], index)

    @abstractmethod
    def _about(self, resource_id: ResourceId, index: int) -> F:
        """The one about a resource, which is at this place."""


class Registrations(Lot[ResourceRegistered]):
    """Free resources that have one owner now, all under one epoch.

    Args:
        metadata: what is said of each.
    """

    __slots__ = ("_bare", "_metadata", "epoch", "owner")

    def __init__(
        self,
        resource_ids: Sequence[ResourceId],
        owner: Owner,
        epoch: Epoch,
        at: float,
        metadata: "Sequence[Metadata | None]",
    ) -> None:
        super().__init__(resource_ids)
        self.owner = owner
        self.epoch = epoch
        self._bare = Details(at)
        self._metadata = tuple(metadata) if any(metadata) else None

    @override
    def _about(self, resource_id: ResourceId, index: int) -> ResourceRegistered:
        details = self._bare
        metadata = None if self._metadata is None else self._metadata[index]
        if metadata is not None:
            at, ttl_seconds = details.registered_at, metadata.ttl_seconds
            details = Details(at, metadata, None if ttl_seconds is None else at + ttl_seconds)
        return ResourceRegistered(resource_id, self.owner, self.epoch, details)


class Releases(Lot[ResourceReleased]):
    """Resources that one owner has given up.

    Args:
        grants: what was in force. Nothing of them changes any more that is told.
        epochs: since when each was.
    """

    __slots__ = ("_epochs", "_grants", "cause", "previous_owner")

    def __init__(
        self,
        resource_ids: Sequence[ResourceId],
        previous_owner: Owner,
        cause: "Cause",
        grants: "Sequence[Grant]",
        epochs: Sequence[Epoch],
    ) -> None:
        super().__init__(resource_ids)
        self.previous_owner = previous_owner
        self.cause = cause
        self._grants = tuple(grants)
        self._epochs = array("q", epochs)

    @override
    def _about(self, resource_id: ResourceId, index: int) -> ResourceReleased:
        return ResourceReleased(
            resource_id,
            self.previous_owner,
            Epoch(self._epochs[index]),
            self.cause,
            self._grants[index].details(),
        )


class Updates(Lot[ResourceUpdated]):
    """Resources of one owner of which something else is said than before, all for one cause.

    Args:
        epochs: since when it has each.
        befores: what was said of each.
    """

    __slots__ = ("_befores", "_details", "_epochs", "cause", "owner")

    def __init__(
        self,
        resource_ids: Sequence[ResourceId],
        owner: Owner,
        epochs: Sequence[Epoch],
        cause: "Cause",
        details: Sequence[Details],
        befores: "Sequence[Metadata | None]",
    ) -> None:
        super().__init__(resource_ids)
        self.owner = owner
        self.cause = cause
        self._epochs = array("q", epochs)
        self._details = tuple(details)
        self._befores = tuple(befores)

    @override
    def _about(self, resource_id: ResourceId, index: int) -> ResourceUpdated:
        return ResourceUpdated(
            resource_id,
            self.owner,
            Epoch(self._epochs[index]),
            self.cause,
            self._details[index],
            self._befores[index],
        )


class TtlsBegun(Lot[TtlChanged]):
    """Grants under one epoch whose time to live begins.

    Args:
        ttls: in seconds.
    """

    __slots__ = ("_at", "_epoch", "_ttls")

    def __init__(
        self, resource_ids: Sequence[ResourceId], epoch: Epoch, at: float, ttls: Sequence[float]
    ) -> None:
        super().__init__(resource_ids)
        self._epoch = epoch
        self._at = at
        self._ttls = array("d", ttls)

    @override
    def _about(self, resource_id: ResourceId, index: int) -> TtlChanged:
        ttl_seconds = self._ttls[index]
        return TtlChanged(resource_id, self._epoch, ttl_seconds, self._at + ttl_seconds)


class Transfers(Lot[ResourceTransferred]):
    """Resources that have gone from one owner to another, all under one epoch.

    Args:
        epochs: since when the earlier one had each.
        details: of those that are not bare.
        befores: what was said of each before, if it is not what is said now.
    """

    __slots__ = ("_bare", "_befores", "_details", "_epochs", "cause", "epoch", "owner", "previous_owner")

    def __init__(
        self,
        resource_ids: Sequence[ResourceId],
        previous_owner: Owner,
        owner: Owner,
        epoch: Epoch,
        at: float,
        epochs: Sequence[Epoch],
        details: Sequence[Details | None],
        cause: "Cause",
        befores: "Sequence[Metadata | None] | None" = None,
    ) -> None:
        super().__init__(resource_ids)
        self.cause = cause
        self._befores = None if befores is None else tuple(befores)
        self.previous_owner = previous_owner
        self.owner = owner
        self.epoch = epoch
        self._bare = Details(at)
        self._epochs = array("q", epochs)
        self._details = tuple(details)

    @override
    def _about(self, resource_id: ResourceId, index: int) -> ResourceTransferred:
        details = self._details[index] or self._bare
        return ResourceTransferred(
            resource_id,
            self.owner,
            self.epoch,
            self.previous_owner,
            Epoch(self._epochs[index]),
            self.cause,
            details,
            details.metadata if self._befores is None else self._befores[index],
        )


class TtlsKept(Lot[TtlKept]):
    """Grants under one epoch that have followed others, whose time runs on.

    Args:
        expires_at: in wall-clock seconds.
    """

    __slots__ = ("_at", "_epoch", "_expires_at")

    def __init__(
        self, resource_ids: Sequence[ResourceId], epoch: Epoch, at: float, expires_at: Sequence[float]
    ) -> None:
        super().__init__(resource_ids)
        self._epoch = epoch
        self._at = at
        self._expires_at = array("d", expires_at)

    @override
    def _about(self, resource_id: ResourceId, index: int) -> TtlKept:
        expires_at = self._expires_at[index]
        return TtlKept(resource_id, self._epoch, max(0.0, expires_at - self._at), expires_at)


NOT_OF_OWNERSHIP = (TtlsBegun, TtlsKept)
"""Lots of which the history says nothing."""


class Facts[F: Fact](_Made[F]):
    """Facts one after the other, some of them in lots."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Sequence[F]]) -> None:
        self.parts = parts

    @override
    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @override
    def __iter__(self) -> Iterator[F]:
        return chain.from_iterable(self.parts)

    @override
    def _make(self, index: int) -> F:
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


def joined[F: Fact](*parts: Sequence[F]) -> Sequence[F]:
    """These facts one after the other: those that are in no lot as tuples."""
    found = [part for whole in parts for part in parts_of(whole) if part]
    if any(isinstance(part, Lot) for part in found):
        found = [part if isinstance(part, Lot) else tuple(part) for part in found]
        return found[0] if len(found) == 1 else Facts(found)
    return tuple(chain.from_iterable(found))


def parts_of[F: Fact](facts: Sequence[F]) -> Sequence[Sequence[F]]:
    """The lots among some facts, and what is between them."""
    if type(facts) is tuple:  # nearly always; to ask of what class it is takes longer
        return (facts,)
    return facts.parts if isinstance(facts, Facts) else (facts,)


def granted_in(facts: Sequence[Fact]) -> Iterator[ResourceId]:
    """What has a new owner."""
    for part in parts_of(facts):
        if type(part) is not tuple and isinstance(part, Lot):
            if isinstance(part, (Registrations, Transfers)):
                yield from part.resource_ids
        else:
            for fact in part:
                if isinstance(fact, (ResourceRegistered, ResourceTransferred)):
                    yield fact.resource_id
