"""Running the hooks of a service, while calls for the resources concerned wait."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import trio

from resroute.client.changes import Acquired
from resroute.client.nurseries import open_joint_nursery
from resroute.client.owned import Owned
from resroute.client.releasing import release_at_last
from resroute.client.service import Hooks, Releasing, run_hook
from resroute.client.serving import CallGate, Calls
from resroute.client.session import Session

MAX_AT_A_TIME = 100
"""How many hooks of one instance run at a time, each for a resource of its own."""

_log = logging.getLogger("resroute.client")

Cause = Literal["transfer", "drain", "request"]


@attrs.define(eq=False)
class _Coming:
    """One ``after_acquire``, from the grant until calls may begin or the resource is given up."""

    acquired: Acquired
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    done: trio.Event = attrs.field(factory=trio.Event)
    error: Exception | None = None


@attrs.define(eq=False)
class _Taking:
    """A registration that is under way, and the hooks that have begun for it."""

    resource_ids: frozenset[str]
    coming: list[_Coming] = attrs.field(factory=list)


@attrs.define(eq=False)
class _GivingUp:
    """What a block gives up.

    Attributes:
        insists: it is given up whatever happens.
        epochs: of the grants that are given up.
        states: what goes along.
        not_loaded: what this instance had not taken up yet.
    """

    names: Sequence[str]
    cause: Cause
    to: str | None
    insists: bool
    seconds: float
    epochs: dict[str, int] = attrs.field(factory=dict)
    states: dict[str, Any] = attrs.field(factory=dict)
    not_loaded: dict[str, Acquired] = attrs.field(factory=dict)

    def left(self, owned: Mapping[str, int]) -> list[str]:
        """Those that are owned and not dealt with. They may have come meanwhile, or be another grant by now."""
        known = self.epochs | {name: acquired.epoch for name, acquired in self.not_loaded.items()}
        return [name for name in self.names if name in owned and owned[name] != known.get(name)]

    def note(self, new: Mapping[str, int], not_loaded: Sequence[Acquired]) -> None:
        """These are to be saved, and those go as they have come."""
        for name in new:
            self.states.pop(name, None)  # of an earlier grant
            self.not_loaded.pop(name, None)
        self.epochs |= new
        for acquired in not_loaded:
            self.not_loaded[acquired.resource_id] = acquired
            if acquired.state is not None:
                self.states[acquired.resource_id] = acquired.state


class HookRunner:
    """Keeps the promises of :class:`resroute.Service` about its hooks."""

    def __init__(self, hooks: Hooks, owned: Owned) -> None:
        self._hooks = hooks
        self._owned = owned
        self._nursery: trio.Nursery | None = None
        self._limiter = trio.CapacityLimiter(MAX_AT_A_TIME)
        # resource -> its hook that runs, or is about to; removed at the end of the hook's task, or of the grant
        self._coming: dict[str, _Coming] = {}
        self._takings: list[_Taking] = []
        # resource -> its hook before_release that runs, or waits for calls at work; removed at the end of that
        self._saving: dict[str, trio.CancelScope] = {}
        # resource -> what is to be loaded if it comes back, where its session has ended in the middle of a hook, or after one
        # but before it was given up; removed when it comes, or cannot be had back
        self._unfinished: dict[str, Acquired] = {}

    @property
    def has_before_release(self) -> bool:
        """Whether there is something to do before a resource is given up."""
        return self._hooks.before_release is not None

    @property
    def unheard(self) -> Callable[[], None] | None:
        """For requests that take or give up: with a hook it must be known what becomes of them, if they are cancelled too.

        Should there be no answer, what is owned still counts as kept; the notice of its loss may follow.
        """
        return (lambda: None) if self.has_before_release else None

    def begin(self, nursery: trio.Nursery) -> None:
        """Hooks run in ``nursery``."""
        self._nursery = nursery

    def follow(self, session: Session, calls: Calls) -> None:
        """Follow what is owned in a session, from its beginning on. Nothing is owned now."""
        self._takes_nothing = False
        self._session = session
        self._calls = calls
        self._owned.follower = self

    def take_nothing(self) -> None:
        """This instance is about to own nothing any more: what turns out to be owned by it now is not taken up.

        That may be what a registration has granted of which nobody waited for the answer. Calls for it wait until it is gone.
        """
        self._takes_nothing = self.has_before_release

    # --- as told by what is owned, in the reader's order ----------------------------------------------------------

    def granted(self, acquired: Acquired, *, is_back: bool) -> None:
        """A grant is in force, and no call under it has begun yet."""
        unfinished = self._unfinished.pop(acquired.resource_id, None)
        if is_back:
            if unfinished is None:
                return  # all is as it was
            acquired = attrs.evolve(unfinished, epoch=acquired.epoch)
        self._load(acquired)

    def _load(self, acquired: Acquired) -> None:
        if self._takes_nothing:
            self._calls.gates.close(acquired.resource_id)
            return
        if self._hooks.after_acquire is None or self._nursery is None:
            return
        self._calls.gates.close(acquired.resource_id)
        coming = self._coming[acquired.resource_id] = _Coming(acquired)
        for taking in self._takings:
            if acquired.resource_id in taking.resource_ids:
                taking.coming.append(coming)
        self._nursery.start_soon(self._bring_in, acquired, coming)

    def ended(self, resource_id: str) -> None:
        """A grant is over."""
        coming = self._coming.pop(resource_id, None)
        if coming is not None:
            coming.scope.cancel()
        if resource_id in self._saving:
            self._saving[resource_id].cancel()
        if not self._owned.is_wanted(resource_id):
            self._unfinished.pop(resource_id, None)
        elif coming is not None:
            self._unfinished[resource_id] = coming.acquired
        self._calls.gates.refuse(resource_id)

    # --- what comes -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def taking(self, resource_ids: Iterable[str]) -> AsyncGenerator[None]:
        """Have a block register these, and then wait until the hooks have run of what came by that.

        Raises:
            Exception: what one of them has raised; a group of several.
        """
        if self._hooks.after_acquire is None:
            yield
            return
        taking = _Taking(frozenset(resource_ids))
        taking.coming += [coming for name, coming in self._coming.items() if name in taking.resource_ids]
        self._takings.append(taking)
        try:
            yield
        finally:
            self._takings.remove(taking)
        for coming in taking.coming:
            await coming.done.wait()
        errors = [coming.error for coming in taking.coming if coming.error is not None]
        if len(errors) > 1:
            raise ExceptionGroup("several hooks after_acquire have failed", errors)
        if errors:
            raise errors[0]

    async def _bring_in(self, acquired: Acquired, coming: _Coming) -> None:
        resource_id = acquired.resource_id
        assert self._hooks.after_acquire is not None
        try:
            with coming.scope:
                async with self._limiter:
                    with trio.fail_after(self._hooks.seconds):
                        await run_hook(self._hooks.after_acquire, acquired)
        except Exception as error:
            coming.error = error
            _log.exception("after_acquire_failed resource_id=%r", resource_id)
            if self._coming.get(resource_id) is coming:
                await release_at_last(self._session, self._owned, resource_id, acquired.epoch)
        finally:
            if self._coming.get(resource_id) is coming:
                del self._coming[resource_id]
                if not coming.scope.cancelled_caught:
                    self._calls.gates.open(resource_id)
            coming.done.set()

    # --- what goes ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def giving_up(
        self,
        resource_ids: Iterable[str],
        cause: Cause,
        to: str | None = None,
        *,
        insists: bool = False,
        seconds: float | None = None,
    ) -> AsyncGenerator[Mapping[str, Any]]:
        """Have a block give up what this instance owns of these, and give it what their hooks have returned.

        Calls that arrive meanwhile wait for what becomes of that. What is owned still at the end of the block stays.

        Args:
            insists: what goes wrong in a hook, or takes too long, is logged, and the block runs all the same.
            seconds: how long a hook may take, and the calls before it; by default as the service says.

        Raises:
            Exception: what a hook has raised. The block did not run.
            trio.TooSlowError: it takes too long, or a call at work does. The block did not run.
        """
        if self._hooks.before_release is None:
            yield {}
            return
        giving = _GivingUp(
            tuple(resource_ids), cause, to, insists, self._hooks.seconds if seconds is None else seconds
        )
        try:
            while (left := giving.left(self._owned.epochs)) and await self._save_all(giving, left):
                pass  # more may have come meanwhile
            yield giving.states
        finally:
            self._keep_all(giving)

    def release_soon(self, resource_ids: Iterable[str]) -> None:
        """Release what this instance does not want, each by itself, with nobody to wait for that."""
        assert self._nursery is not None
        for name in resource_ids:
            self._nursery.start_soon(self._release, name)

    async def _release(self, name: str) -> None:
        epoch = self._owned.epochs.get(name)
        if epoch is not None:
            async with self.giving_up([name], "request", insists=True):
                await release_at_last(self._session, self._owned, name, epoch)

    def without_calls(self, resource_ids: Iterable[str]) -> list[str]:
        """Those of them with which nothing goes on."""
        busy = self._calls.busy_resources()
        return [name for name in resource_ids if name not in busy and self._calls.gates.get(name) is None]

    async def _wait_settled(self, names: Sequence[str]) -> None:
        """Wait until nothing else is on its way with any of these."""
        while gate := next(filter(None, map(self._calls.gates.get, names)), None):
            await gate.settled.wait()

    async def _save_all(self, giving: _GivingUp, names: Sequence[str]) -> bool:
        """Save those that can be saved. Returns whether there were any."""
        with trio.move_on_after(giving.seconds) as patience:
            await self._wait_settled(names)
        if patience.cancelled_caught and not giving.insists:
            raise trio.TooSlowError
        stopped = await self._stop_loading(names)
        owned = self._owned.epochs
        new = {name: owned[name] for name in giving.left(owned) if self._calls.gates.get(name) is None}
        giving.note(new, stopped)
        gates = self._calls.close_gates(new)
        async with open_joint_nursery() as nursery:
            for name in new:
                nursery.start_soon(self._save, giving, name, gates[name])
        return bool(new or stopped)

    async def _stop_loading(self, names: Sequence[str]) -> list[Acquired]:
        """Break off hooks after_acquire that take too long for somebody who leaves. Their states go on as they came."""
        stopped: list[Acquired] = []
        for name in names:
            coming = self._coming.get(name)
            if coming is not None:
                coming.scope.cancel()
                await coming.done.wait()
                if coming.scope.cancelled_caught:
                    stopped.append(coming.acquired)
        return stopped

    async def _save(self, giving: _GivingUp, name: str, gate: CallGate) -> None:
        assert self._hooks.before_release is not None
        releasing = Releasing(resource_id=name, epoch=giving.epochs[name], cause=giving.cause, to=giving.to)
        try:
            with trio.CancelScope() as self._saving[name]:
                with trio.fail_after(giving.seconds):
                    await gate.wait_idle()
                async with self._limiter:
                    with trio.fail_after(giving.seconds):
                        giving.states[name] = await run_hook(self._hooks.before_release, releasing)
        except Exception:
            if not giving.insists:
                raise
            _log.exception("before_release_failed resource_id=%r", name)
        finally:
            del self._saving[name]

    def _keep_all(self, giving: _GivingUp) -> None:
        """What is still here has not been given up after all."""
        for name, acquired in giving.not_loaded.items():
            if self._owned.epochs.get(name) == acquired.epoch:
                self._load(acquired)
        for name, epoch in giving.epochs.items():
            if name in giving.states:
                self._keep(Acquired(resource_id=name, epoch=epoch, cause="kept", state=giving.states[name]))
            elif self._owned.epochs.get(name) == epoch:
                self._calls.gates.open(name)

    def _keep(self, saved: Acquired) -> None:
        """Load again what has been saved and not given up after all."""
        if self._owned.epochs.get(saved.resource_id) == saved.epoch:
            if self._hooks.after_acquire is None:
                self._calls.gates.open(saved.resource_id)
            else:
                self._load(saved)
        elif self._owned.is_wanted(saved.resource_id):
            self._unfinished[saved.resource_id] = saved
