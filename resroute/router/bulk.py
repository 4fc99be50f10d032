"""One request in bulk, batch by batch, from when its turn comes until it is answered."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import trio
from msgspec import Raw

from resroute.core.commands import Abandon, BulkItem, Reserve, ReserveRelease
from resroute.core.facts import Applied, ItemFailure, Outcome, Refused, Reserved
from resroute.core.records import OwnerRecord
from resroute.errors import (
    CallCancelled,
    Forbidden,
    InternalError,
    ResourceConflict,
    RouterError,
    SessionNotFound,
)
from resroute.ids import BulkId, Epoch
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.protocol.hints import router_stops
from resroute.router.bulk_reading import read_items, read_registration, read_release
from resroute.router.bulk_results import (
    DRAINING,
    GONE,
    Progress,
    Tally,
    cut_to,
    failure_of,
    repeated,
)
from resroute.router.means import Means
from resroute.router.probing import Prober
from resroute.router.request import Request

ITEM_BYTES = 400
"""What an item takes beside its JSON while it is worked on, as an estimate."""


class Bulk:
    """A registration or a release in bulk.

    With ``continue_on_error`` each batch is a bulk of the state machine's, which is committed at once, without what fails.
    Else all batches are one, which the last of them commits.

    Args:
        owner: the instance that it is about.
        prober: asks whoever is in the way whether it is still there.
        tidy: called at the end, when there may be something to tidy.
    """

    def __init__(
        self,
        request: Request,
        params: p.BulkRegisterParams | p.BulkReleaseParams,
        owner: OwnerRecord,
        means: Means,
        prober: Prober,
        tidy: Callable[[], None],
    ) -> None:
        self.request = request
        self._params = params
        self._owner = owner
        self._means = means
        self._prober = prober
        self._tidy = tidy
        self._is_registration = isinstance(params, p.BulkRegisterParams)
        raw = params.resources if isinstance(params, p.BulkRegisterParams) else params.resource_ids
        self._raw: Sequence[Raw] = raw  # type: ignore[assignment]  # its items are read later
        self._asked = len(raw)
        self._items: list[BulkItem] = []
        self._repeated: set[int] = set()  # places of ids that are there before
        self._tally = Tally()
        self._scope = trio.CancelScope()
        self._bulk_id: BulkId | None = None  # that of the state machine's that may be under way
        self._is_read = False
        self._is_committing = False  # whether the log has a batch that is going to be in force
        self._undecided = (
            0  # items of that batch, of a registration in which each batch is in force by itself
        )
        self._is_over = False
        self._kept_bytes = len(b"".join(self._raw)) + ITEM_BYTES * len(self._raw)
        self.request.session.keep(self._kept_bytes)
        request.when_cancelled = self.cancel

    @property
    def is_over(self) -> bool:
        """Whether it is answered, or nobody waits for an answer."""
        return self._is_over

    def cancel(self) -> None:
        """Whoever asked wants no answer any more. What is about to be committed in one step is."""
        if self._is_over or (self._is_committing and self._is_one_step):
            return
        may_have_run = not self._is_one_step and (self._is_committing or bool(self._tally.done))
        self._abandon()
        self._scope.cancel()
        self._refuse(CallCancelled(delivery="unknown" if may_have_run else "not_delivered"))

    def stop(self) -> None:
        """The router takes nothing new any more: what is not about to be registered is not going to be."""
        if self._is_committing or self._is_over or not self._is_registration:
            return
        self._scope.cancel()
        if not self._is_read:
            self._refuse(router_stops())
            return
        done = sum(batch.success_count + batch.failure_count for batch in self._tally.batches)
        for start in range(done, len(self._items), self._params.batch_size):
            stop = min(start + self._params.batch_size, len(self._items))
            self._batch_failed(range(start, stop), trio.current_time(), DRAINING)
        self._answer(rolled_back=False)

    @property
    def _kind(self) -> str:
        return self.request.method.name.removeprefix("resource.bulk_")

    @property
    def _is_one_step(self) -> bool:
        return not self._params.continue_on_error

    async def run(self) -> None:
        """Work it off. A cancellation from outside leaves nothing set aside, and no answer."""
        try:
            with self._scope:
                await self._read()
                self._is_read = True
                await self._work()
        except RouterError as error:
            self._refuse(error)
        except Exception:
            self._fail()
        finally:
            self._abandon()
            if not self._is_over:
                self.request.abandon()
            self._end("cancelled")

    async def _read(self) -> None:
        """Read all of the items: nothing is done before all of them are right.

        Raises:
            InvalidParams: some are wrong.
            Forbidden: some are forced, and whoever asks is no administrator.
        """
        read = read_release
        if self._is_registration:
            read = partial(read_registration, max_metadata_bytes=self._means.settings.max_metadata_bytes)
        self._items, self._repeated = await read_items(self._raw, read, self._means.clocks.turn)
        if any(item.force for item in self._items) and not self.request.session.may("admin"):
            raise Forbidden("admin")
        self._raw = ()

    # --- working ----------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        size, count = self._params.batch_size, len(self._items)
        for start in range(0, count, size):
            places = range(start, min(start + size, count))
            done = trio.Event()
            if not self._submit(places, done):
                self._batch_failed(places, trio.current_time(), DRAINING)
            else:
                await done.wait()
            if self._is_over:
                return
            await trio.lowlevel.checkpoint()
        self._answer(rolled_back=False)

    def _submit(self, places: range, done: trio.Event) -> bool:
        """Ask the log for a batch. Returns False if the router takes nothing new."""
        means, began = self._means, trio.current_time()
        if self._is_registration and means.life.is_draining:
            return False
        if self._bulk_id is None:
            self._bulk_id = means.names.bulk()
        items = [self._items[place] for place in places if place not in self._repeated]
        is_last = places.stop == len(self._items) and len(items) == len(places)
        commits = is_last or not self._is_one_step
        command = self._command(items, commits=commits)

        def answer(outcome: Outcome) -> None:
            self._is_committing = False
            self._undecided = 0
            try:
                if isinstance(outcome, Applied):
                    means.auditor.asked(self.request, outcome, on_behalf_of=self._owner.instance_id)
                if not self._is_over:
                    self._take(places, began, outcome, commits=commits)
                elif commits and not self._is_one_step:
                    self._count_late(len(items), outcome)
            except Exception:
                self._fail()
            finally:
                done.set()

        def submit() -> None:
            if not self._is_over:
                self._is_committing = commits
                if commits and not self._is_one_step:
                    self._undecided = len(items)
                means.log.submit(command, answer)

        rivals = (means.session_of(item.resource_id) for item in items if not item.force)
        if not self._is_registration or not self._prober.probe(rivals, submit):
            submit()
        return True

    def _command(self, items: Sequence[BulkItem], *, commits: bool) -> Reserve | ReserveRelease:
        assert self._bulk_id is not None
        means, session_id, is_partial = self._means, self.request.session.id, not self._is_one_step
        if not self._is_registration:
            return ReserveRelease(
                session_id,
                self._bulk_id,
                self._owner.session_id,
                tuple(item.resource_id for item in items),
                means.clocks.wall(),
                is_partial,
                commits,
            )
        return Reserve(
            session_id,
            self._bulk_id,
            self._owner.session_id,
            tuple(items),
            means.clocks.wall(),
            means.settings.max_resources_per_instance,
            means.settings.max_metadata_bytes,
            is_partial,
            commits,
        )

    def _take(self, places: range, began: float, outcome: Outcome, *, commits: bool) -> None:
        """The log has decided about a batch."""
        if isinstance(outcome, Refused):
            is_gone = isinstance(outcome.error, SessionNotFound)
            self._batch_failed(places, began, GONE if is_gone else ItemFailure(outcome.error.type))
            return
        result = outcome.result
        assert isinstance(result, Reserved)
        if commits and not result.committed and not result.failed:
            self._batch_failed(places, began, GONE)
            return
        if commits or (result.failed and self._is_one_step):
            self._bulk_id = None
        self._note_conflicts(result)
        epoch = Epoch(outcome.revision) if result.committed and self._is_registration else None
        failed = self._failures(places, result)
        for place in places:
            if place not in self._repeated:
                resource_id = self._items[place].resource_id
                if resource_id not in result.failed:
                    self._tally.done[resource_id] = result.kept.get(resource_id, epoch)
        self._tally.kept |= result.kept
        self._close_batch(places, began, failed, epoch)
        if self._is_one_step and failed:
            self._roll_back()
        elif self._is_one_step and commits:
            if epoch is not None:
                self._came_into_force(epoch)
            self._answer(rolled_back=False)
        elif places.stop == len(self._items):  # nothing is left that a cancel could keep from being done
            self._answer(rolled_back=False)

    def _failures(self, places: range, result: Reserved) -> list[r.Failure]:
        """What failed: of a batch, and what was set aside before and is lost."""
        failed = [failure_of(resource_id, failure) for resource_id, failure in result.failed.items()]
        return failed + [
            repeated(self._items[place].resource_id) for place in places if place in self._repeated
        ]

    def _note_conflicts(self, result: Reserved) -> None:
        conflicts = [i for i, failure in result.failed.items() if failure.error_type == ResourceConflict.type]
        if conflicts:
            self._means.tally.conflicted(self._owner.service.name, conflicts)
            if self.request.trace is not None:
                self.request.trace.conflicted(conflicts)

    def _batch_failed(self, places: range, began: float, failure: ItemFailure) -> None:
        """All of a batch failed, for one reason."""
        if self._is_over:
            return
        failed = [failure_of(self._items[place].resource_id, failure) for place in places]
        self._close_batch(places, began, failed, None)
        if self._is_one_step:
            self._roll_back()

    def _close_batch(self, places: range, began: float, failed: list[r.Failure], epoch: Epoch | None) -> None:
        seconds = trio.current_time() - began
        self._tally.failed += failed
        batch = r.BatchResult(
            batch_number=len(self._tally.batches) + 1,
            success_count=max(0, len(places) - len(failed)),
            failure_count=len(failed),
            duration_ms=round(seconds * 1000, 3),
        )
        self._means.metrics.count_batch(self._kind, seconds)
        if self.request.trace is not None:
            self.request.trace.batch(batch.batch_number, seconds, batch.success_count, batch.failure_count)
        if epoch is not None:
            batch.epoch = epoch
        self._tally.batches.append(batch)
        value = Progress(
            batch_number=batch.batch_number,
            success_count=batch.success_count,
            failure_count=batch.failure_count,
            duration_ms=batch.duration_ms,
            epoch=batch.epoch,
            done=places.stop,
            total=len(self._items),
        )
        self.request.tell_progress(self._params.progress_token, value)

    def _came_into_force(self, epoch: Epoch) -> None:
        """All batches have been committed with the last one."""
        for batch in self._tally.batches:
            batch.epoch = epoch

    # --- its end ----------------------------------------------------------------------------------------------

    def _roll_back(self) -> None:
        self._abandon()
        self._tally.forget_done()
        self._answer(rolled_back=True)

    def _abandon(self) -> None:
        """Nothing stays set aside."""
        bulk_id, self._bulk_id = self._bulk_id, None
        if bulk_id is not None:
            self._means.log.submit(Abandon(self.request.session.id, bulk_id, self._means.clocks.wall()))

    def _answer(self, *, rolled_back: bool) -> None:
        if self._is_over:
            return
        asked, tally = len(self._items), self._tally
        result: r.BulkRegistered | r.BulkReleased
        if self._is_registration:
            result = tally.registered(asked, rolled_back=rolled_back)
        else:
            result = tally.released(asked, rolled_back=rolled_back)
        cut_to(result, self._means.settings.max_message_bytes)
        status = "ok" if result.complete else "rolled_back" if rolled_back else "partial"
        self.request.session.log.debug(
            "bulk ended",
            operation=self.request.method.name,
            trace_id=self.request.trace_id,
            duration_ms=self.request.duration_ms(),
            status=status,
            count=len(tally.done),
            failed=len(tally.failed),
        )
        self._end(status)
        self.request.answer(result)

    def _refuse(self, error: RouterError) -> None:
        if not self._is_over:
            self._end("cancelled" if isinstance(error, CallCancelled) else error.type)
            self.request.refuse(error)

    def _fail(self) -> None:
        """A bug costs this request alone."""
        request = self.request
        request.session.log.exception("bulk failed", operation=request.method.name, trace_id=request.trace_id)
        self._abandon()
        self._refuse(InternalError())

    def _end(self, status: str) -> None:
        if not self._is_over:
            self._is_over = True
            self.request.when_cancelled = None
            self.request.session.keep(-self._kept_bytes)
            self._count(status)
            self._means.metrics.count_bulk(self._kind, status)
            self._tidy()

    def _count(self, status: str) -> None:
        """What has become of each resource that was to be registered: of those that come to nothing, what of all of it."""
        if not self._is_registration:
            return
        is_undone = self._is_one_step and status != "ok"
        otherwise = CallCancelled.type if status == "cancelled" else status
        asked = self._asked - self._undecided
        counts = self._tally.counts(asked, is_undone=is_undone, otherwise=otherwise)
        for became, count in counts.items():
            self._means.tally.registered(self._owner.service.name, became, count)

    def _count_late(self, count: int, outcome: Outcome) -> None:
        """The log has decided about a batch that nobody waits for any more: it may be in force all the same."""
        if not self._is_registration:
            return
        counts = Counter({CallCancelled.type: count})
        if isinstance(outcome, Applied) and isinstance(outcome.result, Reserved) and outcome.result.committed:
            failed = outcome.result.failed
            counts = Counter({"ok": count - len(failed)})
            counts.update(failure.error_type for failure in failed.values())
        for became, number in counts.items():
            self._means.tally.registered(self._owner.service.name, became, number)
