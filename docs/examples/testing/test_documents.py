import trio

import resroute
from resroute.testing import MemoryRouter


def documents(router: MemoryRouter) -> resroute.Service:
    """The service under test. Its database is the checker, that looks at epochs."""
    service = resroute.Service()

    @service.fenced
    async def save(call: resroute.Call, text: str) -> str:
        with router.checker.working(call.resource_id, call.epoch):
            await trio.sleep(0.1)
            router.checker.write(call.resource_id, call.epoch)
            return text

    return service


async def test_a_document_can_be_saved_again_after_its_router_died(resroute_router, autojump_clock):
    router = resroute_router
    async with router.open_client() as client, router.open_client() as caller:
        async with client.open_instance("documents", documents(router)) as instance:
            await instance.register("doc:1")
            await router.kill()
            await router.start()
            saved = await caller.call("save", ["a"], resource_id="doc:1", wait_for_owner_seconds=10)
            assert saved == "a"


async def test_a_document_that_is_taken_away_is_noticed(resroute_router, autojump_clock):
    router = resroute_router
    async with router.open_client() as client:
        async with client.open_instance("documents", documents(router)) as instance:
            async with instance.open_changes() as changes:
                await instance.register("doc:1")
                await router.lose("doc:1")
                lost = await anext(changes)
                assert lost.cause == "released_by_admin"
