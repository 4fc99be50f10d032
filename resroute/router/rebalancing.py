"""Evening out what the instances of a service have to do: what is to be moved is worked out first, then that is done.

Neither holds the loop: the one is done in slices of :data:`SLICE_SECONDS`, the other in batches. What has become of a
resource or an instance meanwhile counts, not what was planned: a move that cannot be made any more is left out.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import batched

import trio

from resroute.core.commands import Transfer
from resroute.core.facts import Applied, Outcome, Transferred
from resroute.core.filters import Filter
from resroute.core.records import Grant, OwnerRecord
from resroute.core.state import State
from resroute.ids import InstanceId, ResourceId, ServiceName
from resroute.protocol.results import Move, encode_result
from resroute.router.balancing import Measure, Offer, Share, moves, set_floors, weighed
from resroute.router.means import Means
from resroute.router.moving import decided, takes_resources
from resroute.router.queries import room_for_items

SLICE_SECONDS = 0.001
BATCH_SIZE = 50

_READ_AT_A_TIME = 128
_TRANSFER_ID_BYTES = 32  # of one, in the answer


class Rebalancing:
    """Evens out one service, once.

    Args:
        audit: told of each step that was applied.
        max_moves: how many resources may be moved.

    Attributes:
        transfer_ids: for each pair of instances between which something was moved.
        has_more: whether it takes more moves than may be, or fit into an answer.
    """

    def __init__(
        self,
        means: Means,
        audit: Callable[[Applied], None],
        service_name: ServiceName,
        by: Measure,
        *,
        max_moves: int,
        is_dry: bool,
    ) -> None:
        self._settings = means.settings
        self._log = means.log
        self._state: State = means.log.state
        self._sessions = means.sessions
        self._wall_clock = means.clocks.wall
        self._turn_clock = means.clocks.turn
        self._names = means.names
        self._audit = audit
        self._service_name = service_name
        self._by = by
        self._max_moves = max_moves
        self._is_dry = is_dry
        self._planned: Sequence[Move] = ()
        self._moved: set[ResourceId] = set()
        self.transfer_ids: dict[tuple[InstanceId, InstanceId], str] = {}
        self.has_more = False

    @property
    def moved(self) -> Sequence[Move]:
        """What was moved so far, in the order of the plan; of a dry run, what would be."""
        if self._is_dry:
            return self._planned
        return [move for move in self._planned if move.resource_id in self._moved]

    async def run(self) -> None:
        """Do it. Cancelling leaves what is not moved where it is."""
        self._planned = await self._plan()
        if self._is_dry:
            return
        for batch in batched(self._planned, BATCH_SIZE, strict=False):
            by_pair: dict[tuple[InstanceId, InstanceId], list[Move]] = {}
            for move in batch:
                by_pair.setdefault((move.from_instance_id, move.to_instance_id), []).append(move)
            for (source, target), pair in by_pair.items():
                await self._move(source, target, pair)
            await trio.lowlevel.checkpoint()

    # --- working it out ---------------------------------------------------------------------------------------

    async def _plan(self) -> Sequence[Move]:
        """What is to be moved, in order: as much as may be, and as the answer has room for."""
        steps = self._steps()
        until = self._turn_clock() + SLICE_SECONDS
        while True:
            try:
                next(steps)
            except StopIteration as end:
                planned: Sequence[Move] = end.value
                return planned
            if self._turn_clock() > until:
                await trio.lowlevel.checkpoint()
                until = self._turn_clock() + SLICE_SECONDS

    def _steps(self) -> Generator[None, None, Sequence[Move]]:
        service = self._state.service(self._service_name)
        owners = [] if service is None else list(service.instances.values())
        owners = [owner for owner in owners if takes_resources(owner, self._sessions)]
        if len(owners) < 2:
            return ()
        limit = self._settings.max_resources_per_instance
        shares = [
            Share(
                owner.instance_id,
                float(len(owner.resources)),
                limit - len(owner.resources) - owner.reserved_count,
            )
            for owner in owners
        ]
        yield
        if self._by == "calls":
            for owner, share in zip(owners, shares, strict=True):
                share.offers = yield from self._offers_by_calls(owner, share)
            set_floors(shares, "calls")
        else:
            set_floors(shares, "count")
            for owner, share in zip(owners, shares, strict=True):
                if share.load > share.floor:
                    share.offers = yield from self._offers_by_count(owner)
        planned: list[Move] = []
        room = room_for_items(self._settings)
        steps = moves(shares)
        for move in steps:
            yield
            if move is None:
                continue
            room -= len(encode_result(move)) + 1 + _TRANSFER_ID_BYTES
            if len(planned) == self._max_moves or room < 0:
                self.has_more = True
                break
            planned.append(move)
        steps.close()
        for share in shares:  # to forget a hundred thousand offers at once would take milliseconds
            while share.offers:
                share.offers.pop()
                yield
        return planned

    def _offers_by_count(self, owner: OwnerRecord) -> Generator[None, None, list[Iterable[Offer]]]:
        pieces: list[Iterable[Offer]] = []
        for grants in self._grants_of(owner):
            pieces.append(_piece([Offer(_priority(grant), -1.0, grant.resource_id) for grant in grants]))
            yield
        return pieces

    def _offers_by_calls(
        self, owner: OwnerRecord, share: Share
    ) -> Generator[None, None, list[Iterable[Offer]]]:
        now = trio.current_time()
        pieces: list[Iterable[Offer]] = []
        share.load = 0.0
        for grants in self._grants_of(owner):
            offers: list[Offer] = []
            for grant in grants:
                known = weighed(grant, now)
                if not self._is_dry:
                    grant.weighed = known
                if known.load > 0:
                    share.load += known.load
                    offers.append(Offer(_priority(grant), -known.load, grant.resource_id))
            pieces.append(_piece(offers))
            yield
        return pieces

    def _grants_of(self, owner: OwnerRecord) -> Iterator[list[Grant]]:
        """What an instance owns, some at a time. Anything may change in between."""
        wanted = Filter(instance_id=owner.instance_id)
        after = ""
        while candidates := self._state.candidates_after(wanted, after):
            for resource_ids in batched(candidates, _READ_AT_A_TIME, strict=False):
                grants = map(self._state.grant_of, resource_ids)
                yield [grant for grant in grants if grant is not None and grant.owner is owner]
            after = candidates[-1]

    # --- doing it ---------------------------------------------------------------------------------------------

    async def _move(self, source_id: InstanceId, target_id: InstanceId, planned: Sequence[Move]) -> None:
        """Move what is still there to be moved from one instance to another, if that is there to take it."""
        source, target = self._state.instance(source_id), self._state.instance(target_id)
        if source is None or target is None or not takes_resources(target, self._sessions):
            return
        pair = (source_id, target_id)
        command = Transfer(
            source.session_id,
            tuple(move.resource_id for move in planned),
            source_id,
            target_id,
            at=self._wall_clock(),
            limit=self._settings.max_resources_per_instance,
            transfer_id=self.transfer_ids.get(pair) or self._names.transfer(),
            reason=f"service {self._service_name} is rebalanced by {self._by}",
            partial=True,
            cause="rebalance",
        )

        def note(outcome: Outcome) -> None:
            if not isinstance(outcome, Applied):
                return
            self._audit(outcome)
            if isinstance(outcome.result, Transferred) and outcome.result.transferred:
                self.transfer_ids[pair] = command.transfer_id
                self._moved.update(outcome.result.transferred)

        await decided(self._log, command, note)


def _piece(offers: list[Offer]) -> Iterator[Offer]:
    """These in order, kept in dictionaries of strings and numbers, which the garbage collector does not look into."""
    offers.sort()
    priorities = {offer.resource_id: offer.priority for offer in offers}
    minus_loads = {offer.resource_id: offer.minus_load for offer in offers}
    return (
        Offer(priority, minus_loads[resource_id], resource_id) for resource_id, priority in priorities.items()
    )


def _priority(grant: Grant) -> int:
    return 0 if grant.metadata is None else grant.metadata.priority
