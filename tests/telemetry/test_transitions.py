"""What a router logs: one line for each transition, with fixed fields, and nothing about calls."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from resroute.settings import Settings
from tests.scenario import Scenario, open_scenario

type Line = dict[str, Any]

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    """Loggers of every level, whatever another test made of them."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def take(scenario: Scenario) -> list[Line]:
    """The lines since the last time."""
    lines = scenario.log_lines[:]
    scenario.log_lines.clear()
    return lines


def parts(line: Line, *names: str) -> dict[str, Any]:
    return {name: line[name] for name in ("log_level", "event", *names)}


async def test_a_session_begins_becomes_an_instance_and_ends(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        take(scenario)
        owner = await scenario.instance("docs-1", "documents")
        opened, joined = take(scenario)
        assert parts(opened, "protocol") == {
            "log_level": "debug",
            "event": "session opened",
            "protocol": "resroute.v1.ndjson",
        }
        session = {"session_id": opened["session_id"], "remote_address": opened["remote_address"]}
        instance = session | {"instance_id": "docs-1", "service_name": "documents"}
        assert joined == instance | {
            "log_level": "info",
            "event": "instance registered",
            "operation": "instance.register",
            "trace_id": joined["trace_id"],
            "duration_ms": joined["duration_ms"],
        }
        assert 0 <= joined["duration_ms"] < 1000
        await owner.ask("resource.register", resource_ids=["a", "b"])
        take(scenario)
        await trio.sleep(2)
        await owner.aclose(1000)
        [ended] = take(scenario)
        assert 2000 <= ended.pop("duration_ms") < 3000
        assert ended == instance | {
            "log_level": "info",
            "event": "session ended",
            "code": 1000,
            "reason": ended["reason"],
            "cause": "session_ended",
            "resources_freed": 2,
        }


async def test_of_metadata_a_line_has_the_size(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        take(scenario)
        await scenario.instance("docs-1", metadata={"size": 2**63})
        _, joined = take(scenario)
        assert joined["metadata_size_bytes"] == len('{"size":9223372036854775808}')


async def test_a_registration_that_waited_for_a_silent_owner_says_how_long(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("docs-1", "a")
        rival = await scenario.instance("docs-2")
        owner.lose_everything()
        await trio.sleep(15)
        take(scenario)
        await rival.ask("resource.register", resource_ids=["a"])
        assert 2000 <= take(scenario)[-1]["duration_ms"] <= 4000


async def test_each_request_that_changes_owners_is_a_line_at_debug(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("docs-1", "taken")
        rival = await scenario.instance("docs-2")
        take(scenario)
        await rival.ask("resource.register", resource_ids=["a"], trace_id="t1")
        await rival.ask("resource.register", resource_ids=["b", "c", "taken"], partial=True, trace_id="t2")
        await rival.ask("resource.release", resource_ids=["a", "b"], trace_id="t3")
        one, some, released = take(scenario)
        assert parts(one, "operation", "trace_id", "count", "resource_id", "instance_id") == {
            "log_level": "debug",
            "event": "resources registered",
            "operation": "resource.register",
            "trace_id": "t1",
            "count": 1,
            "resource_id": "a",
            "instance_id": "docs-2",
        }
        assert parts(some, "trace_id", "count") == parts(one) | {"trace_id": "t2", "count": 2}
        assert parts(released, "operation", "trace_id", "count") == {
            "log_level": "debug",
            "event": "resources released",
            "operation": "resource.release",
            "trace_id": "t3",
            "count": 2,
        }
        await rival.refused("resource.register", resource_ids=["taken"])
        await rival.ask("resource.register", resource_ids=["taken"], partial=True)
        assert take(scenario) == [], "nothing has changed hands"
        assert owner.ended is None


async def test_what_is_taken_by_force_is_a_line_about_who_lost_it(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        await scenario.owner("docs-1", "a", "b")
        rival = await scenario.instance("docs-2")
        take(scenario)
        await rival.ask("resource.register", resource_ids=["a", "b"], force=True)
        lost, registered = take(scenario)
        assert parts(lost, "instance_id", "cause", "count", "new_owner") == {
            "log_level": "info",
            "event": "resources lost",
            "instance_id": "docs-1",
            "cause": "forced",
            "count": 2,
            "new_owner": "docs-2",
        }
        assert registered["event"] == "resources registered"


async def test_a_probe_that_ends_a_session_is_a_warning(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("docs-1", "a")
        rival = await scenario.instance("docs-2")
        take(scenario)
        owner.lose_everything()
        await trio.sleep(15)
        await rival.ask("resource.register", resource_ids=["a"])
        silent, ended, registered = take(scenario)
        assert parts(silent, "instance_id") == {
            "log_level": "warning",
            "event": "silent owner ended by a probe",
            "instance_id": "docs-1",
        }
        assert 12 <= silent["silent_seconds"] <= 20
        assert parts(ended, "code", "cause", "resources_freed") == {
            "log_level": "info",
            "event": "session ended",
            "code": 4011,
            "cause": "heartbeat_lost",
            "resources_freed": 1,
        }
        assert registered["event"] == "resources registered"


async def test_calls_have_no_lines_and_no_line_has_what_they_carry(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("docs-1", "a", metadata={"colour": "secret metadata"})
        caller = await scenario.connect("caller")
        await caller.ask("session.ping")
        everything = take(scenario)
        pending = await caller.start_call("a")
        await owner.answer(await owner.next("work"), "secret result")
        assert await pending.result() == "secret result"
        cancelled = await caller.start_call("a")
        await owner.next("work")
        await caller.cancel(cancelled)
        await (await caller.start_call("nobody's")).refusal()
        assert take(scenario) == []
        await caller.aclose()
        assert "secret" not in str(everything + take(scenario))


async def test_a_drain_begins_and_ends(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("docs-1", "a")
        caller = await scenario.connect("caller")
        await caller.ask("session.ping")
        await caller.start_call("a")
        await owner.next("work")
        take(scenario)
        await scenario.router.drain(5)
        begins, *between, ended = take(scenario)
        assert begins == {
            "log_level": "info",
            "event": "drain begins",
            "sessions": 2,
            "calls_in_flight": 1,
            "drain_seconds": 5,
        }
        assert {line["event"] for line in between} == {"session ended"}
        assert 5000 <= ended.pop("duration_ms") < 8000
        assert ended == {"log_level": "info", "event": "drain ended", "calls_cut_off": 1}
