"""Instances that take the place of earlier sessions, with a real router in memory whose log answers at once, or late."""

import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute.settings import Settings
from tests.client.scripted import open_client_of, open_scripted
from tests.client.test_instance import echo
from tests.scenario import open_scenario

pytestmark = pytest.mark.parametrize("is_lagging", [False, True], ids=["at once", "late"])


async def test_a_new_client_goes_on_with_what_the_earlier_one_owned(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with (
        open_scenario(is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as client,
        open_client_of(scenario.router) as again,
        open_client_of(scenario.router) as caller,
        client.open_instance("service", echo, instance_id="one") as before,
    ):
        await before.register("doc:7", "doc:8")
        assert not before.resumed
        owned = dict(before.resources)
        async with again.open_instance(
            "service", lambda call: "again", instance_id="one", resume_token=before.resume_token
        ) as instance:
            assert list(instance.resumed) == ["doc:7", "doc:8"]
            assert instance.resources == instance.resumed
            assert all(instance.resources[name] > epoch for name, epoch in owned.items())
            assert instance.resume_token not in (None, before.resume_token)
            assert await caller.call("work", resource_id="doc:7") == "again"
            with trio.fail_after(5):
                lost = await client.wait_closed()
            assert lost.code == 4009
            assert not before.resources


async def test_all_is_known_even_if_it_is_more_than_one_answer_names(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with (
        open_scenario(Settings(max_resources_per_instance=5000), is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as client,
        open_client_of(scenario.router) as again,
        client.open_instance("service", echo) as before,
    ):
        names = [f"doc:{n:04}" for n in range(2345)]
        await before.bulk_register(names)
        async with again.open_instance(
            "service", echo, instance_id=before.instance_id, resume_token=before.resume_token
        ) as instance:
            assert sorted(instance.resumed) == names
            assert instance.resources == instance.resumed
            assert len(set(instance.resumed.values())) == 1


async def test_without_the_token_the_name_is_taken(is_lagging: bool, autojump_clock: MockClock) -> None:
    async with (
        open_scenario(is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as client,
        open_client_of(scenario.router) as again,
        client.open_instance("service", echo, instance_id="one") as before,
    ):
        await before.register("doc:7")
        for token in (None, "forged"):
            with pytest.raises(resroute.InstanceConflict):
                async with again.open_instance("service", echo, instance_id="one", resume_token=token):
                    pass
        assert list(before.resources) == ["doc:7"]


async def test_a_token_that_is_good_no_more_resumes_nothing(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_scenario(is_lagging=is_lagging) as scenario:
        async with (
            open_client_of(scenario.router) as client,
            client.open_instance("service", echo, instance_id="one") as before,
        ):
            await before.register("doc:7")
            token = before.resume_token
        async with (
            open_client_of(scenario.router) as again,
            again.open_instance("service", echo, instance_id="one", resume_token=token) as instance,
        ):
            assert not instance.resumed
            assert not instance.resources
            assert (await instance.register("doc:7")).registered == ("doc:7",)


async def test_a_router_that_knows_no_tokens_gives_none(is_lagging: bool, autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:

        async def be() -> None:
            async with client.open_instance("service", echo, instance_id="one") as instance:
                assert instance.resume_token is None
                assert not instance.resumed

        nursery.start_soon(be)
        asked = await router.expect("instance.register")
        assert "resume_token" not in asked["params"]
        await router.answer(asked, {"instance_id": "one", "service_name": "service", "session_id": "s"})
        await router.answer(await router.expect("instance.drain"), {})
