"""What a session asked for may take effect after it has ended: nothing of it may stay behind."""

import trio
import trio.testing
from trio.testing import MockClock

from resroute.cluster.local import LocalLog
from resroute.cluster.log import Answer, Log
from resroute.core.commands import AnyCommand
from resroute.router.router import Router
from tests.scenario import open_scenario


class HeldLog:
    """A log that applies nothing while it is held."""

    def __init__(self, inner: Log) -> None:
        self.state = inner.state
        self.origin = inner.origin
        self._inner = inner
        self._is_held = False
        self._waiting: list[tuple[AnyCommand, Answer | None]] = []

    def hold(self) -> None:
        """From now on commands wait."""
        self._is_held = True

    def release(self) -> None:
        """Apply what waits, and what comes."""
        self._is_held = False
        while self._waiting:
            self._inner.submit(*self._waiting.pop(0))

    def submit(self, command: AnyCommand, answer: Answer | None = None) -> None:
        """See the interface."""
        if self._is_held or self._waiting:
            self._waiting.append((command, answer))
        else:
            self._inner.submit(command, answer)

    async def barrier(self) -> None:
        """Nobody here asks for one."""

    def live(self) -> bool:
        """Always."""
        return True


def make_held_log(router: Router, base: int) -> HeldLog:
    return HeldLog(LocalLog(base=base, follower=router, on_fault=router.fail, on_error=router.report))


async def test_a_session_that_ended_before_it_became_an_instance_gets_no_calls(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(make_log=make_held_log) as scenario:
        log = scenario.router.log
        assert isinstance(log, HeldLog)
        stays = await scenario.instance("stays", "service")
        caller = await scenario.connect("caller")
        asked = await caller.start_call(service_name="service")
        await stays.answer(await stays.next("work"))
        await asked.result()
        log.hold()
        goes = await scenario.connect("goes")
        await goes.start("instance.register", {"service_name": "service", "priority": 1})
        await trio.testing.wait_all_tasks_blocked()
        goes.drop()
        await trio.testing.wait_all_tasks_blocked()
        log.release()
        asked = await caller.start_call(service_name="service")
        await stays.answer(await stays.next("work"))
        await asked.result()
