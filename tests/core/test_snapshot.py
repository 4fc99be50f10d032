"""The whole state as bytes: the same on every machine, and as good as the state itself."""

import os
import subprocess
import sys
from itertools import batched
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resroute.core.commands import Genesis
from resroute.core.facts import Applied, Outcome
from resroute.core.state import State
from resroute.ids import SessionId
from tests.core.asking import BASE, Asker, become, end, ids, many_ids, open_session, register, release
from tests.core.effort import effort
from tests.core.model import same_outcome
from tests.core.schedules import play, random_schedule

ROOT = Path(__file__).parents[2]


def check_every_snapshot(seed: int, length: int) -> None:
    schedule = random_schedule(seed, length)
    state = State()
    dumps = [state.dump()]
    outcomes: list[Outcome | None] = []
    for entry in schedule:
        outcomes.append(state.apply(*entry))
        dumps.append(state.dump())
    for k, dump in enumerate(dumps):
        loaded = State.load(dump)
        assert loaded.dump() == dump, f"loaded after {k} commands"
        replayed = play(loaded, schedule[k:])
        assert all(map(same_outcome, replayed, outcomes[k:])), f"loaded after {k} commands"
        assert loaded.digest() == state.digest(), f"loaded after {k} commands"


@given(seed=st.integers(0, 2**32))
@example(seed=0)
@effort(4)
def test_a_snapshot_at_any_moment_and_the_rest_of_the_log_lead_to_the_same_state(seed: int) -> None:
    check_every_snapshot(seed, 150)


@pytest.mark.slow
@given(seed=st.integers(0, 2**32))
@effort(5)
def test_a_snapshot_at_any_moment_of_a_long_log_leads_to_the_same_state(seed: int) -> None:
    check_every_snapshot(seed, 600)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_hashes_decides_nothing(seed: int) -> None:
    said = [digests_under(hash_seed, seed, 600) for hash_seed in ("0", "1")]
    assert said[0][0] != said[1][0], "the two processes must hash differently, or this proves nothing"
    assert said[0][1:] == said[1][1:]
    assert len(said[0]) == 14


def digests_under(hash_seed: str, seed: int, length: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.core.print_digests", str(seed), str(length)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_state_of_thousands_comes_back_with_every_order_and_index() -> None:
    asker = Asker()
    everything = many_ids(5000)
    for name, mine in zip("edcba", batched(reversed(everything), 1000, strict=True), strict=True):
        asker.join(name, service="store" if name in "abd" else "mail")
        asker.applied(register(name, mine))
    asker.applied(release("e", everything[4500:4600]))
    for name in "db":
        asker.applied(end(name))
    loaded = Asker(State.load(asker.state.dump()))
    for name in "eca":
        session_id = open_session(name).session_id
        record, same = asker.state.instance_of(session_id), loaded.state.instance_of(session_id)
        assert record is not None and same is not None
        assert list(same.resources) == list(record.resources)
    assert loaded.owned() == asker.owned()
    assert [o.instance_id for o in loaded.state.instances()] == ["e", "c", "a"]
    assert [s.name for s in loaded.state.services()] == [s.name for s in asker.state.services()]
    assert loaded.state.next_dead() == asker.state.next_dead() == "d"
    assert loaded.state.unreclaimed_count == 2000
    assert loaded.state.resource_count == 2900


def test_metadata_is_kept_byte_for_byte() -> None:
    asker = Asker()
    metadata = '{"b":{"y":[1,null,true,0.50,"é"],"x":-9223372036854775808},"a":18446744073709551615}'.encode()
    asker.applied(open_session("i"))
    asker.applied(
        msgspec.structs.replace(become("i"), metadata=metadata, priority=3, max_concurrency=5, plain=True)
    )
    loaded = State.load(asker.state.dump())
    assert loaded.dump() == asker.state.dump()
    [record] = loaded.instances()
    assert record.metadata == metadata
    assert (record.priority, record.max_concurrency, record.plain) == (3, 5, True)


def test_a_state_before_its_first_command_can_be_moved_too() -> None:
    state = State.load(State().dump())
    assert isinstance(state.apply("router-1", 1, Genesis(BASE)), Applied)


def test_states_that_differ_in_anything_have_different_digests() -> None:
    digests = []
    asker = Asker()
    for command in (
        open_session("i"),
        become("i"),
        register("i", ids("a")),
        release("i", ids("a")),
        end("i"),
    ):
        digests.append(asker.state.digest())
        asker.applied(command)
    assert len(set(digests)) == len(digests)


def test_how_often_a_resource_is_called_is_not_part_of_the_state() -> None:
    asker = Asker()
    asker.join("i")
    asker.applied(register("i", ids("a")))
    before = asker.state.digest()
    [grant] = asker.state.grants_after()
    grant.calls_total += 1
    grant.last_called_at = 5.0
    grant.note_caller(SessionId("s"))
    assert asker.state.digest() == before
