"""Connections are accepted for as long as the system lets the router."""

import errno
import os

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from tests.scenario import open_scenario


class Listener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts what it is given: streams, and the numbers of errors that stand in their place."""

    def __init__(self, *coming: trio.abc.Stream | int) -> None:
        self._coming = list(coming)
        self.is_closed = False

    @property
    def still_coming(self) -> int:
        """How many have not been accepted."""
        return len(self._coming)

    async def accept(self) -> trio.abc.Stream:
        if not self._coming:
            await trio.sleep_forever()
        comes = self._coming.pop(0)
        if isinstance(comes, int):
            raise OSError(comes, os.strerror(comes))
        return comes

    async def aclose(self) -> None:
        self.is_closed = True
        await trio.lowlevel.checkpoint()


async def test_who_finds_no_room_in_the_process_is_accepted_later(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        scenario.forgives.add("connections cannot be accepted")
        ours, theirs = memory_stream_pair()
        listener = Listener(errno.EMFILE, errno.ENOBUFS, theirs)
        async with trio.open_nursery() as nursery:
            await nursery.start(scenario.router.serve_listener, listener)
            await ours.send_all(b"no handshake at all\r\n\r\n")
            with trio.fail_after(10):
                assert b"".join([chunk async for chunk in ours]).startswith(b"HTTP/1.1 400 ")
            nursery.cancel_scope.cancel()
        assert listener.is_closed


async def test_a_listener_that_is_broken_is_no_secret(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        listener = Listener(errno.EBADF)
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            await scenario.router.serve_listener(listener)
        assert listener.is_closed
