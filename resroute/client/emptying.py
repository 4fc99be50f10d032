"""An instance that leaves and hands over by itself what it owns, each resource with its state."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heapify, heapreplace
from typing import Any

import trio

from resroute.client.draining import Drained, DrainProgress, HandOverTo, ask_to_drain, get_nothing_new
from resroute.client.hooks import HookRunner
from resroute.client.messages import encoded
from resroute.client.nurseries import open_joint_nursery
from resroute.client.owned import Owned
from resroute.client.requests import transfer
from resroute.client.results import (
    InstanceInfo,
    SessionInfo,
    Transferred,
    read_instance_page,
    read_session_info,
)
from resroute.client.session import Session
from resroute.errors import Forbidden, InstanceNotFound, InvalidParams, RouterError

LATE_SECONDS = 5.0
"""How long hooks may take of what has not been handed over in time."""

_BATCH_SIZE = 100
_FIRST_PAUSE_SECONDS = 0.05  # before what could not be moved is tried again; it doubles up to the next
_MAX_PAUSE_SECONDS = 1.0
_LOOK_SECONDS = 1.0  # how often to ask who is there
_LOOK_AGAIN_SECONDS = 0.25  # how often while those who are there are silent
_PAGE = 1000
_OVERHEAD_BYTES = 400  # of a request, and more than enough for one id and the marks around it
_DEFAULT_STATE_BYTES = 512 * 1024
_DEFAULT_SECONDS = 600.0
_DEFAULT_PATIENCE_SECONDS = 3.0

_log = logging.getLogger("resroute.client")


class Emptying:
    """Hands what an instance owns to others: a batch at a time, whoever owns least gets the next.

    What has no call at work goes first; what has goes as soon as that has ended.
    """

    def __init__(
        self,
        session: Session,
        owned: Owned,
        hooks: HookRunner,
        info: SessionInfo,
        hand_over_to: HandOverTo,
        *,
        batch_size: int,
        on_progress: Callable[[DrainProgress], object] | None,
    ) -> None:
        assert info.instance is not None
        self._session = session
        self._owned = owned
        self._hooks = hooks
        self._service_name = info.instance.service_name
        self._instance_id = info.instance.instance_id
        self._heirs = None if isinstance(hand_over_to, str) else frozenset(hand_over_to)
        self._batch_size = batch_size
        self._on_progress = on_progress
        self._max_state_bytes = info.limits.get("max_state_bytes", _DEFAULT_STATE_BYTES)
        self._patience_seconds = info.limits.get("probe_timeout_seconds", _DEFAULT_PATIENCE_SECONDS)
        self._total = len(owned.epochs)
        self._full: set[str] = set()  # those that have no room
        self._loads: dict[str, int] = {}  # who gets something, and how much they own
        self._has_silent_heirs = False
        self._look_again_at = -math.inf
        self.handed_over = 0

    async def check(self) -> None:
        """Look whether those who are named are there.

        Raises:
            InstanceNotFound: one is not.
            InvalidParams: one is this instance itself.
            Forbidden: this session may not ask that.
        """
        if self._heirs is not None and self._instance_id in self._heirs:
            raise InvalidParams.at("hand_over_to", "is the instance that drains")
        connected = {it.instance_id for it in await self._connected() if it.status != "suspended"}
        if missing := sorted((self._heirs or frozenset()) - connected):
            raise InstanceNotFound(missing[0])

    async def run(self) -> None:
        """Hand all of it over, or as much as finds somebody. The caller bounds the time."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        patient_until = trio.current_time() + self._patience_seconds
        while names := list(self._owned.epochs):
            if trio.current_time() >= self._look_again_at:
                await self._look()
            if not self._loads:
                if not self._has_silent_heirs or trio.current_time() >= patient_until:
                    return
                self._look_again_at = -math.inf
                await trio.sleep(_LOOK_AGAIN_SECONDS)
                continue
            patient_until = trio.current_time() + self._patience_seconds
            before = self.handed_over
            idle = self._hooks.without_calls(names)
            async with open_joint_nursery() as nursery:
                for heir, share in _share((idle or names)[: self._batch_size], self._loads).items():
                    # one that has calls at work holds up no other
                    for part in [share] if idle else [[name] for name in share]:
                        nursery.start_soon(self._hand_over, heir, part)
            if self.handed_over > before:
                pause_seconds = _FIRST_PAUSE_SECONDS
            else:
                await trio.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _MAX_PAUSE_SECONDS)

    async def _look(self) -> None:
        """Ask who else is there. Good for a while, unless somebody turns out to take nothing."""
        self._look_again_at = trio.current_time() + _LOOK_SECONDS
        heirs = [info for info in await self._connected() if self._may_get_something(info)]
        self._loads = {info.instance_id: info.resources for info in heirs if info.status == "healthy"}
        self._has_silent_heirs = any(info.status == "unresponsive" for info in heirs)

    async def _connected(self) -> Sequence[InstanceInfo]:
        found: list[InstanceInfo] = []
        while True:
            params = {"service_name": self._service_name, "limit": _PAGE, "offset": len(found)}
            page = await self._session.request("instance.query", params, read_instance_page)
            found += page.instances
            if not page.has_more or not page.instances:
                return found

    def _may_get_something(self, info: InstanceInfo) -> bool:
        return (
            info.instance_id not in self._full
            and info.instance_id != self._instance_id
            and (self._heirs is None or info.instance_id in self._heirs)
        )

    async def _hand_over(self, heir: str, names: Sequence[str]) -> None:
        async with self._hooks.giving_up(names, "drain", heir, insists=True) as saved:
            owned = [name for name in names if name in self._owned.epochs]
            for part, states in self._portions(owned, saved):
                try:
                    await self._transfer_at_best(heir, part, states)
                except RouterError as error:
                    _log.warning("hand_over_refused to=%r reason=%r", heir, str(error))
                    self._look_again_at = -math.inf
                    return

    async def _transfer_at_best(self, heir: str, names: Sequence[str], states: Mapping[str, Any]) -> None:
        """Hand over, without what the router does not take for a state, such as a number that is too large."""
        try:
            self._count(heir, await self._transfer(heir, names, states))
            return
        except InvalidParams as error:
            if not states:
                raise
            if len(names) == 1:
                _log.error("state_lost resource_id=%r reason=%r", names[0], str(error))
                states = {}
        for name in names:
            await self._transfer_at_best(heir, [name], {name: states[name]} if name in states else {})

    async def _transfer(self, heir: str, names: Sequence[str], states: Mapping[str, Any]) -> Transferred:
        return await transfer(
            self._session,
            names,
            source=self._instance_id,
            to=heir,
            reason=f"instance {self._instance_id} drains",
            state=states or None,
            partial=True,
            unheard=self._hooks.unheard,
        )

    def _count(self, heir: str, done: Transferred) -> None:
        if "resource_limit_exceeded" in done.failed.values():
            self._full.add(heir)
        if done.failed:
            self._look_again_at = -math.inf
        self._loads[heir] = self._loads.get(heir, 0) + len(done.transferred)
        self.handed_over += len(done.transferred)
        if self._on_progress is not None and done.transferred:
            self._on_progress(
                DrainProgress(
                    done=self.handed_over,
                    total=max(self._total, self.handed_over),
                    handed_over=self.handed_over,
                    released=0,
                )
            )

    def _portions(
        self, names: Sequence[str], saved: Mapping[str, Any]
    ) -> Iterator[tuple[list[str], dict[str, Any]]]:
        """As much at a time as the router takes in one message."""
        most = self._session.max_message_bytes - _OVERHEAD_BYTES
        part: list[str] = []
        states: dict[str, Any] = {}
        size = 0
        for name in names:
            its_size = self._size_of_state(name, saved.get(name))
            cost = max(0, its_size) + _OVERHEAD_BYTES + 2 * len(name)
            if part and size + cost > most:
                yield part, states
                part, states, size = [], {}, 0
            part.append(name)
            size += cost
            if its_size > 0:
                states[name] = saved[name]
        if part:
            yield part, states

    def _size_of_state(self, name: str, state: Any) -> int:
        """In bytes; 0 for none, and for one that cannot travel."""
        if state is None:
            return 0
        try:
            size = len(encoded(state))
        except TypeError as error:
            _log.error("state_lost resource_id=%r reason=%r", name, str(error))
            return 0
        if size > self._max_state_bytes:
            _log.error("state_lost resource_id=%r reason='it has %d bytes'", name, size)
            return 0
        return size


async def drain(
    session: Session,
    owned: Owned,
    hooks: HookRunner,
    hand_over_to: HandOverTo,
    *,
    deadline_seconds: float | None,
    batch_size: int | None,
    on_progress: Callable[[DrainProgress], object] | None,
) -> Drained:
    """Leave. See :meth:`resroute.Instance.drain`."""
    info = await session.request("session.info", {}, read_session_info)
    most = info.limits.get("max_timeout_seconds", _DEFAULT_SECONDS)
    moving_seconds = most if deadline_seconds is None else min(most, deadline_seconds)
    if not hooks.has_before_release:
        return await ask_to_drain(
            session,
            None,
            hand_over_to,
            deadline_seconds=moving_seconds,
            batch_size=batch_size,
            on_progress=on_progress,
        )
    emptying = Emptying(
        session,
        owned,
        hooks,
        info,
        hand_over_to,
        batch_size=batch_size or _BATCH_SIZE,
        on_progress=on_progress,
    )
    has_time = await _empty(session, emptying, hand_over_to, moving_seconds)
    seconds = None if has_time else LATE_SECONDS
    hooks.take_nothing()
    async with hooks.giving_up(list(owned.epochs), "drain", insists=True, seconds=seconds):
        rest = await _drain_the_rest(session, hand_over_to, deadline_seconds=seconds, batch_size=batch_size)
    return Drained(
        handed_over=emptying.handed_over + rest.handed_over,
        released=rest.released,
        in_flight=rest.in_flight,
        trace_id=rest.trace_id,
    )


async def _empty(session: Session, emptying: Emptying, hand_over_to: HandOverTo, seconds: float) -> bool:
    """Hand over what finds somebody, in so many seconds. Returns whether they were enough."""
    is_nobody = hand_over_to == "nobody"
    may_ask = True
    if not is_nobody:
        try:
            await emptying.check()
        except Forbidden:
            _log.warning("state_lost reason='this session may not ask who else is there'")
            may_ask = False
    await get_nothing_new(session)
    if is_nobody or not may_ask:
        return True
    with trio.move_on_after(seconds) as patience:
        await emptying.run()
    return not patience.cancelled_caught


async def _drain_the_rest(
    session: Session, hand_over_to: HandOverTo, *, deadline_seconds: float | None, batch_size: int | None
) -> Drained:
    """Have the router hand over what is left, to whoever is there now, and release what finds nobody."""
    for whom in (hand_over_to, "nobody"):
        try:
            return await ask_to_drain(
                session,
                None,
                whom,
                deadline_seconds=deadline_seconds,
                batch_size=batch_size,
                on_progress=None,
            )
        except InstanceNotFound:
            if whom == "nobody":
                raise
    raise AssertionError("unreachable")


def _share(resource_ids: Sequence[str], loads: Mapping[str, int]) -> Mapping[str, list[str]]:
    """Who gets which."""
    by_load = [(load, position, heir) for position, (heir, load) in enumerate(loads.items())]
    heapify(by_load)
    shares: dict[str, list[str]] = {}
    for resource_id in resource_ids:
        load, position, heir = by_load[0]
        shares.setdefault(heir, []).append(resource_id)
        heapreplace(by_load, (load + 1, position, heir))
    return shares
