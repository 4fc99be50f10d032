"""Every page with 100 000 resources of 1000 instances: what it takes, and for how long it holds up the router.

It is measured in processor time, which is about the same however busy the machine is.
"""

import gc
import sys
import time

import pytest
import trio
import trio.lowlevel

from resroute.settings import Settings
from tests.admin.asking import Place, open_place
from tests.admin.test_access import Browser

INSTANCES, RESOURCES_OF_EACH = 1000, 100
PAGE_SECONDS = 0.2
HOLD_SECONDS = 0.005

PAGES = (
    "/",
    "/services",
    "/services?service_name=rooms&offset=500",
    "/instance?id=i:500",
    "/resources",
    "/resources?prefix=r:5",
    "/resources?tags=even",
    "/resources?tags=even&resource_type=room&instance_id=i:500",
    "/resources?id=r:500:50",
    "/resources?id=:77",
    "/resources?id=nowhere",
    "/resources?id=0&tags=even&service_name=rooms",
    "/resource?id=r:500:50",
    "/live",
    "/audit",
    "/settings",
    "/docs",
)


def slowed() -> int:
    """How many times longer everything may take: lines are counted while coverage is measured."""
    return 3 if sys.gettrace() is not None or sys.monitoring.get_tool(sys.monitoring.COVERAGE_ID) else 1


class Holds(trio.abc.Instrument):
    """How long each step of a task took, and which was the longest."""

    def __init__(self) -> None:
        self._began = time.thread_time()  # a step is under way
        self.longest = 0.0
        self.by = ""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took = time.thread_time() - self._began
        if took > self.longest:
            self.longest, self.by = took, task.name


async def furnish(place: Place) -> None:
    for number in range(INSTANCES):
        owner = await place.instance(f"i:{number}")
        resources = [
            {
                "resource_id": f"r:{number}:{it}",
                "metadata": {"resource_type": "room", "tags": ["odd" if it % 2 else "even", f"floor-{it}"]},
            }
            for it in range(RESOURCES_OF_EACH)
        ]
        await owner.ask("resource.bulk_register", resources=resources)


@pytest.mark.slow
async def test_every_page_is_quick_and_holds_nobody_up() -> None:
    slow: list[str] = []
    async with open_place(Settings(max_sessions=2000), patience_seconds=300) as place:
        await furnish(place)
        assert place.router.statistics().resources == INSTANCES * RESOURCES_OF_EACH
        browser = Browser(place)
        gc.collect()
        gc.freeze()  # as a router does that runs
        for path in PAGES:
            seconds, hold = [], []
            for _ in range(4):
                holds = Holds()
                trio.lowlevel.add_instrument(holds)
                began = time.thread_time()
                assert (await browser.get(path, Accept="text/html")).status == 200
                seconds.append(time.thread_time() - began)
                trio.lowlevel.remove_instrument(holds)
                hold.append((holds.longest, holds.by))
            longest, by = min(hold)
            told = f"{path}: {min(seconds) * 1000:.0f} ms, holding {longest * 1000:.1f} ms in {by}"
            print(told)
            if min(seconds) > PAGE_SECONDS or longest > HOLD_SECONDS * slowed():
                slow.append(told)
        gc.unfreeze()
    assert not slow
