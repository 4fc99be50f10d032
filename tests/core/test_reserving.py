"""Bulks: what is set aside is nobody's to see, until all of it changes hands in one step, or nothing does."""

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from resroute.core.commands import (
    Abandon,
    BulkItem,
    Expire,
    Expiry,
    Release,
    Reserve,
    ReserveRelease,
    Tidy,
    WaitLimits,
)
from resroute.core.facts import (
    Applied,
    InLine,
    ItemFailure,
    Reserved,
    ResourceReleased,
    ResourceTransferred,
    ResourceUpdated,
    TtlChanged,
)
from resroute.core.filters import Filter
from resroute.core.log_fault import LogFault
from resroute.core.metadata import MetadataChange
from resroute.core.state import State
from resroute.errors import ResourceConflict, ResourceLimitExceeded, SessionNotFound
from resroute.ids import BulkId, Epoch, ResourceId, ServiceName, SessionId
from tests.core.asking import AT, Asker, end, ids, many_ids, open_session, register, release, update

TTL = MetadataChange(ttl_seconds=10.0)


def last_batch(asker: str, at: float = AT, *, owner: str | None = None) -> ReserveRelease:
    """Nothing more, and all of it is to be in force."""
    return ReserveRelease(SessionId(asker), BulkId("bulk"), SessionId(owner or asker), (), at, commit=True)


class BulkAsker(Asker):
    """Asks for bulks of one id."""

    def reserve(
        self,
        asker: str,
        *names: str | BulkItem,
        owner: str | None = None,
        limit: int = 1000,
        partial: bool = False,
        commit: bool = False,
        bulk: str = "bulk",
    ) -> Reserved:
        items = tuple(BulkItem(ResourceId(name)) if isinstance(name, str) else name for name in names)
        command = Reserve(
            SessionId(asker),
            BulkId(bulk),
            SessionId(owner or asker),
            items,
            AT,
            limit,
            1000,
            partial,
            commit,
        )
        return self.told(self.applied(command))

    def reserve_release(
        self,
        asker: str,
        *names: str,
        owner: str | None = None,
        partial: bool = False,
        commit: bool = False,
        bulk: str = "bulk",
    ) -> Reserved:
        command = ReserveRelease(
            SessionId(asker), BulkId(bulk), SessionId(owner or asker), ids(*names), AT, partial, commit
        )
        return self.told(self.applied(command))

    def commit(self, asker: str, *, at: float = AT) -> Applied:
        return self.applied(last_batch(asker, at))

    def abandon(self, asker: str) -> None:
        self.applied(Abandon(SessionId(asker), BulkId("bulk"), AT))

    def conflict(self, name: str, resource: str) -> bool | None:
        """Whether it is because of something pending that somebody may not register a resource."""
        return self.refused(register(name, ids(resource)), ResourceConflict).pending

    @staticmethod
    def told(applied: Applied) -> Reserved:
        assert isinstance(applied.result, Reserved)
        return applied.result


@pytest.fixture
def asker() -> BulkAsker:
    """Three instances: i, j, and k of another service."""
    asker = BulkAsker()
    asker.join("i")
    asker.join("j")
    asker.join("k", service="mail")
    return asker


def test_what_is_set_aside_is_there_for_nobody_until_all_of_it_is_committed(asker: BulkAsker) -> None:
    asker.reserve("i", "a", "b")
    asker.reserve("i", "c")
    assert asker.owned() == asker.owned("store") == []
    assert (asker.owner_of("a"), asker.state.resource_count) == (None, 0)
    committed = asker.commit("i", at=AT + 5)
    assert committed.result == Reserved({}, committed=True)
    assert asker.owned() == asker.owned("store") == ["a", "b", "c"]
    assert [asker.epoch_of(name) for name in "abc"] == [Epoch(committed.revision)] * 3
    assert [grant.registered_at for grant in asker.state.grants_after()] == [AT + 5] * 3
    assert len(committed.facts) == asker.state.resource_count == 3
    assert asker.state.bulk_count == asker.state.leftover_count == 0


def test_what_is_set_aside_is_pending_for_everybody_else_and_for_oneself(asker: BulkAsker) -> None:
    asker.reserve("i", "a")
    assert asker.conflict("j", "a") is True
    assert asker.conflict("i", "a") is True
    [failure] = asker.reserve("k", "a", partial=True, bulk="other").failed.values()
    assert failure == ItemFailure("resource_conflict", failure.owner, pending=True)
    assert failure.owner == "i"


def test_one_item_that_fails_ends_the_bulk_and_all_of_that_batch_that_fail_are_told(
    asker: BulkAsker,
) -> None:
    asker.applied(register("j", ids("b", "d")))
    asker.reserve("i", "a")
    failed = asker.reserve("i", "b", "c", "d").failed
    assert list(failed) == ["b", "d"]
    assert {failure.error_type for failure in failed.values()} == {"resource_conflict"}
    assert asker.state.bulk_count == 0
    assert asker.registered(register("k", ids("a", "c"))).conflicts == {}


def test_a_bulk_in_part_does_without_what_fails(asker: BulkAsker) -> None:
    asker.applied(register("j", ids("b")))
    result = asker.reserve("i", "a", "b", "c", partial=True, commit=True)
    assert (list(result.failed), result.committed) == (["b"], True)
    assert asker.owned() == ["a", "b", "c"]
    assert asker.owner_of("b") == "j"


def test_what_is_set_aside_counts_against_the_limit(asker: BulkAsker) -> None:
    asker.applied(register("i", ids("a")))
    asker.reserve("i", "b", "c", limit=3)
    error = asker.refused(register("i", ids("d"), limit=3), ResourceLimitExceeded)
    assert (error.current, error.requested) == (3, 1)
    failed = asker.reserve("i", "d", limit=3, partial=True, bulk="other").failed
    assert failed == {ResourceId("d"): ItemFailure("resource_limit_exceeded")}
    asker.abandon("i")
    asker.registered(register("i", ids("d"), limit=3))


def test_as_many_as_the_limit_has_room_for_are_taken_in_part(asker: BulkAsker) -> None:
    result = asker.reserve("i", "a", "b", "c", "d", limit=3, partial=True, commit=True)
    assert list(result.failed) == ["d"]
    assert asker.owned() == ["a", "b", "c"]


def test_what_is_about_to_be_released_stays_owned_and_cannot_be_released_twice(asker: BulkAsker) -> None:
    asker.applied(register("i", ids("a", "b")))
    assert asker.reserve_release("i", "a", "nobody").failed == {}
    assert asker.owner_of("a") == "i"
    assert asker.conflict("j", "a") is None
    assert asker.refused(release("i", ids("b", "a")), ResourceConflict).pending is True
    partly = asker.released(release("i", ids("b", "a"), partial=True))
    assert (partly.released, partly.failed) == (("b",), {"a": "resource_conflict"})
    asker.commit("i")
    assert asker.owned() == []


def test_what_was_given_up_is_free_at_once_and_tidied_later(asker: BulkAsker) -> None:
    names = [f"r{n}" for n in range(20)]
    asker.applied(register("i", ids(*names)))
    asker.reserve_release("i", *names)
    facts = asker.commit("i").facts
    assert [fact.resource_id for fact in facts if isinstance(fact, ResourceReleased)] == names
    record = asker.state.instance_of(SessionId("i"))
    assert record is not None
    assert (asker.state.resource_count, len(record.resources), asker.state.leftover_count) == (0, 0, 20)
    assert asker.registered(register("j", ids("r3", "r5"))).conflicts == {}
    asker.applied(Tidy(BulkId("bulk"), 10))
    assert asker.owned() == ["r3", "r5"]
    assert asker.state.leftover_count == 8
    asker.applied(Tidy(BulkId("bulk"), 100))
    assert (asker.state.leftover_count, asker.state.next_untidy()) == (0, None)
    assert asker.owned() == ["r3", "r5"]


def test_an_instance_that_ends_leaves_nothing_set_aside(asker: BulkAsker) -> None:
    asker.reserve("i", "a", "b")
    asker.applied(end("i"))
    asker.registered(register("j", ids("a")))
    asker.refused(last_batch("i"), SessionNotFound)
    bulk_id = asker.state.next_untidy()
    assert bulk_id is not None
    asker.applied(Tidy(bulk_id, 10))
    assert asker.state.next_dead() is None
    assert asker.owned() == ["a"]


@pytest.mark.parametrize("leaving", ["admin", "i"])
def test_a_bulk_for_another_ends_with_who_asked_and_with_whom_it_is_for(
    asker: BulkAsker, leaving: str
) -> None:
    asker.applied(open_session("admin"))
    asker.reserve("admin", "a", owner="i")
    asker.applied(end(leaving))
    asker.registered(register("j", ids("a")))
    if leaving == "i":
        asker.refused(last_batch("admin", owner="i"), SessionNotFound)


def test_who_is_forced_out_keeps_what_it_has_until_then(asker: BulkAsker) -> None:
    asker.applied(register("j", ids("a"), metadata={"a": MetadataChange(tags=("x",))}))
    asker.reserve("i", BulkItem(ResourceId("a"), force=True))
    assert asker.owner_of("a") == "j"
    asker.applied(update("j", "a", MetadataChange(tags=("y",))))
    [fact] = asker.commit("i").facts
    assert isinstance(fact, ResourceTransferred) and fact.cause == "forced"
    metadata = asker.metadata_of("a")
    assert asker.owner_of("a") == "i" and metadata is not None and metadata.tags == ("y",)


@pytest.mark.parametrize("heir", ["i", "k"])
@pytest.mark.parametrize("left", [0, 1, 1500])
def test_what_is_forced_away_from_one_owner_goes_over_as_it_is(
    asker: BulkAsker, heir: str, left: int
) -> None:
    """``left``: how much more than that it owned. ``k`` is of another service."""
    names = [f"r{n:04}" for n in range(1200)]
    asker.applied(register("j", ids(*names), metadata={"r0001": MetadataChange(tags=("x",))}, limit=5000))
    asker.applied(register("j", ids(*[f"s{n:04}" for n in range(left)]), limit=5000))
    called = asker.state.grant_of(ResourceId("r0002"))
    assert called is not None
    called.calls_total, called.last_called_at = 3, 9.0
    before = Epoch(called.epoch)
    for start in range(0, len(names), 100):
        items = [BulkItem(ResourceId(name), force=True) for name in names[start : start + 100]]
        asker.reserve(heir, *items, limit=5000)
    committed = asker.commit(heir, at=AT + 5)
    facts = [fact for fact in committed.facts if isinstance(fact, ResourceTransferred)]
    assert [fact.resource_id for fact in facts] == names
    assert {(fact.previous_owner.instance_id, fact.owner.instance_id, fact.cause) for fact in facts} == {
        ("j", heir, "forced")
    }
    assert {(fact.previous_epoch, fact.epoch) for fact in facts} == {(before, Epoch(committed.revision))}
    assert facts[1].metadata_before is facts[1].details.metadata is asker.metadata_of("r0001")
    assert (facts[2].details.calls_total, facts[2].details.registered_at) == (3, AT + 5)
    called.calls_ok += 1  # a call in flight, which counts for the grant by which it was routed
    after = asker.state.grant_of(ResourceId("r0002"))
    assert after is not None
    assert (after.calls_total, after.calls_ok, after.registered_at) == (3, 0, AT + 5)
    for name, count in ((heir, len(names)), ("j", left)):
        owner = asker.state.instance_of(SessionId(name))
        assert owner is not None
        assert len(owner.resources) == len(owner.in_order) == count
        assert list(owner.in_order.after()) == sorted(owner.resources)
    services = {name: asker.state.service(ServiceName(name)) for name in ("store", "mail")}
    counts = {
        name: service and (service.resource_count, len(service.ids)) for name, service in services.items()
    }
    in_mail = len(names) if heir == "k" else 0
    in_store = left + len(names) - in_mail
    assert counts == {"store": (in_store, in_store), "mail": (in_mail, in_mail)}


def test_what_is_forced_away_says_what_is_given_and_else_what_it_said(asker: BulkAsker) -> None:
    said = {"a": MetadataChange(tags=("x",)), "b": MetadataChange("note", ("x", "y")), "d": TTL}
    asker.applied(register("j", ids("a", "b", "c", "d"), metadata=said))
    change = MetadataChange(tags=("y",), ttl_seconds=30.0)
    asker.reserve("i", *[BulkItem(ResourceId(name), change, force=True) for name in ("b", "c")])
    asker.reserve("i", *[BulkItem(ResourceId(name), force=True) for name in ("a", "d")])
    asker.applied(update("j", "b", MetadataChange("list", ("z",))))
    facts = asker.commit("i", at=AT + 5).facts
    told = {fact.resource_id: fact for fact in facts if isinstance(fact, ResourceTransferred)}
    assert list(told) == ["b", "c", "a", "d"]
    befores = [fact.metadata_before and fact.metadata_before.tags for fact in told.values()]
    assert befores == [("z",), None, ("x",), ()]
    versions = [fact.details.metadata and fact.details.metadata.version for fact in told.values()]
    assert versions == [3, 1, 1, 1]
    assert [fact.details.expires_at for fact in told.values()] == [AT + 35, AT + 35, None, AT + 15]
    begun = [fact for fact in facts if isinstance(fact, TtlChanged)]
    assert [(fact.resource_id, fact.expires_at) for fact in begun] == [
        ("b", AT + 35),
        ("c", AT + 35),
        ("d", AT + 15),
    ]
    for tag, names in (("x", ["a"]), ("y", ["b", "c"]), ("z", [])):
        assert list(asker.state.candidates_after(Filter(tags=(tag,)))) == names
    for resource_type in ("note", "list"):
        assert not asker.state.candidates_after(Filter(resource_type=resource_type))


def test_what_one_owns_already_is_kept_and_says_what_is_given(asker: BulkAsker) -> None:
    names = ["a", "b", "c", "d"]
    asker.applied(register("i", ids(*names), metadata={"b": TTL, "c": MetadataChange(tags=("x",))}))
    owned = asker.state.grant_of(ResourceId("a"))
    assert owned is not None
    epoch = owned.epoch
    asker.reserve("i", "a", "b")
    change = MetadataChange(tags=("x",), priority=2)
    asker.reserve("i", BulkItem(ResourceId("c"), change), BulkItem(ResourceId("d"), TTL))
    asker.applied(update("i", "d", MetadataChange(priority=7)))
    committed = asker.commit("i", at=AT + 5)
    assert asker.told(committed).kept == dict.fromkeys(ids(*names), epoch)
    updates = [fact for fact in committed.facts if isinstance(fact, ResourceUpdated)]
    assert [(fact.resource_id, fact.epoch, fact.cause) for fact in updates] == [
        ("c", epoch, "request"),
        ("d", epoch, "request"),
    ]
    befores = [fact.metadata_before and fact.metadata_before.priority for fact in updates]
    assert (befores, [fact.details.metadata for fact in updates]) == (
        [0, 7],
        [asker.metadata_of("c"), asker.metadata_of("d")],
    )
    begun = [fact for fact in committed.facts if isinstance(fact, TtlChanged)]
    assert [(fact.resource_id, fact.expires_at) for fact in begun] == [("b", AT + 15), ("d", AT + 15)]
    described = asker.metadata_of("d")
    assert described is not None and (described.version, described.priority) == (2, 0)
    assert list(asker.state.candidates_after(Filter(tags=("x",)))) == ["c"]


def test_what_would_be_forced_stays_set_aside_when_its_owner_goes(asker: BulkAsker) -> None:
    asker.applied(register("j", ids("a", "b")))
    asker.reserve("i", BulkItem(ResourceId("a"), force=True), BulkItem(ResourceId("b"), TTL, force=True))
    asker.applied(end("j"))
    assert asker.conflict("k", "a") is True
    committed = asker.commit("i", at=AT + 1)
    assert asker.told(committed).committed
    assert (asker.owned("store"), asker.expires_at("b")) == (["a", "b"], AT + 11)


def test_force_ends_a_bulk_that_has_set_aside_what_it_takes(asker: BulkAsker) -> None:
    asker.applied(register("i", ids("own")))
    asker.reserve("i", "own", "a", "b")
    asker.registered(register("j", ids("b"), force=True))
    assert asker.conflict("k", "own") is None
    asker.registered(register("k", ids("a")))
    assert asker.told(asker.commit("i")) == Reserved(
        {ResourceId("b"): ItemFailure("resource_conflict", asker.owner_of("b"))}
    )
    assert asker.owned() == ["a", "b", "own"]


def test_force_takes_from_a_bulk_in_part_that_item_alone(asker: BulkAsker) -> None:
    asker.reserve("i", "a", "b", partial=True)
    asker.registered(register("j", ids("b"), force=True))
    result = asker.told(asker.commit("i"))
    assert (list(result.failed), result.committed) == (["b"], True)
    assert (asker.owner_of("a"), asker.owner_of("b")) == ("i", "j")


def test_an_expiry_ends_a_bulk_that_counted_on_the_grant(asker: BulkAsker) -> None:
    asker.applied(register("i", ids("own"), metadata={"own": TTL}))
    asker.reserve("i", "own", "a")
    asker.applied(Expire((Expiry(ResourceId("own"), asker.epoch_of("own"), AT + 10),), AT + 10))
    assert asker.owned() == []
    assert asker.reserve("i", "b").failed == {ResourceId("own"): ItemFailure("resource_not_found")}
    assert asker.registered(register("j", ids("own", "a", "b"))).conflicts == {}


def test_what_one_owns_already_keeps_its_epoch_and_is_updated_with_the_commit(asker: BulkAsker) -> None:
    asker.applied(register("i", ids("own", "too"), metadata={"own": MetadataChange(tags=("x",))}))
    epoch = asker.epoch_of("own")
    asker.reserve("i", BulkItem(ResourceId("own"), TTL), "too", "a")
    metadata = asker.metadata_of("own")
    assert metadata is not None and metadata.version == 1
    committed = asker.commit("i", at=AT + 1)
    assert asker.told(committed).kept == {"own": epoch, "too": epoch}
    metadata = asker.metadata_of("own")
    assert metadata is not None and (metadata.version, metadata.tags) == (2, ())
    assert asker.expires_at("own") == AT + 11
    assert [fact.resource_id for fact in committed.facts if isinstance(fact, ResourceUpdated)] == ["own"]


def test_metadata_that_takes_too_much_fails_its_item(asker: BulkAsker) -> None:
    huge = MetadataChange(attributes=b'{"a":"%b"}' % (b"x" * 1000))
    failed = asker.reserve("i", "a", BulkItem(ResourceId("b"), huge), partial=True, commit=True).failed
    assert failed == {ResourceId("b"): ItemFailure("invalid_params")}


def test_a_state_that_is_moved_in_the_middle_goes_on_the_same(asker: BulkAsker) -> None:
    asker.applied(register("i", ids("own", "gone"), metadata={"own": TTL}))
    asker.applied(register("j", ids("theirs")))
    asker.reserve("i", "a", BulkItem(ResourceId("own"), TTL), BulkItem(ResourceId("theirs"), force=True))
    asker.reserve_release("k", "nobody", bulk="other")
    loaded = State.load(asker.state.dump())
    assert loaded.digest() == asker.state.digest()
    command = last_batch("i", AT + 3)
    number = asker.number + 1
    assert loaded.apply(asker.origin, number, command) == asker.state.apply(asker.origin, number, command)
    assert loaded.digest() == asker.state.digest()


def test_a_bulk_does_not_begin_twice(asker: BulkAsker) -> None:
    asker.reserve("i", *many_ids(3))
    asker.abandon("i")
    with pytest.raises(LogFault, match="begins twice"):
        asker.reserve("i", "a")


def test_a_bulk_has_nothing_to_do_with_who_did_not_ask_for_it(asker: BulkAsker) -> None:
    asker.reserve("i", "a")
    asker.abandon("j")
    assert asker.told(asker.commit("i")).committed


def test_a_change_that_says_nothing_of_the_time_to_live_keeps_it(asker: BulkAsker) -> None:
    asker.applied(register("i", ids("own"), metadata={"own": TTL}))
    asker.reserve("i", BulkItem(ResourceId("own"), MetadataChange(ttl_seconds=UNSET, priority=3)))
    asker.commit("i", at=AT + 4)
    assert asker.expires_at("own") == AT + 14


def test_an_administrator_who_releases_what_is_set_aside_ends_the_bulk(asker: BulkAsker) -> None:
    asker.applied(register("i", ids("own")))
    asker.reserve("i", "own", "a")
    asker.applied(Release(SessionId("k"), ids("own"), AT, as_admin=True))
    assert asker.told(asker.commit("i")) == Reserved({ResourceId("own"): ItemFailure("not_owner")})
    assert asker.owned() == []


def test_who_waits_for_what_is_set_aside_gets_it_when_the_bulk_is_given_up(asker: BulkAsker) -> None:
    asker.reserve("i", "a", "b")
    wait = WaitLimits(10, 10)
    assert isinstance(asker.applied(replace(register("j", ids("b")), wait=wait)).result, InLine)
    assert asker.owner_of("b") is None
    asker.abandon("i")
    assert asker.owner_of("b") == "j"
    assert asker.owned() == ["b"]


def test_who_waits_for_what_is_about_to_be_released_gets_it_with_the_commit(asker: BulkAsker) -> None:
    asker.applied(register("i", ids("a")))
    asker.reserve_release("i", "a")
    assert isinstance(asker.applied(replace(register("j", ids("a")), wait=WaitLimits(10, 10))).result, InLine)
    assert asker.owner_of("a") == "i"
    asker.commit("i")
    assert asker.owner_of("a") == "j"
