from collections import deque

import trio

import resroute

URL = "ws://127.0.0.1:8765/"

jobs = deque(["a", "b", "c", "d"])
begun, ended = trio.Event(), trio.Event()


async def run_jobs(name: str) -> None:
    """Be the one that runs jobs, or stand in line for the day when that one is gone."""
    async with (
        resroute.open_client(URL) as client,
        client.open_instance("jobs", lambda call: name, instance_id=name) as instance,
    ):
        while True:
            try:
                async with instance.own("jobs", wait_seconds=600) as grant:
                    begun.set()
                    while jobs:
                        print(name, "runs", jobs[0])
                        await run(jobs[0], grant.epoch)
                        jobs.popleft()  # not before it is done, or nobody would run it again
                    return
            except (resroute.ResourceLost, resroute.ResourceConflict):
                pass  # cut off, or nobody left in all that time: stand in line again


async def run(job: str, epoch: int) -> None:
    """Whatever it writes to gets the epoch, and refuses what is out of date."""
    if job == "c" and not ended.is_set():  # somebody ends this program in the middle
        ended.set()
        await trio.sleep_forever()


async def main() -> None:
    async with trio.open_nursery() as both, trio.open_nursery() as first:
        first.start_soon(run_jobs, "one")
        await begun.wait()
        both.start_soon(run_jobs, "two")
        await ended.wait()
        first.cancel_scope.cancel()


trio.run(main)
