"""A session that ends owns nothing from that moment on, however slowly its grants are tidied away."""

from hypothesis import example, given
from hypothesis import strategies as st

from resroute.core.commands import Cause
from resroute.core.facts import ResourceRegistered, ResourceReleased, SessionEnded
from resroute.errors import ResourceNotFound, SessionNotFound
from resroute.ids import Epoch, ResourceId, SessionId
from tests.core.asking import BARE, Asker, end, ids, many_ids, open_session, reclaim, register, release
from tests.core.effort import effort


def test_ownership_ends_with_the_session() -> None:
    asker = Asker()
    owner = asker.join("i")
    asker.join("j")
    asker.applied(register("i", many_ids(3000)))
    asker.applied(register("j", ids("a")))
    outcome = asker.applied(end("i", "heartbeat_lost"))
    assert outcome.facts == (SessionEnded(SessionId("i"), owner, 3000, "heartbeat_lost"),)
    assert asker.owned() == asker.owned("store") == ["a"]
    assert asker.owner_of("r:000000") is None
    assert asker.state.resource_count == 1
    assert asker.state.session_count == asker.state.instance_count == 1
    assert asker.state.unreclaimed_count == 3000
    assert asker.refused(release("j", ids("r:000000")), ResourceNotFound).resource_id == "r:000000"


def test_what_a_dead_owner_had_can_be_registered_at_once_and_its_release_is_told_first() -> None:
    asker = Asker()
    before = asker.join("i")
    after = asker.join("j")
    epoch = Epoch(asker.applied(register("i", ids("a", "b"))).revision)
    asker.applied(end("i", "heartbeat_lost"))
    outcome = asker.applied(register("j", ids("b")))
    assert outcome.facts == (
        ResourceReleased(ResourceId("b"), before, epoch, "heartbeat_lost", BARE),
        ResourceRegistered(ResourceId("b"), after, Epoch(outcome.revision), BARE),
    )
    outcome = asker.applied(reclaim("i", 100))
    assert outcome.facts == (ResourceReleased(ResourceId("a"), before, epoch, "heartbeat_lost", BARE),)
    assert asker.owned() == ["b"]


def test_grants_are_reclaimed_in_the_order_they_were_made() -> None:
    asker = Asker()
    asker.join("i")
    asker.applied(register("i", ids("c", "a")))
    asker.applied(register("i", ids("b", "d")))
    asker.applied(release("i", ids("a")))
    asker.applied(register("i", ids("a")))
    asker.applied(end("i"))
    assert asker.reclaimed(reclaim("i", 0)).left == 4
    told = []
    for left in (2, 0, 0):
        outcome = asker.applied(reclaim("i", 2))
        told += [fact.resource_id for fact in outcome.facts if isinstance(fact, ResourceReleased)]
        assert asker.state.unreclaimed_count == left
    assert told == ["c", "b", "d", "a"]


def test_reclaiming_a_session_that_lives_or_was_never_there_takes_nothing() -> None:
    asker = Asker()
    asker.join("i")
    asker.applied(register("i", ids("a")))
    assert asker.reclaimed(reclaim("i", 5)).left == 0
    assert asker.reclaimed(reclaim("nobody", 5)).left == 0
    assert asker.owner_of("a") == "i"


def test_who_ended_first_is_reclaimed_first() -> None:
    asker = Asker()
    for name in ("i", "j", "k", "no resources"):
        asker.join(name)
    for name in "ijk":
        asker.applied(register(name, ids(name)))
    for name in ("j", "no resources", "k", "i"):
        asker.applied(end(name))
    order = []
    for _ in range(4):
        session_id = asker.state.next_dead()
        order.append(session_id)
        if session_id is not None:
            asker.applied(reclaim(session_id, 1))
    assert order == ["j", "k", "i", None]


def test_nothing_is_left_of_a_session_once_its_grants_are_reclaimed() -> None:
    asker = Asker()
    asker.applied(open_session("caller"))
    asker.join("i", service="mail")
    asker.join("j", service="store")
    asker.applied(register("i", many_ids(3000)))
    asker.applied(register("j", many_ids(1000), force=True))
    asker.applied(end("i"))
    asker.applied(register("j", many_ids(2000)))
    for name in ("j", "caller"):
        asker.applied(end(name))
    asker.applied(reclaim("i", 10_000))
    asker.applied(reclaim("j", 10_000))
    untouched = Asker()
    while untouched.state.revision < asker.state.revision:
        untouched.refused(end("nobody"), SessionNotFound)
    assert untouched.state.dump() == asker.state.dump()


@given(
    cause=st.sampled_from(("session_ended", "heartbeat_lost", "admin")),
    shares=st.lists(st.integers(0, 12), max_size=8),
    takes=st.lists(st.integers(0, 29), max_size=8),
)
@example(cause="admin", shares=[0, 12, 12, 12], takes=[3, 3, 29])
@effort(60)
def test_the_dead_are_never_seen_however_reclaiming_is_interleaved(
    cause: Cause, shares: list[int], takes: list[int]
) -> None:
    asker = Asker()
    asker.join("dead")
    asker.join("heir")
    asker.join("bystander", service="mail")
    everything = many_ids(30)
    asker.applied(register("dead", everything))
    asker.applied(register("bystander", ids("a", "z")))
    asker.applied(end("dead", cause))
    taken: set[ResourceId] = set()
    told: list[ResourceId] = []
    for turn in range(max(len(shares), len(takes))):
        if turn < len(takes):
            wanted = everything[takes[turn]]
            outcome = asker.applied(register("heir", (wanted,)))
            told += [fact.resource_id for fact in outcome.facts if isinstance(fact, ResourceReleased)]
            taken.add(wanted)
        if turn < len(shares):
            outcome = asker.applied(reclaim("dead", shares[turn]))
            told += [fact.resource_id for fact in outcome.facts if isinstance(fact, ResourceReleased)]
        assert asker.owned() == ["a", *sorted(taken), "z"]
        assert asker.owned("store") == sorted(taken)
        assert asker.state.resource_count == len(taken) + 2
        assert all(asker.owner_of(name) in ({"heir"} if name in taken else {None}) for name in everything)
    outcome = asker.applied(reclaim("dead", 30))
    told += [fact.resource_id for fact in outcome.facts if isinstance(fact, ResourceReleased)]
    assert sorted(told) == sorted(everything), "the release of each is told exactly once"
    assert asker.state.unreclaimed_count == 0
