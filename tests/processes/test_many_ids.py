"""A thousand ids in one request, some of them taken."""

from tests.processes.independent import Session
from tests.processes.running import open_router

IDS = [f"row:{number}" for number in range(1000)]
TAKEN = IDS[::100]


async def owners(session: Session) -> dict[str, int]:
    """How many resources each instance owns."""
    page = await session.ask("instance.query")
    return {instance["instance_id"]: instance["resources"] for instance in page["instances"]}


async def test_of_a_thousand_ids_some_taken_all_or_none_or_the_rest_are_registered() -> None:
    async with (
        open_router() as router,
        router.open_owner("store-1", *TAKEN) as owner,
        router.open_instance("store-2") as second,
        router.open_instance("store-3") as third,
    ):
        conflicts = dict.fromkeys(TAKEN, "store-1")

        refused = await (await second.start("resource.register", resource_ids=IDS)).wait_refused()
        assert (refused.code, refused.type) == (409, "resource_conflict")
        assert refused.data["conflicts"] == conflicts
        assert await owners(second) == {"store-1": 10, "store-2": 0, "store-3": 0}

        partly = await second.ask("resource.register", resource_ids=IDS, partial=True)
        assert partly["success"] is False
        assert partly["conflicts"] == conflicts
        assert partly["registered"] == [id for id in IDS if id not in conflicts]
        assert list(partly["epochs"]) == partly["registered"]
        assert await owners(second) == {"store-1": 10, "store-2": 990, "store-3": 0}

        both = conflicts | dict.fromkeys(partly["registered"], "store-2")
        refused = await (await third.start("resource.register", resource_ids=IDS)).wait_refused()
        assert refused.data["conflicts"] == both
        nothing = await third.ask("resource.register", resource_ids=IDS, partial=True)
        assert (nothing["registered"], nothing["conflicts"]) == ([], both)

        owner.kill()
        while (await second.ask("resource.register", resource_ids=IDS, partial=True))["conflicts"]:
            pass
        rest = await second.ask("resource.register", resource_ids=IDS)
        assert rest["registered"] == IDS
        assert {id: rest["epochs"][id] for id in partly["registered"]} == partly["epochs"]
        for partial in (False, True):
            ids = [*IDS, "row:1000"]
            more = await second.start("resource.register", resource_ids=ids, partial=partial)
            assert (await more.wait_refused()).type == "resource_limit_exceeded"
        assert await owners(second) == {"store-2": 1000, "store-3": 0}


async def test_a_thousand_ids_of_a_killed_owner_are_free_in_one_step() -> None:
    async with (
        open_router() as router,
        router.open_owner("store-1", *IDS) as owner,
        router.open_instance("store-2") as second,
        router.open_session() as session,
    ):
        assert await owners(session) == {"store-1": 1000, "store-2": 0}
        before = await second.ask("resource.query", limit=1000)
        killed_at = owner.kill()
        while True:
            pending = await second.start("resource.register", resource_ids=IDS)
            await pending.wait_settled()
            if pending.refused is None:
                break
            assert pending.refused.data["conflicts"] == dict.fromkeys(IDS, "store-1"), (
                "all are taken, or none is"
            )
        seconds = pending.answered_at - killed_at
        print(f"1000 ids registered by another {seconds * 1000:.1f} ms after the kill")
        assert seconds < 3
        after = (await pending.wait())["epochs"]
        assert all(after[resource["resource_id"]] > resource["epoch"] for resource in before["resources"])
        assert await owners(session) == {"store-2": 1000}
