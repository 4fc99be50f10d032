"""The tables of calls in flight, held against the plainest models of them."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from resroute.core.records import OwnerRecord, ServiceRecord
from resroute.ids import CorrelationId, InstanceId, ResourceId, ServiceName, SessionId
from resroute.protocol.deadlines import TICK_SECONDS, Deadlines
from resroute.router.calls import Call
from resroute.router.outbox import MAX_TAKE_BYTES, Memory, Outbox
from resroute.router.placement import Pool
from resroute.router.session import Session
from resroute.router.session_means import SessionMeans
from resroute.router.turnstile import Turnstile
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics
from resroute.telemetry.traffic import Traffic
from resroute.transport.memory import memory_transport_pair

# --- the outbox ---------------------------------------------------------------------------------------------------

POST, TAKE, RESERVE, DISCARD = "post", "take", "reserve", "discard"


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just(POST), st.sampled_from([0, 1, 100, 100_000, MAX_TAKE_BYTES, MAX_TAKE_BYTES + 1])
            ),
            st.tuples(st.just("withdraw"), st.integers(0, 30)),
            st.tuples(st.just(RESERVE), st.integers(0, 1000)),
            st.tuples(st.sampled_from([TAKE, TAKE, TAKE, DISCARD]), st.just(0)),
        )
    )
)
def test_an_outbox_hands_over_in_order_what_was_not_withdrawn(steps: list[tuple[str, int]]) -> None:
    memory = Memory(math.inf, lambda: None)  # type: ignore[arg-type]  # no bound
    outbox = Outbox(itertools.count(1).__next__, memory)
    waiting: dict[int, bytes] = {}
    number = taken = reserved = 0
    for step, argument in steps:
        if step == POST:
            number += 1
            waiting[number] = bytes([number % 256]) * argument
            outbox.post(waiting[number])
        elif step == "withdraw":
            assert outbox.withdraw(argument) == waiting.pop(argument, None)
        elif step == RESERVE:
            size = argument if argument % 2 else -reserved
            outbox.reserve(size)
            reserved += size
        elif step == DISCARD:
            outbox.discard()
            waiting.clear()
            reserved = 0
        else:
            lot = list(outbox.take())
            expected = list(waiting.items())[: len(lot)]
            assert lot == [message for _, message in expected]
            for handed_over, _ in expected:
                taken = handed_over
                del waiting[handed_over]
            size = sum(map(len, lot))
            assert size <= MAX_TAKE_BYTES or len(lot) == 1
            assert not waiting or size + len(next(iter(waiting.values()))) > MAX_TAKE_BYTES
        assert outbox.taken == taken
        assert len(outbox) == len(waiting)
        assert outbox.size_bytes == memory.total_bytes == sum(map(len, waiting.values())) + reserved


# --- deadlines ----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=30), st.lists(st.floats(0, 101)))
def test_what_is_due_is_told_at_the_first_tick_after_it_and_not_before(
    items: list[tuple[float, bool]], looks: list[float]
) -> None:
    deadlines: Deadlines[int] = Deadlines()
    ticks: dict[int, int] = {}
    for number, (at, _) in enumerate(items):
        ticks[number] = deadlines.add(at, number, number)
    for number, (_, is_settled) in enumerate(items):
        if is_settled:
            deadlines.remove(ticks.pop(number), number)
    assert (len(deadlines), bool(deadlines)) == (len(ticks), bool(ticks))
    for now in looks:
        due = deadlines.due(now)
        assert all(items[number][0] <= now for number in due)
        late = {number for number in ticks if items[number][0] + TICK_SECONDS * 1.001 < now}
        assert late <= set(due)
        assert [ticks[number] for number in due] == sorted(ticks[number] for number in due)
        assert bool(due) == (deadlines.next_at() <= now)
    for number, tick in ticks.items():
        deadlines.remove(tick, number)
    assert deadlines.next_at() == math.inf


# --- the pool of a service ----------------------------------------------------------------------------------------

PRIORITIES = (0, 0, 5, -1)


def make_instance(number: int) -> Session:
    transport, _ = memory_transport_pair()
    session = Session(
        SessionId(f"session-{number}"),
        transport,
        SessionMeans(
            settings=Settings(),
            handler=None,  # type: ignore[arg-type]  # nothing is read here
            next_number=itertools.count(1).__next__,
            memory=Memory(1, lambda: None),
            turn_clock=lambda: 0.0,
            turnstile=Turnstile(lambda: 0.0),
            round_trips=Metrics().round_trips,
        ),
        now=0.0,
        opened_at=0.0,
    )
    owner = OwnerRecord(
        session.id,
        ServiceRecord(ServiceName("service")),
        InstanceId(f"instance-{number}"),
        registered_at=0.0,
        priority=PRIORITIES[number],
        max_concurrency=None,
        plain=False,
        metadata=None,
    )
    session.become(owner, Traffic(owner.service.name))
    return session


def make_call(caller: Session, number: int = 0, size_bytes: int = 0) -> Call:
    return Call(
        caller,
        number,
        ResourceId("doc:1"),
        None,
        trace_id="trace",
        body=bytes(size_bytes),
        extra=b"",
        started=0.0,
        timeout_seconds=1.0,
        heard_at=0.0,
        wait_until=0.0,
        wants_meta=False,
        wants_progress=False,
        number=CorrelationId(number),
    )


@given(
    st.lists(
        st.tuples(st.integers(0, len(PRIORITIES) - 1), st.sampled_from(["come", "go", "call", "answer"]))
    )
)
def test_a_pool_orders_by_priority_then_load_and_then_by_turn(steps: list[tuple[int, str]]) -> None:
    pool = Pool()
    sessions = [make_instance(number) for number in range(len(PRIORITIES))]
    turns: dict[int, int] = {}  # who is there, and when they came to the load that they have
    loads = [0] * len(PRIORITIES)
    numbers = itertools.count(1)
    calls: list[list[int]] = [[] for _ in PRIORITIES]
    for turn, (number, step) in enumerate(steps):
        session = sessions[number]
        if step == "come" and number not in turns:
            session.pool = pool
            pool.add(session, PRIORITIES[number])
            turns[number] = turn
        elif step == "go" and number in turns:
            pool.remove(session, PRIORITIES[number])
            session.pool = None
            del turns[number]
        elif step == "call":
            calls[number].append(next(numbers))
            session.take_on(calls[number][-1], make_call(session))
            loads[number] += 1
            turns = {**turns, number: turn} if number in turns else turns
        elif step == "answer" and calls[number]:
            session.let_go(calls[number].pop(0))
            loads[number] -= 1
            turns = {**turns, number: turn} if number in turns else turns
        expected = sorted(turns, key=lambda there: (-PRIORITIES[there], loads[there], turns[there]))
        assert [sessions.index(session) for session in pool.in_order()] == expected
        assert len(pool) == len(turns)
