"""An instance that is told to stop: it hands over what it owns, finishes what it works on, and is done."""

import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack

import attrs
import trio

from resroute.client.draining import Drained
from resroute.client.feeds import Lasting
from resroute.client.nurseries import open_joint_nursery
from resroute.client.serving import Calls
from resroute.errors import ConnectionLost

DRAIN_SECONDS = 25.0
"""How long stopping may take by default: less than what most systems wait before they kill a program."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What tells a program to stop by default."""

_MOVING_SHARE = 0.7  # of the time; the rest is for calls at work

_log = logging.getLogger("resroute.client")

Drain = Callable[[float], Awaitable[Drained]]
"""Leaves, having so many seconds to hand over what there is."""


async def stop(link: Lasting, calls_now: Callable[[], Calls], drain: Drain, seconds: float) -> Drained:
    """Leave, and finish the calls at work, in so many seconds; then cut those off that still are.

    Should the connection end meanwhile, what the next one brings back is to be handed over, too.
    """
    drained = Drained(handed_over=0, released=0, in_flight=0)
    with trio.move_on_after(seconds) as patience:
        while True:
            try:
                drained = await drain(seconds * _MOVING_SHARE)
            except ConnectionLost:
                if link.lost is not None:
                    raise
            else:
                break
        await calls_now().wait_idle()
    count = 0
    if patience.cancelled_caught and (count := calls_now().cut_off()):
        _log.warning("calls_cut_off count=%d", count)
    return attrs.evolve(drained, in_flight=count)


class Stopped:
    """Whether an instance has stopped, and what became of what it owned: for who waits for that."""

    def __init__(self) -> None:
        self._drained: Drained | None = None
        self._done = trio.Event()

    def set(self, drained: Drained) -> None:
        """It has. The first who stopped it says how."""
        if self._drained is None:
            self._drained = drained
            self._done.set()

    async def wait(self) -> Drained:
        """Wait until it has."""
        await self._done.wait()
        assert self._drained is not None
        return self._drained


async def serve_until_stopped(
    link: Lasting,
    signals: Sequence[signal.Signals],
    stop_now: Callable[[], Awaitable[Drained]],
    stopped: Stopped,
) -> Drained:
    """Serve until a signal comes, then stop; or until it has been stopped otherwise.

    See :meth:`resroute.Instance.serve_until_stopped`.
    """
    with ExitStack() as receiving:
        # at once, for until then a signal ends the process
        arriving = receiving.enter_context(trio.open_signal_receiver(*signals)) if signals else None
        async with open_joint_nursery() as nursery:
            nursery.start_soon(_raise_when_lost, link)
            if arriving is not None:
                nursery.start_soon(_stop_at_signal, arriving, stop_now)
            drained = await stopped.wait()
            nursery.cancel_scope.cancel()
    return drained


async def _stop_at_signal(arriving: AsyncIterator[int], stop_now: Callable[[], Awaitable[Drained]]) -> None:
    number = await anext(arriving)
    _log.info("stopping signal=%s", signal.Signals(number).name)
    async with open_joint_nursery() as nursery:
        nursery.start_soon(_end_at_once, arriving)
        await stop_now()
        nursery.cancel_scope.cancel()


async def _raise_when_lost(link: Lasting) -> None:
    raise await link.wait_ended()


async def _end_at_once(arriving: AsyncIterator[int]) -> None:
    """End this process as the next signal does by itself."""
    number = await anext(arriving)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
