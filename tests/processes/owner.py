"""A program that tests kill: an instance that owns resources and answers calls as their methods say.

``python -m tests.processes.owner WISHES``, a JSON object. It writes down all that it says and hears, a line each, which is
there also when it is killed. It ends when its connection has, or with its standard input: it does not outlive who
started it.
"""

import json
import os
import sys
import time
from collections.abc import Sequence

import trio

from tests.processes.independent import Disconnected, Json, Session, open_session


def tell(**event: object) -> None:
    """Write an event down before anything else can happen."""
    os.write(1, json.dumps(event).encode() + b"\n")


def note(kind: str, text: str) -> None:
    """Tell what a session says and hears, and when."""
    tell(kind=kind, text=text, at=time.monotonic())


async def end_with_stdin(scope: trio.CancelScope) -> None:
    """Cancel once nobody holds the other end of the standard input any more."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        while await stdin.receive_some():
            pass
    scope.cancel()


async def serve(session: Session, instance_id: str) -> None:
    """Answer calls, each in a task of its own."""

    async def answer(request: Json) -> None:
        match request["method"]:
            case "hold":
                return  # for ever
            case "sleep":
                await trio.sleep(request["params"]["seconds"])
        await session.answer(request, {"by": instance_id})

    async with trio.open_nursery() as nursery:
        try:
            while True:
                nursery.start_soon(answer, await session.next_request())
        except Disconnected:
            nursery.cancel_scope.cancel()


async def wait(session: Session, resource_ids: Sequence[str]) -> None:
    """Wait for what others own, and tell when it has come."""
    pending = await session.start("resource.register", resource_ids=resource_ids, wait_seconds=60)
    tell(granted=(await pending.wait())["epochs"])


async def main(
    url: str,
    service_name: str,
    instance_id: str,
    resource_ids: Sequence[str] = (),
    waits_for: Sequence[str] = (),
    **identity: int,
) -> None:
    """Be an instance until the connection or the standard input ends."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_with_stdin, nursery.cancel_scope)
        async with open_session(url, note) as session:
            await session.become(service_name, *resource_ids, instance_id=instance_id, **identity)
            tell(ready=instance_id)
            async with trio.open_nursery() as waiting:
                if waits_for:
                    waiting.start_soon(wait, session, waits_for)
                await serve(session, instance_id)
                waiting.cancel_scope.cancel()
            tell(closed=session.close_code)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    wishes = json.loads(sys.argv[1])
    trio.run(lambda: main(**wishes))
