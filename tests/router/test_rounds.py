"""Work that is done once for all who ask, and what becomes of them when it fails."""

from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

from resroute.protocol import results as r
from resroute.protocol.methods import METHODS
from resroute.router.request import Request
from resroute.router.rounds import Rounds
from resroute.telemetry.metrics import Metrics
from tests.router.test_tables import make_instance


class Asker:
    """Asks for rounds of counting, which can be made to wait and to fail."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.session = make_instance(0)
        self.metrics = Metrics()
        self.reported: list[Exception] = []
        self.rounds_done = 0
        self.may_go_on = trio.Event()
        self.failure: Exception | None = None
        self.answered: list[tuple[int, int]] = []

        def start_task(task: Callable[[], Awaitable[object]]) -> None:
            nursery.start_soon(task)

        self.rounds: Rounds[int] = Rounds(self._work, start_task, self.reported.append)

    async def _work(self) -> int:
        await self.may_go_on.wait()
        self.rounds_done += 1
        if self.failure is not None:
            raise self.failure
        return self.rounds_done

    def ask(self, number: int, make: Callable[[int], r.Result] | None = None) -> None:
        def note(result: int) -> r.Result:
            self.answered.append((number, result))
            return r.Result()

        method = METHODS["router.statistics"]
        request = Request(
            self.session, number, method, self.metrics, trace_id="t", wants_meta=False, batch=None
        )
        self.rounds.join(request, make or note)

    def outcomes(self) -> dict[tuple[str, str], Any]:
        return dict(self.metrics.operations)


async def test_who_asks_during_a_round_shares_the_next_one(nursery: trio.Nursery) -> None:
    asker = Asker(nursery)
    asker.ask(1)
    asker.ask(2)
    await trio.testing.wait_all_tasks_blocked()
    asker.ask(3)
    asker.ask(4)
    asker.may_go_on.set()
    await trio.testing.wait_all_tasks_blocked()
    assert asker.answered == [(1, 1), (2, 1), (3, 2), (4, 2)]
    asker.ask(5)
    await trio.testing.wait_all_tasks_blocked()
    assert asker.answered[-1] == (5, 3)
    assert not asker.session.made


async def test_a_round_that_fails_is_an_internal_error_and_the_next_one_goes_on(
    nursery: trio.Nursery,
) -> None:
    asker = Asker(nursery)
    asker.may_go_on.set()
    asker.failure = RuntimeError("a bug")
    asker.ask(1)
    asker.ask(2)
    await trio.testing.wait_all_tasks_blocked()
    asker.failure = None
    asker.ask(3)
    await trio.testing.wait_all_tasks_blocked()
    assert [str(error) for error in asker.reported] == ["a bug"]
    assert asker.answered == [(3, 2)]
    name = "router.statistics"
    assert asker.outcomes() == {(name, "internal_error"): 2, (name, "ok"): 1}


async def test_a_bug_in_one_answer_costs_the_others_nothing(nursery: trio.Nursery) -> None:
    asker = Asker(nursery)
    asker.may_go_on.set()

    def fail(_result: int) -> r.Result:
        raise RuntimeError("a bug")

    asker.ask(1, fail)
    asker.ask(2)
    await trio.testing.wait_all_tasks_blocked()
    assert asker.answered == [(2, 1)]
    name = "router.statistics"
    assert asker.outcomes() == {(name, "internal_error"): 1, (name, "ok"): 1}
