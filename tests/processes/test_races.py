"""Many instances in many processes want the same id at the same moment."""

import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.processes.independent import Json
from tests.processes.running import Peer, Serving, open_router, start_peer

PROCESSES = 8
SESSIONS = 25
HEAD_START_SECONDS = 0.02
"""How long before a race the racers hear of it, so that all of them wait at the start."""


@asynccontextmanager
async def open_racers(url: str) -> AsyncGenerator[list[Peer]]:
    """All processes, each with all its sessions connected."""
    peers: list[Peer] = []
    async with AsyncExitStack() as stack:
        for number in range(PROCESSES):
            racer = start_peer("racer", url=url, name=f"racer-{number}", count=SESSIONS)
            peers.append(await stack.enter_async_context(racer))
        for peer in peers:
            await peer.wait_event("ready")
        yield peers


async def race(racers: list[Peer], resource_id: str, dead: str | None = None) -> list[Json]:
    """Have all of them want this id at the same moment. Returns what each process tells of it."""
    before = [len(racer.program.lines) for racer in racers]
    at = time.monotonic() + HEAD_START_SECONDS
    for racer in racers:
        await racer.tell(resource_id=resource_id, at=at, dead=dead)
    for racer, count in zip(racers, before, strict=True):
        await racer.program.wait_until(lambda: len(racer.program.lines) > count)  # noqa: B023
    return [racer.events[-1] for racer in racers]


def winner_of(outcomes: list[Json], resource_id: str) -> str:
    """The one instance that won; every other one was told so."""
    assert {outcome["raced"] for outcome in outcomes} == {resource_id}
    won: dict[str, int] = {name: epoch for outcome in outcomes for name, epoch in outcome["won"].items()}
    named = sum((Counter[str](outcome["named"]) for outcome in outcomes), Counter[str]())
    assert not any(outcome["other"] for outcome in outcomes), outcomes
    assert len(won) == 1, won
    [winner] = won
    assert named == {winner: len(outcomes) * SESSIONS - 1}
    return winner


async def run_races(router: Serving, racers: list[Peer], rounds: int) -> None:
    """Race for one id after the other; who won it is who gets the calls for it."""
    winners: Counter[str] = Counter()
    async with router.open_session() as session:
        for number in range(rounds):
            resource_id = f"prize:{number}"
            winner = winner_of(await race(racers, resource_id), resource_id)
            assert await session.call("who", resource_id=resource_id) == winner
            winners[winner.partition(".")[0]] += 1
        owned = await session.ask("resource.query", service_name="racers")
        assert owned["total_count"] == rounds
    print(f"{rounds} races of {PROCESSES * SESSIONS}, won by {dict(winners)}")


@pytest.mark.slow
async def test_of_all_who_register_an_id_at_the_same_moment_exactly_one_wins_a_hundred_times_over() -> None:
    async with open_router() as router, open_racers(router.url) as racers:
        await run_races(router, racers, 100)


async def test_exactly_one_wins_and_when_it_dies_exactly_one_of_the_others_does_at_once() -> None:
    async with open_router() as router, open_racers(router.url) as racers:
        await run_races(router, racers, 10)
        for number in range(3):
            resource_id = f"next-prize:{number}"
            winner = winner_of(await race(racers, resource_id), resource_id)
            dead = winner.partition(".")[0]
            [victim] = [racer for racer in racers if racer.events[0]["ready"] == dead]
            racers = [racer for racer in racers if racer is not victim]

            victim.kill()
            killed_at = time.monotonic()
            outcomes = await race(racers, resource_id, dead=f"{dead}.")
            assert not winner_of(outcomes, resource_id).startswith(dead)
            [won_at] = [outcome["won_at"] for outcome in outcomes if outcome["won"]]
            seconds = won_at - killed_at
            print(f"won again {seconds * 1000:.1f} ms after the kill, among {len(racers) * SESSIONS}")
            assert seconds < 3
