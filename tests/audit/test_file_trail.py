"""The audit log in a file: written in batches, in its bounds, and whatever becomes of the file, nothing else stands still."""

import os
import resource
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from structlog.typing import EventDict

from resroute.audit.file_trail import FileTrail, write_of
from resroute.audit.records import Filters
from resroute.audit.store import DAMAGED_NAME, NAME, AuditStore
from resroute.audit.trail import Retention
from resroute.ids import ResourceId
from tests.audit.trails import (
    NOW,
    PLENTY,
    expired,
    freed,
    is_sound,
    numbers,
    open_trail,
    recorded,
    size_in_pages,
    wait_for,
)


def errors(lines: list[EventDict]) -> list[str]:
    return [line["event"] for line in lines if line["log_level"] == "error"]


async def test_what_is_recorded_is_read_in_order_and_is_for_nobody_elses_eyes(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "when missing"
    async with open_trail(folder) as trail:
        for number in range(5):
            trail.add(expired(number))
        await wait_for(lambda: trail.statistics().queued == 0)
        assert numbers(folder) == [0, 1, 2, 3, 4]
        statistics = trail.statistics()
        assert (statistics.recorded, statistics.dropped, statistics.problem) == (5, 0, None)
        for name in (NAME, f"{NAME}-wal", f"{NAME}-shm"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert not (folder / f"{NAME}-wal").exists()


async def test_what_was_recorded_right_before_the_end_is_written(tmp_path: Path) -> None:
    async with open_trail(tmp_path) as trail:
        trail.add(expired(1))
    assert numbers(tmp_path) == [1]
    async with open_trail(tmp_path) as trail:
        trail.add(expired(2))
    assert numbers(tmp_path) == [1, 2]


async def test_cancelling_the_router_does_not_cut_the_writer_off(tmp_path: Path) -> None:
    trail = FileTrail(str(tmp_path), lambda: NOW)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trail.run, lambda: PLENTY)
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(0.05)
                trail.add(expired(7))  # of a session that was ended by that
            trail.finish()
    assert numbers(tmp_path) == [7]


# --- when it cannot be written --------------------------------------------------------------------------------


async def test_a_folder_in_place_of_the_file_is_told_and_recording_goes_on_once_it_is_gone(
    tmp_path: Path,
) -> None:
    (tmp_path / NAME).mkdir()
    with capture_logs() as lines:
        async with open_trail(tmp_path) as trail:
            trail.add(expired(1))
            await wait_for(lambda: trail.statistics().problem is not None)
            assert trail.statistics().queued == 1
            (tmp_path / NAME).rmdir()
            await wait_for(lambda: trail.statistics().problem is None and not trail.statistics().queued)
    assert errors(lines) == ["the audit log cannot be written"]
    assert lines[-1]["event"] == "the audit log is written again"
    assert numbers(tmp_path) == [1]


async def test_beyond_its_bound_records_are_dropped_and_a_record_tells_how_many(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with capture_logs() as lines:
        async with open_trail(tmp_path, max_queued_bytes=10_000) as trail:
            await wait_for(lambda: trail.statistics().problem is not None)
            for number in range(100):
                trail.add(expired(number))
            statistics = trail.statistics()
            assert statistics.recorded == 100
            assert statistics.dropped == 100 - statistics.queued
            assert 5 < statistics.queued < 20
            (tmp_path / NAME).rmdir()
            await wait_for(lambda: not trail.statistics().queued)
            trail.add(expired(1000))
    kept = recorded(tmp_path)
    assert [it.entry.revision for it in kept if it.entry.event == "expired"] == [
        *range(statistics.queued),
        1000,
    ]
    [gap] = [it.entry for it in kept if it.entry.event == "records_dropped"]
    assert gap.reason is not None and gap.reason.startswith(f"{statistics.dropped} records")
    assert len(errors(lines)) == 2  # that it cannot be written, and that records are dropped


async def test_while_the_disk_takes_no_more_records_wait(tmp_path: Path) -> None:
    async with open_trail(tmp_path) as trail:
        trail.add(expired(0))
        await wait_for(lambda: not trail.statistics().queued)
        with no_file_larger_than((tmp_path / f"{NAME}-wal").stat().st_size + 10_000):
            for number in range(1, 200):
                trail.add(expired(number, count=20))
            await wait_for(lambda: "disk" in (trail.statistics().problem or ""))
            assert trail.statistics().queued == 199
        await wait_for(lambda: not trail.statistics().queued)
        assert trail.statistics().dropped == 0
    assert numbers(tmp_path) == list(range(200))
    assert is_sound(tmp_path / NAME)


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Have the system refuse to let this process write more into any file, for the length of a block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_file_that_somebody_locks_is_written_afterwards(tmp_path: Path) -> None:
    async with open_trail(tmp_path) as trail:
        trail.add(expired(0))
        await wait_for(lambda: not trail.statistics().queued)
        connection = sqlite3.connect(tmp_path / NAME, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        trail.add(expired(1))
        await wait_for(lambda: trail.statistics().problem == "database is locked")
        connection.execute("ROLLBACK")
        connection.close()
        await wait_for(lambda: not trail.statistics().queued)
    assert numbers(tmp_path) == [0, 1]


async def test_a_file_that_is_deleted_under_it_is_made_again(tmp_path: Path) -> None:
    with capture_logs() as lines:
        async with open_trail(tmp_path) as trail:
            trail.add(expired(0))
            await wait_for(lambda: not trail.statistics().queued)
            for name in (NAME, f"{NAME}-wal", f"{NAME}-shm"):
                (tmp_path / name).unlink()
            trail.add(expired(1))
            await wait_for(lambda: not trail.statistics().queued)
    assert numbers(tmp_path) == [1]
    assert errors(lines) == ["the audit log was moved or deleted: a new one begins"]


# --- damage ---------------------------------------------------------------------------------------------------


def write_much(folder: Path) -> None:
    written = AuditStore(folder / NAME)
    written.write([write_of(expired(number, count=50)) for number in range(100)])
    written.close()


def overwrite(path: Path, start: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * length)


DAMAGES: Mapping[str, Callable[[Path], object]] = {
    "its first page": lambda path: overwrite(path, 0, 4096),
    "its middle": lambda path: overwrite(path, path.stat().st_size // 2 // 4096 * 4096, 40_000),
    "half of it missing": lambda path: os.truncate(path, path.stat().st_size // 2),
    "something else": lambda path: path.write_text("this is no database, and was never one\n" * 200),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_file_is_moved_aside_at_the_start_and_that_is_told(
    tmp_path: Path, damage: str
) -> None:
    write_much(tmp_path)
    DAMAGES[damage](tmp_path / NAME)
    damaged = (tmp_path / NAME).read_bytes()
    with capture_logs() as lines:
        async with open_trail(tmp_path) as trail:
            trail.add(expired(1))
    assert numbers(tmp_path) == [1]
    assert is_sound(tmp_path / NAME)
    assert (tmp_path / DAMAGED_NAME).read_bytes() == damaged
    assert errors(lines) == ["the audit log was damaged: a new one begins"]


async def test_damage_that_is_met_while_it_runs_costs_no_record_that_comes_then(tmp_path: Path) -> None:
    write_much(tmp_path)
    async with open_trail(tmp_path) as trail:
        trail.add(expired(1))
        await wait_for(lambda: not trail.statistics().queued)
        connection = sqlite3.connect(tmp_path / NAME)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        overwrite(tmp_path / NAME, 4096, (tmp_path / NAME).stat().st_size - 4096)
        trail.add(expired(2))
        await wait_for(lambda: not trail.statistics().queued)
    assert numbers(tmp_path) == [2]
    assert (tmp_path / DAMAGED_NAME).exists()


@pytest.mark.parametrize(
    ("statement", "problem"),
    [("PRAGMA user_version = 99", "newer version"), ("PRAGMA application_id = 7", "something else")],
)
async def test_a_file_of_others_is_left_as_it_is(tmp_path: Path, statement: str, problem: str) -> None:
    write_much(tmp_path)
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute(statement)
    connection.close()
    before = (tmp_path / NAME).read_bytes()
    async with open_trail(tmp_path) as trail:
        trail.add(expired(1))
        await wait_for(lambda: problem in (trail.statistics().problem or ""))
    assert (tmp_path / NAME).read_bytes() == before


class _Steps(trio.abc.Instrument):
    """Counts what tasks do."""

    count = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_when_the_router_stops_what_cannot_be_written_is_tried_again_now_and_then(
    tmp_path: Path,
) -> None:
    (tmp_path / NAME).mkdir()
    steps = _Steps()
    async with open_trail(tmp_path) as trail:
        trail.add(expired(1))
        await wait_for(lambda: trail.statistics().problem is not None)
        trail.finish()
        trio.lowlevel.add_instrument(steps)
    trio.lowlevel.remove_instrument(steps)
    assert 20 < steps.count < 1000


# --- bounds ---------------------------------------------------------------------------------------------------


async def test_what_is_too_old_goes(tmp_path: Path) -> None:
    day = 24 * 3600
    async with open_trail(tmp_path) as trail:
        for number, age in enumerate((40, 31, 29, 1)):
            trail.add(expired(number, at=NOW - age * day, count=3))
        await wait_for(lambda: not trail.statistics().queued)
        await wait_for(lambda: numbers(tmp_path) == [2, 3])
    old = Filters(resource_id=ResourceId("r:000001:0"))
    assert not recorded(tmp_path, old)


async def test_a_file_over_its_size_loses_its_oldest_and_shrinks_when_less_is_allowed(tmp_path: Path) -> None:
    retention = PLENTY
    async with open_trail(tmp_path, retention=lambda: retention, max_queued_bytes=20_000_000) as trail:
        for number in range(300):
            trail.add(expired(number, count=200))
        await wait_for(lambda: not trail.statistics().queued)
        assert (tmp_path / NAME).stat().st_size + (tmp_path / f"{NAME}-wal").stat().st_size > 2_500_000
        retention = Retention(days=30, max_bytes=1_000_000)
        trail.add(expired(300))
        await wait_for(lambda: size_in_pages(tmp_path) <= 1_000_000)
    left = numbers(tmp_path)
    assert left and left == list(range(left[0], 301))
    assert (tmp_path / NAME).stat().st_size <= 1_100_000
    assert is_sound(tmp_path / NAME)


async def test_a_record_too_large_for_all_bounds_goes_in_parts(tmp_path: Path) -> None:
    retention = PLENTY
    async with open_trail(tmp_path, retention=lambda: retention, max_queued_bytes=20_000_000) as trail:
        trail.add(expired(1, count=0))
        trail.add(freed(1, 30_000))
        await wait_for(lambda: not trail.statistics().queued)
        retention = Retention(days=30, max_bytes=1_000_000)
        trail.add(expired(2))
        await wait_for(lambda: size_in_pages(tmp_path) <= 1_000_000)
    assert not recorded(tmp_path, Filters(resource_id=ResourceId("r:000001:0")))
    assert numbers(tmp_path) == [1, 2]
    assert (tmp_path / NAME).stat().st_size <= 1_100_000
