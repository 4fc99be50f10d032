"""A program with many instances that all want the same ids at the same moment.

``python -m tests.processes.racer WISHES``, a JSON object. Each line it reads is a race: which id, and the moment to start
at, on the clock that all processes of a machine share. It tells how the race went, and ends with its standard input.
"""

import json
import os
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack

import trio

from tests.processes.independent import Disconnected, Json, Refused, Session, open_session
from tests.processes.owner import tell

SPIN_SECONDS = 0.002


async def answer_calls(session: Session, instance_id: str) -> None:
    """Say who one is."""
    try:
        while True:
            await session.answer(await session.next_request(), instance_id)
    except Disconnected:
        pass


async def race(sessions: dict[str, Session], resource_id: str, at: float, dead: str | None = None) -> Json:
    """Have every session register the id at that moment.

    Args:
        dead: beginning of the name of the owner until now, which is dying: who is refused in its name tries again.
    """
    won: dict[str, int] = {}
    named: Counter[str] = Counter()
    other: Counter[str] = Counter()
    won_at = None
    await trio.sleep(max(0, at - time.monotonic() - SPIN_SECONDS))
    while time.monotonic() < at:
        pass
    wanting = sessions
    while wanting:
        again = {}
        pending = {
            name: await session.start("resource.register", resource_ids=[resource_id])
            for name, session in wanting.items()
        }
        for name, answer in pending.items():
            try:
                won[name] = (await answer.wait())["epochs"][resource_id]
                won_at = time.monotonic()
            except Refused as refused:
                owner = refused.data.get("owner_instance_id", "")
                if dead is not None and owner.startswith(dead):
                    again[name] = sessions[name]
                elif refused.type == "resource_conflict" and refused.data["conflicts"] == {
                    resource_id: owner
                }:
                    named[owner] += 1
                else:
                    other[str(refused)] += 1
        wanting = again
    return {"raced": resource_id, "won": won, "won_at": won_at, "named": named, "other": other}


async def main(url: str, name: str, count: int) -> None:
    """Connect so many instances and race them."""
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        sessions: dict[str, Session] = {}
        for number in range(count):
            session = await stack.enter_async_context(open_session(url))
            instance_id = await session.become("racers", instance_id=f"{name}.{number}")
            sessions[instance_id] = session
            nursery.start_soon(answer_calls, session, instance_id)
        tell(ready=name)
        async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
            rest = b""
            async for chunk in stdin:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    tell(**await race(sessions, **json.loads(line)))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    wishes = json.loads(sys.argv[1])
    trio.run(lambda: main(**wishes))
