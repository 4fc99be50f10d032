"""Registering and releasing in bulk, from the client's side."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import batched
from typing import Any

import attrs
import msgspec
from msgspec import Raw

from resroute.client.owned import Owned
from resroute.client.requests import given
from resroute.client.results import MetadataFields
from resroute.client.session import Session


@attrs.frozen(kw_only=True)
class BulkResource:
    """One resource to register in bulk, where there is more to say than its id. ``force`` is for administrators."""

    resource_id: str
    metadata: MetadataFields | None = None
    force: bool = False


@attrs.frozen(kw_only=True)
class BulkFailure:
    """One item that failed.

    Attributes:
        error_code: the type of an error, such as ``resource_conflict``.
        current_owner: who owns the resource, or is about to.
    """

    resource_id: str
    reason: str
    error_code: str
    current_owner: str | None = None


@attrs.frozen(kw_only=True)
class BatchResult:
    """What became of one batch. Of a bulk that is one step, ``success_count`` is what could be set aside."""

    batch_number: int
    success_count: int
    failure_count: int
    duration_ms: float
    epoch: int | None = None


@attrs.frozen(kw_only=True)
class BatchProgress(BatchResult):
    """What is told after each batch: how it went, and how many of all items have been looked at."""

    done: int
    total: int


@attrs.frozen(kw_only=True)
class _BulkResult:
    """What became of all of it.

    Attributes:
        complete: all that was asked for is done.
        rolled_back: nothing is done, and everything is as it was.
        has_more: the lists are cut: all of it did not fit into one message.
    """

    total_requested: int
    complete: bool
    failed: tuple[BulkFailure, ...] = ()
    batch_results: tuple[BatchResult, ...] = ()
    rolled_back: bool = False
    has_more: bool = False
    trace_id: str | None = None


@attrs.frozen(kw_only=True)
class BulkRegistered(_BulkResult):
    """What became of a registration in bulk. ``epochs`` has each of ``registered``."""

    total_registered: int
    registered: tuple[str, ...] = ()
    epochs: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class BulkReleased(_BulkResult):
    """What became of a release in bulk. What nobody owned counts as released."""

    total_released: int
    released: tuple[str, ...] = ()


_read_registered = msgspec.json.Decoder(BulkRegistered).decode
_read_released = msgspec.json.Decoder(BulkReleased).decode
_read_progress = msgspec.json.Decoder(BatchProgress).decode


class BulkProgress:
    """Which items are done, for another attempt to go on from there.

    Give the same one to each attempt. It counts for one instance and one connection: with another, everything begins anew.
    """

    def __init__(self) -> None:
        self._done: dict[str, None] = {}
        self._of: tuple[Owned, int] | None = None

    @property
    def done(self) -> Sequence[str]:
        """The ids that are done, as far as this is known."""
        return tuple(self._done)

    def left_of[T](self, items: Mapping[str, T], owned: Owned) -> dict[str, T]:
        """What is still to be done, of items by their ids."""
        if self._of != (owned, owned.interruptions):
            self._of, self._done = (owned, owned.interruptions), {}
        return {resource_id: item for resource_id, item in items.items() if resource_id not in self._done}

    def note(self, resource_ids: Iterable[str]) -> None:
        """These are done."""
        self._done.update(dict.fromkeys(resource_ids))


class BulkRequest:
    """One attempt.

    Args:
        items: what to ask for, by id.
    """

    def __init__(
        self,
        session: Session,
        owned: Owned,
        items: Mapping[str, Any],
        *,
        batch_size: int,
        continue_on_error: bool,
        progress: BulkProgress | None,
        on_progress: Callable[[BatchProgress], object] | None,
    ) -> None:
        self._session = session
        self._owned = owned
        self._progress = progress or BulkProgress()
        self._items = self._progress.left_of(items, owned)
        self._batches = list(batched(self._items, max(1, batch_size), strict=False))
        self._batch_size = batch_size
        self._continue_on_error = continue_on_error
        self._on_progress = on_progress
        self._error: Exception | None = None

    async def register(self, unheard: Callable[[], None] | None = None) -> BulkRegistered:
        """Ask for a registration. See :meth:`resroute.Instance.bulk_register`."""
        if not self._items:
            return BulkRegistered(total_requested=0, total_registered=0, complete=True)
        return await self._ask("resource.bulk_register", "resources", self._take_registered, unheard)

    async def release(self, unheard: Callable[[], None] | None = None) -> BulkReleased:
        """Ask for a release. See :meth:`resroute.Instance.bulk_release`."""
        if not self._items:
            return BulkReleased(total_requested=0, total_released=0, complete=True)
        return await self._ask("resource.bulk_release", "resource_ids", self._take_released, unheard)

    async def _ask[T](
        self, method: str, name: str, read: Callable[[Raw], T], unheard: Callable[[], None] | None = None
    ) -> T:
        with self._session.listening_to_progress(self._take_progress) as token:
            params = given(
                batch_size=self._batch_size, continue_on_error=self._continue_on_error, progress_token=token
            )
            request = {name: list(self._items.values()), **params}
            result = await self._session.request(method, request, read, unheard=unheard)
        if self._error is not None:
            raise self._error
        return result

    def _take_progress(self, value: Raw) -> None:
        told = _read_progress(value)
        if not 0 < told.batch_number <= len(self._batches):
            raise msgspec.ValidationError(f"there is no batch {told.batch_number}")
        if self._continue_on_error and not told.failure_count:
            self._progress.note(self._batches[told.batch_number - 1])
        if self._on_progress is not None and self._error is None:
            try:
                self._on_progress(told)
            except Exception as error:  # it is theirs, and must not end the session
                self._error = error

    def _take_registered(self, result: Raw) -> BulkRegistered:
        told = _read_registered(result)
        if told.complete:
            epochs = {
                resource_id: batch.epoch
                for batch, ids in zip(told.batch_results, self._batches, strict=False)
                if batch.epoch is not None
                for resource_id in ids
            }
            told = attrs.evolve(told, registered=tuple(self._items), epochs=epochs | dict(told.epochs))
        self._owned.take_granted(told.epochs)
        self._owned.note_said(
            {name: item["metadata"] for name, item in self._items.items() if "metadata" in item}
        )
        self._progress.note(told.registered)
        return told

    def _take_released(self, result: Raw) -> BulkReleased:
        told = _read_released(result)
        if told.complete:
            told = attrs.evolve(told, released=tuple(self._items))
        self._owned.drop(told.released)
        self._progress.note(told.released)
        return told


def items_of(resources: Iterable[str | BulkResource]) -> dict[str, dict[str, Any]]:
    """What to send for each of them, by id; of an id that is there twice the later.

    Raises:
        TypeError: these are no ids.
    """
    _check_several(resources)
    items: dict[str, dict[str, Any]] = {}
    for resource in resources:
        match resource:
            case str():
                items[resource] = {"resource_id": resource}
            case BulkResource(resource_id=str(resource_id)):
                items[resource_id] = given(
                    resource_id=resource_id, metadata=resource.metadata, force=resource.force or None
                )
            case _:
                raise TypeError(
                    f"a resource in bulk is an id, or a BulkResource that has one, not {resource!r}"
                )
    return items


def ids_of(resource_ids: Iterable[str]) -> dict[str, str]:
    """The same where there is nothing to say but ids.

    Raises:
        TypeError: these are none.
    """
    _check_several(resource_ids)
    ids: dict[str, str] = {}
    for resource_id in resource_ids:
        if not isinstance(resource_id, str):
            raise TypeError(f"the id of a resource is text, not {resource_id!r}")
        ids[resource_id] = resource_id
    return ids


def _check_several(resources: object) -> None:
    if isinstance(resources, str):  # whose letters would be ids, too
        raise TypeError(f"resources in bulk are several, such as [{resources!r}]")
