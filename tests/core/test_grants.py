"""The table of grants against a plain dictionary."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from resroute.core.grants import GrantTable
from resroute.core.records import Grant, OwnerRecord, ServiceRecord
from resroute.ids import Epoch, InstanceId, ResourceId, ServiceName, SessionId
from tests.core.asking import AT, many_ids
from tests.core.effort import effort

OWNER = OwnerRecord(
    SessionId("s"),
    ServiceRecord(ServiceName("store")),
    InstanceId("i"),
    registered_at=AT,
    priority=0,
    max_concurrency=None,
    plain=False,
    metadata=None,
)

resource_ids = st.sampled_from([ResourceId(text) for text in ("", "a", "b", "a:1", "é", "\0", "a" * 256)])


def grant(resource_id: ResourceId, epoch: int) -> Grant:
    return Grant(resource_id, OWNER, Epoch(epoch), AT)


class Table(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = GrantTable()
        self.model: dict[ResourceId, Grant] = {}

    @rule(resource_id=resource_ids, epoch=st.integers(1, 9))
    def put(self, resource_id: ResourceId, epoch: int) -> None:
        self.table[resource_id] = self.model[resource_id] = grant(resource_id, epoch)

    @rule(resource_id=resource_ids)
    def delete(self, resource_id: ResourceId) -> None:
        if self.model.pop(resource_id, None) is not None:
            del self.table[resource_id]
        else:
            with pytest.raises(KeyError):
                del self.table[resource_id]

    @rule(resource_id=resource_ids)
    def read(self, resource_id: ResourceId) -> None:
        assert self.table.get(resource_id) is self.model.get(resource_id)
        if resource_id in self.model:
            assert self.table[resource_id] is self.model[resource_id]
        else:
            with pytest.raises(KeyError):
                self.table[resource_id]

    @invariant()
    def counts(self) -> None:
        assert len(self.table) == len(self.model)


def test_the_table_agrees_with_a_dictionary() -> None:
    run_state_machine_as_test(Table, settings=effort(50))


def test_the_table_finds_each_of_many_thousands() -> None:
    table = GrantTable()
    everything = many_ids(20_000)
    for n, resource_id in enumerate(everything):
        table[resource_id] = grant(resource_id, n)
    assert len(table) == 20_000
    assert [table[resource_id].epoch for resource_id in everything] == list(range(20_000))
    for resource_id in everything[::2]:
        del table[resource_id]
    assert len(table) == 10_000
    assert [table.get(resource_id) for resource_id in everything[::2]] == [None] * 10_000
    assert [table[resource_id].epoch for resource_id in everything[1::2]] == list(range(1, 20_000, 2))


def test_no_part_of_the_table_grows_long_enough_to_be_felt() -> None:
    table = GrantTable()
    for n, resource_id in enumerate(many_ids(25_600)):
        table[resource_id] = grant(resource_id, n)
    assert max(map(len, table._shards)) < 200
