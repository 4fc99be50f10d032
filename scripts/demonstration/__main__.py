"""``python -m demonstration``: shows what resroute does and leaves nothing behind. With ``--stay`` it waits to be tried out.

Exit codes: 0 if all held, 1 if something did not, 128+N if signal N came before the end of the story.
"""

import argparse
import os
import signal
import sys
import time

import trio

from demonstration.stage import Failure, Program, Stage, open_stage
from demonstration.story import Story
from demonstration.voice import Voice
from resroute import ResrouteError, open_client

STORY_SECONDS = 60

BY_HAND = """
   In another terminal, with a WebSocket client and nothing else:

      {bin}/websockets {url}

   Type, a line each:

      {{"jsonrpc":"2.0","id":1,"method":"resource.query"}}
      {{"jsonrpc":"2.0","id":2,"method":"route.call","params":{{"resource_id":"doc:1","method":"read"}}}}

   Or in Python, with {bin}/python:

      import trio, resroute

      async def main():
          async with resroute.open_client("{url}") as client:
              print(await client.call("append", {{"text": "The end"}}, resource_id="doc:4"))

      trio.run(main)
"""


async def play(voice: Voice, *, stays: bool) -> int:
    """Show everything, until the end or a signal; then stop everybody. Returns the exit code."""
    code = 0
    is_told = False
    playing = trio.CancelScope()

    async def stop_at_signal(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        nonlocal code
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                code = code or (0 if is_told else 128 + number)
                playing.cancel()

    async with trio.open_nursery() as nursery:
        await nursery.start(stop_at_signal)
        with playing:
            async with open_stage() as stage:
                try:
                    router, story = await show(voice, stage)
                    is_told = True
                    if stays:
                        await stay(voice, router, story)
                except* BrokenPipeError:  # nobody listens any more
                    code = 128 + signal.SIGPIPE
                    voice.fall_silent()
                except* Exception as group:
                    code = 1
                    explain(voice, group, stage)
        nursery.cancel_scope.cancel()
    return code


async def show(voice: Voice, stage: Stage) -> tuple[Program, Story]:
    """The whole story. Returns who is left."""
    began = time.monotonic()
    voice.say(
        voice.paint("strong", "resroute: a router, two owners of documents, and a caller, each a process")
    )
    try:
        with trio.fail_after(STORY_SECONDS):
            voice.step("Everybody connects")
            router = await stage.start(
                "router", "resroute", "serve", "--port=0", "--admin-port=0", "--log-level=warning"
            )
            listens = await router.wait_for(r"resroute listens on (\S+) \(admin pages on (\S+)\)")
            url, admin_url = listens.groups()
            voice.item("router", url, f"process {router.pid}, admin pages on {admin_url}")
            story = Story(voice, stage, url)
            async with open_client(url) as client:
                await story.tell(client)
    except trio.TooSlowError:
        raise Failure(f"it took more than {STORY_SECONDS} s") from None
    voice.say(f"\n{voice.paint('good', 'All of it held')}, in {time.monotonic() - began:.1f} s.")
    return router, story


async def stay(voice: Voice, router: Program, story: Story) -> None:
    """Leave everybody running, to be tried out, and say who ends meanwhile."""

    async def watch(owner: Program) -> None:
        await owner.process.wait()
        voice.item(owner.name, "has ended, and owns nothing any more", f"code {owner.process.returncode}")

    await story.begin_again()
    voice.say(BY_HAND.format(bin=os.path.dirname(sys.executable), url=story.url))
    voice.note(f"{voice.paint('strong', 'Ctrl-C')} here stops everything, and so does: kill {os.getpid()}")
    async with trio.open_nursery() as nursery:
        for owner in story.owners.values():
            nursery.start_soon(watch, owner)
        await router.process.wait()
        raise Failure(f"the router has ended, with code {router.process.returncode}")


def explain(voice: Voice, group: BaseExceptionGroup, stage: Stage) -> None:
    """Say what did not hold, and what everybody said last."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    sentence = str(error) if isinstance(error, Failure | ResrouteError) else f"it broke off with {error!r}"
    voice.failed(sentence, {program.name: program.last_words() for program in stage.programs})


def command_line() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Shows a router, two owners and a caller at work, in a few seconds, each a process of its own.",
    )
    parser.add_argument(
        "--stay", action="store_true", help="leave them running at the end, and say how to call them"
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        stays = command_line().stay
        sys.exit(trio.run(lambda: play(Voice(), stays=stays)))
    except KeyboardInterrupt:  # before anything was started
        sys.exit(128 + signal.SIGINT)
