"""Programs that end in the middle of things, or hold everything up: ``python -m tests.processes.odd NAME URL``."""

import logging
import sys
import time

import trio

from resroute import Call, Client, ResrouteError, Service, open_client

service = Service()


@service.method
async def hang() -> None:
    await trio.sleep_forever()


@service.method
def block() -> str:
    time.sleep(0.8)  # noqa: ASYNC251  # that is what it does
    return "blocked"


@service.method
def leave(call: Call) -> None:
    sys.exit(3)


def say(word: str) -> None:
    print(word, flush=True)


async def call(client: Client, method: str) -> None:
    try:
        say(str(await client.call(method, service_name="odd")))
    except ResrouteError as error:
        say(type(error).__name__)


async def closing(url: str) -> None:
    """Leaves with calls in flight, its own and those of others."""
    async with open_client(url) as caller, trio.open_nursery() as nursery:
        with trio.move_on_after(2):
            async with open_client(url) as client, client.open_instance("odd", service):
                for each in (client, caller, caller):
                    nursery.start_soon(call, each, "hang")
                while client.statistics().calls_serving < 3:  # noqa: ASYNC110  # it tells nobody
                    await trio.sleep(0.01)
                await trio.sleep_forever()


async def raising(url: str) -> None:
    """Fails with calls in flight."""
    async with open_client(url) as caller, trio.open_nursery() as nursery:
        nursery.start_soon(fail, url)
        await trio.sleep(0.2)
        await call(caller, "hang")


async def fail(url: str) -> None:
    async with open_client(url) as client, client.open_instance("odd", service):
        await trio.sleep(1)
        raise KeyError("mine")


async def interrupted(url: str) -> None:
    """Is interrupted with calls in flight."""
    async with open_client(url) as client, client.open_instance("odd", service) as instance:
        await instance.register("odd:1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, client, "hang")
            await trio.sleep(0.2)
            say("ready")


async def exiting(url: str) -> None:
    """A handler of it ends the program."""
    async with open_client(url) as client, client.open_instance("odd", service):
        await call(client, "leave")


async def blocking(url: str) -> None:
    """A handler of it holds up everything else."""
    async with open_client(url) as client, client.open_instance("odd", service):
        await call(client, "block")
        with trio.move_on_after(1):
            await call(client, "hang")
        await client.ping()
        say("alive")


PROGRAMS = {each.__name__: each for each in (closing, raising, interrupted, exiting, blocking)}

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    trio.run(PROGRAMS[sys.argv[1]], sys.argv[2])
