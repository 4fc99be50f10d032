"""What a request in bulk has come to, as its answer says it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain

import msgspec
from msgspec import UNSET

from resroute.core.facts import ItemFailure
from resroute.errors import (
    InstanceNotFound,
    InvalidParams,
    NotOwner,
    ResourceConflict,
    ResourceLimitExceeded,
    ResourceNotFound,
    Unavailable,
)
from resroute.ids import Epoch, ResourceId
from resroute.protocol import results as r

ROOM_BYTES = 1024
"""What an answer takes beside its lists."""

_REASONS = {
    ResourceConflict.type: "another instance owns it",
    ResourceLimitExceeded.type: "the instance would own more than max_resources_per_instance",
    InvalidParams.type: "its metadata takes more than max_metadata_bytes",
    ResourceNotFound.type: "it has expired meanwhile",
    NotOwner.type: "another instance owns it, or it was released by an administrator",
    InstanceNotFound.type: "the instance has gone meanwhile",
    Unavailable.type: "the router, or the instance, is about to stop",
}

GONE = ItemFailure(InstanceNotFound.type)
DRAINING = ItemFailure(Unavailable.type)


def failure_of(resource_id: ResourceId, failure: ItemFailure) -> r.Failure:
    """Why an item failed."""
    reason = _REASONS.get(failure.error_type, failure.error_type.replace("_", " "))
    if failure.pending:
        reason = "another request in bulk has set it aside"
    return r.Failure(
        resource_id=resource_id,
        reason=reason,
        error_code=failure.error_type,
        current_owner=UNSET if failure.owner is None else failure.owner,
    )


def repeated(resource_id: ResourceId) -> r.Failure:
    """An item whose id stands in the same request before."""
    return r.Failure(
        resource_id=resource_id, reason="it is in this request twice", error_code=InvalidParams.type
    )


class Progress(r.BatchResult, kw_only=True):
    """What is told after each batch: how it went, and how far all of it is."""

    done: int
    total: int


class Tally:
    """What has become of the items so far."""

    def __init__(self) -> None:
        # in the order asked for; of a bulk that is one step, what is set aside. None where there is no epoch yet, or none
        self.done: dict[ResourceId, Epoch | None] = {}
        # what was owned before, and keeps its epoch
        self.kept: dict[ResourceId, Epoch] = {}
        self.failed: list[r.Failure] = []
        self.batches: list[r.BatchResult] = []

    def forget_done(self) -> None:
        """All of it is as it was."""
        self.done = {}

    def counts(self, asked: int, *, is_undone: bool, otherwise: str) -> Mapping[str, int]:
        """How many are done, as ``ok``, and how many are not, by the types of errors; ``otherwise`` of those without one."""
        done = 0 if is_undone else len(self.done)
        rest = asked - done - len(self.failed)
        counts = Counter({"ok": done})
        counts[otherwise] += rest
        counts.update(failure.error_code for failure in self.failed)
        return counts

    def registered(self, asked: int, *, rolled_back: bool) -> r.BulkRegistered:
        """The answer to a registration."""
        is_complete = len(self.done) == asked
        epochs = {resource_id: epoch for resource_id, epoch in self.done.items() if epoch is not None}
        if is_complete:
            epochs = self.kept
        result = r.BulkRegistered(
            total_requested=asked,
            total_registered=len(self.done),
            complete=is_complete,
            failed=self.failed,
            batch_results=self.batches,
            rolled_back=rolled_back,
            epochs=epochs,
        )
        if not is_complete:
            result.registered = list(self.done)
        return result

    def released(self, asked: int, *, rolled_back: bool) -> r.BulkReleased:
        """The answer to a release."""
        is_complete = len(self.done) == asked
        result = r.BulkReleased(
            total_requested=asked,
            total_released=len(self.done),
            complete=is_complete,
            failed=self.failed,
            batch_results=self.batches,
            rolled_back=rolled_back,
        )
        if not is_complete:
            result.released = list(self.done)
        return result


def cut_to(result: r.BulkRegistered | r.BulkReleased, max_bytes: int) -> None:
    """Leave out of the lists what would take an answer over a size, and say so.

    What failed comes first: what is registered can be asked for with ``resource.query``.
    """
    if len(r.encode_result(result)) + ROOM_BYTES <= max_bytes:
        return
    result.has_more = True
    room = _Room(max_bytes - ROOM_BYTES)
    result.failed = room.first(result.failed, _encoded_size)
    result.batch_results = room.first(result.batch_results, _encoded_size)
    if isinstance(result, r.BulkReleased):
        if result.released is not UNSET:
            result.released = room.first(result.released, _id_size)
        return
    result.epochs = dict(room.first(result.epochs.items(), lambda item: _id_size(item[0]) + 17))
    if result.registered is not UNSET:
        known = result.epochs
        result.registered = room.first((i for i in result.registered if i in known), _id_size)


class _Room:
    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes

    def first[T](self, items: Iterable[T], size_of: Callable[[T], int]) -> list[T]:
        """As many as there is room for."""
        taken: list[T] = []
        for item in chain(items):
            size = size_of(item) + len(",")
            if size > self._left:
                self._left = 0  # whatever is smaller and comes later would leave a gap
                break
            self._left -= size
            taken.append(item)
        return taken


def _encoded_size(value: msgspec.Struct) -> int:
    return len(r.encode_result(value))


def _id_size(resource_id: ResourceId) -> int:
    return len(resource_id) + len('""')
