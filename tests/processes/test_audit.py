"""The audit log of routers as processes: killed again and again, on a disk that takes no more, read while it is written."""

import json
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import trio

from resroute.audit.reading import open_reader
from resroute.audit.records import Filters, Record
from resroute.audit.store import NAME
from tests.audit.trails import is_sound, recorded
from tests.processes.independent import Session
from tests.processes.running import Serving, open_router

ROLES = "caller,instance,admin"

LAST_SECONDS = 3.0
"""What a router may lose when it is killed: a second, and more where disk and processors are busy with other tests."""


def trace_ids(folder: Path) -> set[str | None]:
    found: list[Record] = []
    with open_reader(folder / NAME) as reader:
        cursor = None
        while True:
            page = reader.query(Filters(), limit=500, cursor=cursor)
            found += page.records
            cursor = page.next_cursor
            if cursor is None:
                return {record.entry.trace_id for record in found}


async def take_by_turns(router: Serving, until: float, prefix: str) -> dict[str, float]:
    """Two instances take a resource from each other. Returns when each was told that it has it, by its trace id."""
    told: dict[str, float] = {}
    async with router.open_session("one") as one, router.open_session("two") as two:
        await one.become("store", instance_id="one")
        await two.become("store", instance_id="two")
        await one.ask("resource.register", resource_ids=["doc:1"])
        number = 0
        while time.monotonic() < until:
            number += 1
            taker: Session = two if number % 2 else one
            trace_id = f"{prefix}-{number}"
            await taker.ask("resource.register", resource_ids=["doc:1"], force=True, trace_id=trace_id)
            told[trace_id] = time.monotonic()
        router.program.send_signal(signal.SIGKILL)
        await router.program.wait_ended()
    return told


async def kill_again_and_again(folder: Path, rounds: int, rng: random.Random) -> None:
    told: dict[str, float] = {}
    for number in range(rounds):
        async with open_router(data_dir=str(folder), anonymous_roles=ROLES) as router:
            until = time.monotonic() + (4.5 if number == 0 else rng.uniform(0.2, 1.5))
            told |= {
                trace_id: until - at
                for trace_id, at in (await take_by_turns(router, until, f"round-{number}")).items()
            }
        # as the next router finds it: some are gone, of the last moments alone
        missing = {trace_id: told[trace_id] for trace_id in told.keys() - trace_ids(folder)}
        assert not {trace_id: before for trace_id, before in missing.items() if before > LAST_SECONDS}
    async with open_router(data_dir=str(folder)):
        pass
    assert is_sound(folder / NAME)
    assert not (folder / "audit.damaged.db").exists()


@pytest.mark.slow
async def test_a_router_that_is_killed_loses_the_records_of_its_last_moments_at_most(tmp_path: Path) -> None:
    await kill_again_and_again(tmp_path, 3, random.Random(1))


@pytest.mark.slow
async def test_no_kill_of_many_leaves_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    await kill_again_and_again(tmp_path, 6, random.Random(2))


async def test_a_router_that_stops_has_recorded_whatever_was_owned_then(tmp_path: Path) -> None:
    names = [f"row:{number}" for number in range(1000)]
    async with (
        open_router(data_dir=str(tmp_path)) as router,
        router.open_instance("owner", *names),
    ):
        router.program.send_signal(signal.SIGTERM)
        assert await router.program.wait_ended() == 0
    assert not (tmp_path / f"{NAME}-wal").exists()
    [record] = recorded(tmp_path)
    assert (record.entry.cause, record.entry.resource_count) == ("session_ended", 1000)
    with open_reader(tmp_path / NAME) as reader:
        assert len(reader.resources_of(record.id, limit=2000)) == 1000


async def test_a_router_that_stops_has_recorded_what_was_kept_for_those_who_were_cut_off(
    tmp_path: Path,
) -> None:
    async with (
        open_router(data_dir=str(tmp_path)) as router,
        router.open_owner("store-1", "doc:1", "doc:2", resume_grace_seconds=60) as owner,
    ):
        owner.kill()
        await router.wait_metrics(lambda metrics: metrics["suspended_instances"] == 1)
        router.program.send_signal(signal.SIGTERM)
        assert await router.program.wait_ended() == 0
    [record] = recorded(tmp_path)
    assert (record.entry.cause, record.entry.instance_before) == ("session_ended", "store-1")
    with open_reader(tmp_path / NAME) as reader:
        told = reader.resources_of(record.id, limit=10)
        assert [touched.resource_id for touched in told] == ["doc:1", "doc:2"]


async def test_it_is_read_by_the_command_line_while_the_router_writes(tmp_path: Path) -> None:
    async with open_router(data_dir=str(tmp_path), anonymous_roles=ROLES) as router:
        async with router.open_instance("owner", "doc:1"), router.open_instance("boss") as boss:
            await boss.ask("resource.register", resource_ids=["doc:1"], force=True, trace_id="t-1")
            command = [sys.executable, "-m", "resroute", "audit", "--json", "--resource=doc:1"]
            line = ""
            while not line:
                done = await trio.run_process(
                    [*command, f"--data-dir={tmp_path}"], capture_stdout=True, check=False
                )
                line = done.stdout.decode()
            told = json.loads(line)
            assert (told["event"], told["cause"], told["trace_id"]) == ("transferred", "forced", "t-1")
            assert (told["instance_before"], told["instance_after"]) == ("owner", "boss")
            assert told["epoch_before"] < told["epoch_after"]
            assert told["actor"]["instance_id"] == "boss"


async def test_a_router_whose_audit_log_may_not_grow_goes_on_and_says_so(tmp_path: Path) -> None:
    async with open_router(data_dir=str(tmp_path), anonymous_roles=ROLES, max_file_kib=150) as router:
        async with router.open_instance("one", "doc:1") as one, router.open_instance("two") as two:
            await two.ask("resource.register", resource_ids=["doc:1"], force=True)
            while (await router.metrics())["audit_queued"] > 0:  # noqa: ASYNC110  # another process
                await trio.sleep(0.05)
            while (await router.metrics())["audit_failing"] == 0:
                for taker in (one, two) * 50:
                    await taker.ask("resource.register", resource_ids=["doc:1"], force=True)
            status, body = await router.ask_ready()
            told = json.loads(body)
            assert (status, told["status"]) == (200, "ready")
            assert told["audit"].startswith("failing: ")
            assert (await two.ask("resource.register", resource_ids=["doc:2"]))["success"]
            metrics = await router.metrics()
            assert metrics["audit_queued"] > 0 and metrics["audit_dropped_total"] == 0
    assert any(b"the audit log cannot be written" in line for line in router.program.lines)
    assert trace_ids(tmp_path)


async def test_a_router_without_a_folder_says_that_its_audit_log_ends_with_it() -> None:
    async with open_router() as router:
        await router.program.wait_until(
            lambda: any(b"the audit log is in memory" in line for line in router.program.lines)
        )
    done = await trio.run_process(
        [sys.executable, "-m", "resroute", "audit", "--url", router.admin_url],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, b"")
    assert b"nobody listens there" in done.stderr
