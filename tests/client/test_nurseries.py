"""What leaves a nursery that the user does not know of."""

import pytest
import trio
from trio.testing import MockClock

from resroute.client.nurseries import open_joint_nursery, open_transparent_nursery


async def fail(error: Exception) -> None:
    raise error


async def sleep_in_a_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(trio.sleep_forever)


async def test_an_exception_of_the_body_leaves_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with open_transparent_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise KeyError


async def test_an_exception_of_a_task_leaves_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with open_transparent_nursery() as nursery:
            nursery.start_soon(fail, KeyError())
            await trio.sleep_forever()


async def test_exceptions_of_both_leave_together() -> None:
    with pytest.RaisesGroup(KeyError, ValueError):
        async with open_transparent_nursery() as nursery:
            nursery.start_soon(fail, KeyError())
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError


async def test_a_group_of_the_bodys_own_stays_one() -> None:
    with pytest.RaisesGroup(KeyError):
        async with open_transparent_nursery():
            raise ExceptionGroup("mine", [KeyError()])


async def test_of_cancellations_around_and_within_one_leaves(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        with pytest.raises(trio.Cancelled):
            async with open_transparent_nursery() as nursery:
                nursery.start_soon(sleep_in_a_nursery)
                await trio.sleep_forever()
        await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_an_error_leaves_alone_whatever_was_cancelled_besides(autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError), trio.move_on_after(1):
        async with open_transparent_nursery() as nursery:
            nursery.start_soon(sleep_in_a_nursery)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError


async def test_of_parts_that_fail_in_one_moment_the_first_error_leaves_with_a_note_of_the_others() -> None:
    with pytest.raises(KeyError) as caught:
        async with open_joint_nursery() as nursery:
            nursery.start_soon(fail, KeyError("a"))
            nursery.start_soon(fail, KeyError("a"))
    assert caught.value.__notes__ == ["in the same moment: KeyError('a')"]
    with pytest.RaisesGroup(KeyError):
        async with open_joint_nursery():
            raise ExceptionGroup("mine", [KeyError()])


async def test_what_ends_the_program_stays_in_the_group_it_came_in() -> None:
    with pytest.RaisesGroup(KeyError, KeyboardInterrupt):
        async with open_joint_nursery() as nursery:
            nursery.start_soon(fail, KeyError())
            try:
                await trio.sleep_forever()
            finally:
                raise KeyboardInterrupt
