"""Instances that leave: all that one owns goes to others, a batch at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from itertools import filterfalse, islice

import msgspec
import trio

from resroute.core.commands import AnyCommand, Release, Transfer
from resroute.core.facts import Applied, Outcome, Released, Transferred
from resroute.core.holding import open_hold
from resroute.core.records import OwnerRecord
from resroute.ids import InstanceId, ResourceId
from resroute.router.means import Means
from resroute.router.moving import decided, takes_resources

_PAUSE_SECONDS = 0.05  # before what a bulk has set aside is tried again


class Moved(msgspec.Struct):
    """What has become of what an instance owned."""

    handed_over: int = 0
    released: int = 0


class Emptying:
    """Takes all that one instance owns from it.

    Args:
        audit: told of each step that was applied.
        owner: the instance. It drains, so it owns nothing that it did not own before.
        heirs: who may get it: None for all other instances of its service. Who owns least gets the next.
        batch_size: how many resources go at a time; others get their turn between two batches.
    """

    def __init__(
        self,
        means: Means,
        audit: Callable[[Applied], None],
        owner: OwnerRecord,
        heirs: Sequence[InstanceId] | None,
        *,
        batch_size: int,
    ) -> None:
        self._limit = means.settings.max_resources_per_instance
        self._patience_seconds = means.settings.probe_timeout_seconds
        self._log = means.log
        self._sessions = means.sessions
        self._wall_clock = means.clocks.wall
        self._names = means.names
        self._audit = audit
        self._owner = owner
        self._heirs = heirs
        self._batch_size = batch_size
        self.moved = Moved()

    async def run(self, seconds: float, when_moved: Callable[[Moved], None]) -> None:
        """Hand all of it over. What nobody can take, or has taken after so many seconds, is released.

        ``when_moved`` is told after each batch. Cancelling leaves the rest with the instance. It ends as soon as the
        instance has left.
        """
        with trio.move_on_after(seconds):
            await self._hand_over(when_moved)
        while ids := await self._next():
            before = self.moved.released
            await self._do(
                Release(self._owner.session_id, ids, self._wall_clock(), partial=True, drains=True)
            )
            await self._tell_and_pause(when_moved, self.moved.released > before)

    async def _hand_over(self, when_moved: Callable[[Moved], None]) -> None:
        patient_until = trio.current_time() + self._patience_seconds
        while ids := await self._next():
            shares = self._share(ids)
            if shares:
                patient_until = trio.current_time() + self._patience_seconds
            elif not self._may_find_heirs(patient_until):
                return
            before = self.moved.handed_over
            for heir, share in shares.items():
                command = Transfer(
                    self._owner.session_id,
                    tuple(share),
                    self._owner.instance_id,
                    heir,
                    at=self._wall_clock(),
                    limit=self._limit,
                    transfer_id=self._names.transfer(),
                    reason=f"instance {self._owner.instance_id} drains",
                    partial=True,
                    cause="drain",
                )
                await self._do(command)
            await self._tell_and_pause(when_moved, self.moved.handed_over > before)

    async def _tell_and_pause(self, when_moved: Callable[[Moved], None], has_moved: bool) -> None:
        """Tell of a batch, and let others have their turn; after one that could not be moved, for longer."""
        if has_moved:
            when_moved(self.moved)
        await trio.sleep(0 if has_moved else _PAUSE_SECONDS)

    async def _next(self) -> tuple[ResourceId, ...]:
        """What goes next; nothing once all is gone, or the instance. What a bulk has set aside is waited for in the end."""
        while self._owner.alive and self._owner.resources:
            if ids := tuple(islice(filterfalse(self._is_held, self._owner.resources), self._batch_size)):
                return ids
            await trio.sleep(_PAUSE_SECONDS)
        return ()

    def _is_held(self, resource_id: ResourceId) -> bool:
        grant = self._log.state.grant_of(resource_id)
        return grant is not None and open_hold(grant) is not None

    def _share(self, resource_ids: Sequence[ResourceId]) -> Mapping[InstanceId, list[ResourceId]]:
        """Who gets which; some are left out if there is no room for all of them."""
        by_load = [
            (count, position, heir.instance_id)
            for position, heir in enumerate(self._able_heirs())
            if (count := len(heir.resources) + heir.reserved_count) < self._limit
        ]
        heapify(by_load)
        shares: dict[InstanceId, list[ResourceId]] = {}
        for resource_id in resource_ids:
            if not by_load:
                break
            count, position, heir_id = by_load[0]
            shares.setdefault(heir_id, []).append(resource_id)
            if count + 1 < self._limit:
                heapreplace(by_load, (count + 1, position, heir_id))
            else:
                heappop(by_load)
        return shares

    def _may_find_heirs(self, patient_until: float) -> bool:
        """Whether there may be room soon: what is set aside, once bulks have ended, or that of who is silent."""
        is_patient = trio.current_time() < patient_until
        return any(
            len(heir.resources) < self._limit and (is_patient or takes_resources(heir, self._sessions))
            for heir in self._named_heirs()
            if not heir.is_draining and heir.session_id in self._sessions
        )

    def _able_heirs(self) -> Iterator[OwnerRecord]:
        """Instances that take resources now."""
        return (heir for heir in self._named_heirs() if takes_resources(heir, self._sessions))

    def _named_heirs(self) -> Iterator[OwnerRecord]:
        if self._heirs is None:
            return iter(self._owner.service.instances.values())
        return filter(None, map(self._log.state.instance, self._heirs))

    async def _do(self, command: AnyCommand) -> None:
        """Submit a command, and wait until the log has decided and it is counted."""

        def count(outcome: Outcome) -> None:
            match outcome:
                case Applied(result=Transferred(transferred=resource_ids)):
                    self.moved.handed_over += len(resource_ids)
                case Applied(result=Released(released=resource_ids)):
                    self.moved.released += len(resource_ids)
            if isinstance(outcome, Applied):
                self._audit(outcome)

        await decided(self._log, command, count)
