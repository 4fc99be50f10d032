"""A block that owns a resource: what begins it, what ends it, and what is left of it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Grant, Instance, MetadataFields
from resroute.client.owning import RELEASE_SECONDS
from resroute.client.session import ANSWER_SECONDS
from tests.client.scripted import Json, ScriptedRouter, answer_to, delivered, open_scripted, refusal_of
from tests.client.test_instance import register, start_instance


class Owning:
    """A block in a task of its own.

    Attributes:
        error: what left it.
        body: what its body came to: ``None`` while it runs, else ``done`` or ``cancelled``.
    """

    def __init__(self) -> None:
        self.grant: Grant | None = None
        self.error: BaseException | None = None
        self.body: str | None = None
        self.done = trio.Event()
        self.scope = trio.CancelScope()
        self._leave = trio.Event()

    async def run(
        self,
        instance: Instance,
        resource_id: str,
        *,
        metadata: MetadataFields | None = None,
        wait_seconds: float | None = None,
        body: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        try:
            with self.scope:
                async with instance.own(
                    resource_id, metadata=metadata, wait_seconds=wait_seconds
                ) as self.grant:
                    try:
                        await (self._leave.wait() if body is None else body())
                    except trio.Cancelled:
                        self.body = "cancelled"
                        raise
                    self.body = "done"
        except Exception as error:
            self.error = error
        finally:
            self.done.set()

    def leave(self) -> None:
        """Have the body end."""
        self._leave.set()


def start_owning(nursery: trio.Nursery, instance: Instance, resource_id: str = "a", **options: Any) -> Owning:
    owning = Owning()

    async def run() -> None:
        await owning.run(instance, resource_id, **options)

    nursery.start_soon(run)
    return owning


def granted(request: Json, **epochs: int) -> Json:
    return answer_to(
        request, {"success": True, "registered": list(epochs), "conflicts": {}, "epochs": epochs}
    )


async def expect_register(router: ScriptedRouter, resource_id: str = "a", **metadata: Any) -> Json:
    request = await router.expect("resource.register")
    asked = {"resource_ids": [resource_id]}
    assert request["params"] == (asked | {"metadata": {resource_id: metadata}} if metadata else asked)
    return request


async def expect_release(router: ScriptedRouter, resource_id: str = "a") -> Json:
    request = await router.expect("resource.release")
    assert request["params"] == {"resource_ids": [resource_id], "partial": True}
    return request


def released(request: Json, *resource_ids: str) -> Json:
    return answer_to(request, {"success": True, "released": list(resource_ids), "failed": {}})


def lost(*resource_ids: str, cause: str = "forced", **more: str) -> Json:
    return delivered(None, "resource.lost", {"resource_ids": list(resource_ids), "cause": cause, **more})


async def enter(
    nursery: trio.Nursery, router: ScriptedRouter, instance: Instance, resource_id: str = "a", **options: Any
) -> Owning:
    """A block that has begun, with the epoch 5."""
    owning = start_owning(nursery, instance, resource_id, **options)
    await router.send(granted(await router.expect("resource.register"), **{resource_id: 5}))
    await wait_all_tasks_blocked()
    assert owning.grant is not None
    return owning


async def test_a_block_owns_a_resource_and_releases_it(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = start_owning(nursery, instance, metadata={"tags": ["open"]})
        await router.send(granted(await expect_register(router, tags=["open"]), a=5))
        await wait_all_tasks_blocked()
        grant = owning.grant
        assert grant is not None
        assert (grant.resource_id, grant.epoch, grant.lost) == ("a", 5, None)
        assert grant.metadata == {"tags": ["open"]}
        assert instance.resources == {"a": 5}
        owning.leave()
        request = await expect_release(router)
        assert not owning.done.is_set(), "it is released once the router says so"
        await router.send(released(request, "a"))
        await owning.done.wait()
        assert (owning.error, owning.body) == (None, "done")
        assert instance.resources == {}
        life.leave()
        await router.expect_leaving()


async def test_a_block_says_how_long_it_waits_in_line(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = start_owning(nursery, instance, wait_seconds=2.5)
        request = await router.expect("resource.register")
        assert request["params"] == {"resource_ids": ["a"], "wait_seconds": 2.5}
        await router.refuse(request, 429, "too_many_waiters", limit=3)
        await owning.done.wait()
        assert isinstance(owning.error, resroute.TooManyWaiters)
        life.leave()
        await router.expect_leaving()


async def test_a_conflict_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = start_owning(nursery, instance)
        request = await expect_register(router)
        await router.refuse(request, 409, "resource_conflict", conflicts={"a": "i2"})
        await owning.done.wait()
        assert isinstance(owning.error, resroute.ResourceConflict)
        assert owning.grant is None
        again = await enter(nursery, router, instance)
        again.leave()
        await router.send(released(await expect_release(router), "a"))
        life.leave()
        await router.expect_leaving()


async def test_an_answer_without_an_epoch_is_none(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = start_owning(nursery, instance)
        await router.send(granted(await expect_register(router)))
        await owning.done.wait()
        assert isinstance(owning.error, resroute.InvalidAnswer)
        life.leave()
        await router.expect_leaving()


async def test_a_loss_cancels_the_block(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance)
        await router.send(lost("b", "a", new_owner="i2", transfer_id="t1", reason="it was needed"))
        await owning.done.wait()
        error = owning.error
        assert isinstance(error, resroute.ResourceLost)
        assert (error.resource_id, error.epoch, error.cause) == ("a", 5, "forced")
        assert (error.new_owner, error.transfer_id, error.reason) == ("i2", "t1", "it was needed")
        assert str(error) == "Resource 'a' was lost (forced, to 'i2'): it was needed"
        assert error.__cause__ is None and error.__suppress_context__, "the cancellation is no news"
        assert owning.body == "cancelled"
        assert owning.grant is not None and owning.grant.lost is error
        life.leave()
        await router.expect_leaving()


async def test_the_end_of_the_connection_is_a_loss(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance)
        await router.close(4011, "heartbeat lost")
        await owning.done.wait()
        assert isinstance(owning.error, resroute.ResourceLost)
        assert owning.error.cause == "session_ended"
        assert isinstance(owning.error.__cause__, resroute.ConnectionLost)
        assert owning.error.__cause__.code == 4011
        life.leave()
        await life.done.wait()
        late = start_owning(nursery, instance)
        await late.done.wait()
        assert isinstance(late.error, resroute.ConnectionLost)


async def test_that_the_instance_leaves_is_a_loss(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance)
        life.leave()
        await router.expect_leaving()
        await owning.done.wait()
        assert isinstance(owning.error, resroute.ResourceLost)
        assert owning.error.cause == "released"
        assert owning.body == "cancelled"


async def test_what_the_instance_releases_under_a_block_is_lost_to_it(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance)
        nursery.start_soon(instance.release, "a")
        await router.send(released(await router.expect("resource.release"), "a"))
        await owning.done.wait()
        assert isinstance(owning.error, resroute.ResourceLost)
        assert owning.error.cause == "released"
        life.leave()
        await router.expect_leaving()


async def test_a_release_under_a_block_that_was_cancelled_is_noticed_at_its_end(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance)
        with trio.move_on_after(1):
            await instance.release("a")
        await router.expect("resource.release")
        await router.expect("$/cancelRequest")
        owning.leave()
        gone = {"success": False, "released": [], "failed": {"a": "resource_not_found"}}
        await router.send(answer_to(await expect_release(router), gone))
        await owning.done.wait()
        assert instance.resources == {}
        life.leave()
        await router.expect_leaving()


async def test_what_is_lost_before_the_block_begins_does_not_begin_it(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = start_owning(nursery, instance, metadata={"ttl_seconds": 3})
        request = await router.expect("resource.register")
        await router.send(granted(request, a=5), lost("a", cause="expired"))
        await owning.done.wait()
        assert isinstance(owning.error, resroute.ResourceLost)
        assert owning.error.cause == "expired"
        assert owning.grant is None
        life.leave()
        await router.expect_leaving()


async def test_the_loss_of_an_earlier_grant_is_none_of_the_blocks(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        await register(nursery, router, instance, {"a": 3})
        owning = start_owning(nursery, instance)
        request = await expect_register(router)
        await router.send(lost("a", cause="expired"), granted(request, a=5))
        await wait_all_tasks_blocked()
        assert owning.grant is not None and owning.grant.epoch == 5
        owning.leave()
        await router.send(released(await expect_release(router), "a"))
        await owning.done.wait()
        assert owning.error is None
        life.leave()
        await router.expect_leaving()


async def test_what_is_owned_already_can_be_owned_by_a_block(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        acquired = {"resources": [{"resource_id": "a", "epoch": 5, "metadata": None}], "cause": "transfer"}
        await router.send(delivered(None, "resource.acquired", acquired))
        owning = await enter(nursery, router, instance)
        await router.send(lost("a", cause="transfer"))
        await owning.done.wait()
        assert isinstance(owning.error, resroute.ResourceLost)
        life.leave()
        await router.expect_leaving()


async def test_a_block_that_ends_while_the_loss_is_on_its_way_has_not_owned_it_to_the_end(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance)
        owning.leave()
        request = await expect_release(router)
        refused = {"success": False, "released": [], "failed": {"a": "not_owner"}}
        await router.send(lost("a"), answer_to(request, refused))
        await owning.done.wait()
        assert isinstance(owning.error, resroute.ResourceLost)
        assert owning.body == "done"
        life.leave()
        await router.expect_leaving()


async def fail() -> None:
    raise KeyError("the body's own")


async def fail_when_cancelled() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise KeyError("the body's own")


async def fail_in_a_nursery_when_cancelled() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_when_cancelled)
        nursery.start_soon(trio.sleep_forever)


async def test_an_error_of_the_bodys_own_leaves_as_it_is(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = start_owning(nursery, instance, body=fail, metadata={"ttl_seconds": 30})
        await router.send(granted(await router.expect("resource.register"), a=5))
        await router.send(released(await expect_release(router), "a"))
        await owning.done.wait()
        assert isinstance(owning.error, KeyError)
        life.leave()
        await router.expect_leaving()


@pytest.mark.parametrize("metadata", [None, {"ttl_seconds": 30}])
async def test_an_error_that_a_loss_brings_about_is_not_swallowed(
    metadata: MetadataFields | None, autojump_clock: MockClock
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance, body=fail_when_cancelled, metadata=metadata)
        await router.send(lost("a"))
        await owning.done.wait()
        assert isinstance(owning.error, KeyError)
        assert owning.grant is not None and owning.grant.lost is not None
        owning = await enter(
            nursery, router, instance, body=fail_in_a_nursery_when_cancelled, metadata=metadata
        )
        await router.send(lost("a"))
        await owning.done.wait()
        assert pytest.RaisesGroup(KeyError).matches(owning.error), "the group is the body's own, too"
        life.leave()
        await router.expect_leaving()


async def test_a_cancelled_block_releases_and_is_cancelled(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance)
        owning.scope.cancel()
        request = await expect_release(router)
        assert not owning.done.is_set()
        await router.send(released(request, "a"))
        await owning.done.wait()
        assert (owning.error, owning.body, owning.scope.cancelled_caught) == (None, "cancelled", True)
        life.leave()
        await router.expect_leaving()


async def test_a_cancellation_from_around_is_not_turned_into_a_loss(autojump_clock: MockClock) -> None:
    tidy = trio.Event()

    async def tidy_up() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await tidy.wait()

    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance, body=tidy_up)
        await router.send(lost("a"))
        await wait_all_tasks_blocked()
        assert owning.grant is not None and owning.grant.lost is not None and not owning.done.is_set()
        owning.scope.cancel()
        tidy.set()
        await owning.done.wait()
        assert (owning.error, owning.scope.cancelled_caught) == (None, True)
        life.leave()
        await router.expect_leaving()


async def test_two_blocks_of_one_instance_do_not_own_the_same(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        first = start_owning(nursery, instance)
        request = await expect_register(router)
        while_it_asks = start_owning(nursery, instance)
        await while_it_asks.done.wait()
        assert isinstance(while_it_asks.error, trio.BusyResourceError)
        await router.send(granted(request, a=5))
        while_it_owns = start_owning(nursery, instance)
        await while_it_owns.done.wait()
        assert isinstance(while_it_owns.error, trio.BusyResourceError)
        other = await enter(nursery, router, instance, "b")
        first.leave()
        request = await expect_release(router)
        while_it_leaves = start_owning(nursery, instance)
        await while_it_leaves.done.wait()
        assert isinstance(while_it_leaves.error, trio.BusyResourceError)
        await router.send(released(request, "a"))
        await first.done.wait()
        assert first.error is None and other.body is None
        again = await enter(nursery, router, instance)
        for owning in (again, other):
            owning.leave()
            request = await router.expect("resource.release")
            await router.send(released(request, *request["params"]["resource_ids"]))
            await owning.done.wait()
        life.leave()
        await router.expect_leaving()


async def test_of_two_blocks_within_each_other_the_loss_ends_the_one_that_it_concerns(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        for losses, expected, given_up in (
            (["inner"], ["inner"], "outer"),
            (["outer"], ["outer"], "inner"),
            (["inner", "outer"], ["outer"], None),
        ):
            errors: list[str] = []

            async def nest(errors: list[str] = errors) -> None:
                try:
                    async with instance.own("outer"):
                        try:
                            async with instance.own("inner"):
                                await trio.sleep_forever()
                        except resroute.ResourceLost as error:
                            errors.append(error.resource_id)
                except resroute.ResourceLost as error:
                    errors.append(error.resource_id)

            nursery.start_soon(nest)
            await router.send(granted(await expect_register(router, "outer"), outer=5))
            await router.send(granted(await expect_register(router, "inner"), inner=6))
            await wait_all_tasks_blocked()
            await router.send(lost(*losses))
            if given_up is not None:
                await router.send(released(await expect_release(router, given_up), given_up))
            await wait_all_tasks_blocked()
            assert errors == expected
        life.leave()
        await router.expect_leaving()


# --- cancelled while it begins or ends ----------------------------------------------------------------------------


async def test_a_cancelled_registration_waits_for_what_becomes_of_it(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = start_owning(nursery, instance)
        request = await expect_register(router)
        owning.scope.cancel()
        assert (await router.expect("$/cancelRequest"))["params"] == {"id": request["id"]}
        await router.send(refusal_of(request, 499, "call_cancelled"))
        await owning.done.wait()
        assert owning.scope.cancelled_caught
        assert client.statistics().late_answers == 0
        life.leave()
        await router.expect_leaving()


async def test_a_cancelled_registration_that_was_granted_is_released(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = start_owning(nursery, instance)
        request = await expect_register(router)
        owning.scope.cancel()
        await router.expect("$/cancelRequest")
        await router.send(granted(request, a=5))
        request = await expect_release(router)
        await router.send(released(request, "a"))
        await owning.done.wait()
        assert owning.scope.cancelled_caught
        assert instance.resources == {}
        life.leave()
        await router.expect_leaving()


async def test_a_router_that_says_nothing_holds_nobody_up_for_long(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = start_owning(nursery, instance)
        await expect_register(router)
        began = trio.current_time()
        owning.scope.cancel()
        await owning.done.wait()
        assert trio.current_time() - began == pytest.approx(ANSWER_SECONDS)
        assert owning.scope.cancelled_caught
        await router.expect("$/cancelRequest")
        assert (await expect_release(router)).get("id") is None, "should it be granted after all"

        owning = await enter(nursery, router, instance)
        owning.leave()
        began = trio.current_time()
        await owning.done.wait()
        assert trio.current_time() - began == pytest.approx(RELEASE_SECONDS)
        assert owning.error is None
        request = await expect_release(router)
        assert (await router.expect("$/cancelRequest"))["params"] == {"id": request["id"]}
        assert (await expect_release(router)).get("id") is None
        assert instance.resources == {}
        life.leave()
        await router.expect_leaving()


async def test_a_router_that_has_too_much_to_do_is_asked_again(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance)
        owning.leave()
        await router.refuse(await expect_release(router), 429, "too_many_calls", limit=1)
        pending = {"success": False, "released": [], "failed": {"a": "resource_conflict"}}
        await router.send(answer_to(await expect_release(router), pending))
        await router.send(released(await expect_release(router), "a"))
        await owning.done.wait()
        assert owning.error is None
        life.leave()
        await router.expect_leaving()


async def test_a_connection_that_ends_while_it_is_released_is_a_loss(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance)
        owning.leave()
        await expect_release(router)
        await router.cut()
        await owning.done.wait()
        assert isinstance(owning.error, resroute.ResourceLost)
        assert owning.error.cause == "session_ended"
        life.leave()


# --- a time to live -----------------------------------------------------------------------------------------------


async def expect_renewal(router: ScriptedRouter) -> Json:
    request = await router.expect("resource.renew")
    assert request["params"] == {"resource_ids": ["a"]}
    return request


def renewed(request: Json) -> Json:
    return answer_to(request, {"renewed": ["a"], "expires_at": {"a": "2026-01-02T03:04:05Z"}})


async def test_what_expires_is_renewed_after_each_third_of_its_time(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance, metadata={"ttl_seconds": 30})
        began = trio.current_time()
        await router.send(renewed(await expect_renewal(router)))
        assert trio.current_time() - began == pytest.approx(10)
        await router.refuse(await expect_renewal(router), 429, "rate_limited", limit=1)
        assert trio.current_time() - began == pytest.approx(20)
        request = await expect_renewal(router)
        assert trio.current_time() - began == pytest.approx(30)
        assert (await router.expect("$/cancelRequest"))["params"] == {"id": request["id"]}
        await router.send(renewed(await expect_renewal(router)))
        assert trio.current_time() - began == pytest.approx(40)
        await wait_all_tasks_blocked()
        owning.leave()
        await router.send(released(await expect_release(router), "a"))
        await owning.done.wait()
        assert owning.error is None
        await trio.sleep(100)
        life.leave()
        await router.expect_leaving()


async def test_what_says_nothing_of_a_time_to_live_is_not_renewed(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        for resource_id, metadata in (("a", None), ("b", {"tags": []}), ("c", {"ttl_seconds": None})):
            await enter(nursery, router, instance, resource_id, metadata=metadata)
        await trio.sleep(10_000 / 3)
        life.leave()
        await router.expect_leaving()


async def test_what_expires_all_the_same_is_lost(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        owning = await enter(nursery, router, instance, metadata={"ttl_seconds": 30})
        request = await expect_renewal(router)
        await router.send(
            lost("a", cause="expired"), refusal_of(request, 404, "resource_not_found", resource_id="a")
        )
        await owning.done.wait()
        assert isinstance(owning.error, resroute.ResourceLost)
        assert owning.error.cause == "expired"
        life.leave()
        await router.expect_leaving()
