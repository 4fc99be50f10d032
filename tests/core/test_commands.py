"""Commands as bytes, as a log carries them."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from resroute.core.commands import (
    Abandon,
    AnyCommand,
    BulkItem,
    Cause,
    Command,
    Confirm,
    Drain,
    End,
    EndGrace,
    Expire,
    Expiry,
    Genesis,
    GiveUp,
    Open,
    Reclaim,
    Register,
    RegisterInstance,
    Release,
    Renew,
    Reserve,
    ReserveRelease,
    Serve,
    Tidy,
    Transfer,
    Update,
    WaitLimits,
)
from resroute.core.metadata import MetadataChange
from resroute.ids import MAX_REVISION, BulkId, Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId
from tests.core.asking import AT, ids, register
from tests.core.effort import effort

session_ids = st.text(max_size=20).map(SessionId)
resource_ids = st.lists(st.text(max_size=20).map(ResourceId), max_size=5).map(tuple)
instance_ids = st.text(max_size=20).map(InstanceId)
bulk_ids = st.text(max_size=20).map(BulkId)
times = st.floats(allow_nan=False, allow_infinity=False)
changes = st.builds(
    MetadataChange,
    st.sampled_from((UNSET, None, "document")),
    st.just(UNSET) | st.lists(st.text(max_size=5), max_size=2).map(tuple),
    st.sampled_from((UNSET, b"{}", b'{"a":[1]}')),
    st.just(UNSET) | st.integers(-5, 5),
    st.sampled_from((UNSET, None, 1.5)),
)
commands: st.SearchStrategy[AnyCommand] = st.one_of(
    st.builds(Genesis, st.integers(1, MAX_REVISION - 1)),
    st.builds(Open, session_ids),
    st.builds(End, session_ids, st.sampled_from(get_args(Cause)), times, st.booleans()),
    st.builds(
        RegisterInstance,
        session_ids,
        st.text(max_size=20).map(ServiceName),
        st.text(max_size=20).map(InstanceId),
        times,
        priority=st.integers(-1000, 1000),
        max_concurrency=st.none() | st.integers(1, 1000),
        plain=st.booleans(),
        metadata=st.none() | st.binary(max_size=40),
        subject=st.text(max_size=9),
        token=st.none() | st.binary(max_size=32),
        resumes=st.none() | st.binary(max_size=32),
        grace_seconds=times,
    ),
    st.builds(Confirm, session_ids),
    st.builds(EndGrace, session_ids, st.none() | times, times, st.none() | st.sampled_from(get_args(Cause))),
    st.builds(
        Register,
        session_ids,
        resource_ids,
        times,
        st.integers(1, 10_000),
        st.booleans(),
        st.booleans(),
        st.dictionaries(st.sampled_from(ids("a", "b:1")), changes, max_size=2),
        st.integers(0, 10_000),
        st.none() | st.builds(WaitLimits, st.integers(1, 1000), st.integers(1, 1000)),
    ),
    st.builds(GiveUp, st.integers(1, 2**50).map(Revision), times, st.booleans()),
    st.builds(Serve, times),
    st.builds(
        Update,
        session_ids,
        st.sampled_from(ids("a", "b:1")),
        changes,
        times,
        st.integers(0, 10_000),
        st.booleans(),
        st.none() | st.integers(0, 100),
        st.booleans(),
    ),
    st.builds(Renew, session_ids, resource_ids, times, st.none() | times),
    st.builds(
        Expire,
        st.lists(
            st.builds(Expiry, st.just(ResourceId("a")), st.integers(1, 2**50).map(Epoch), times), max_size=3
        ).map(tuple),
        times,
    ),
    st.builds(Release, session_ids, resource_ids, times, st.booleans(), st.booleans()),
    st.builds(
        Transfer,
        session_ids,
        resource_ids,
        instance_ids,
        instance_ids,
        times,
        st.integers(1, 10_000),
        st.just("transfer-1"),
        st.text(max_size=9),
        partial=st.booleans(),
        verify_ownership=st.booleans(),
        cause=st.sampled_from(("transfer", "drain", "rebalance")),
        state=st.none() | st.just({ResourceId("a"): b'{"at":[1]}'}),
    ),
    st.builds(Drain, session_ids, times),
    st.builds(Reclaim, session_ids, st.integers(0, 10_000)),
    st.builds(
        Reserve,
        session_ids,
        bulk_ids,
        session_ids,
        st.lists(
            st.builds(BulkItem, st.just(ResourceId("a")), st.none() | changes, st.booleans()), max_size=3
        ).map(tuple),
        times,
        st.integers(1, 10_000),
        st.integers(0, 10_000),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        ReserveRelease, session_ids, bulk_ids, session_ids, resource_ids, times, st.booleans(), st.booleans()
    ),
    st.builds(Abandon, session_ids, bulk_ids, times),
    st.builds(Tidy, bulk_ids, st.integers(0, 10_000)),
)

from_json = msgspec.json.Decoder(AnyCommand)
from_msgpack = msgspec.msgpack.Decoder(AnyCommand)


def test_every_command_is_in_the_union_and_tried_here() -> None:
    assert set(get_args(AnyCommand)) == set(Command.__subclasses__())
    assert len(get_args(AnyCommand)) == 20


@given(command=commands)
@effort(200)
def test_a_command_survives_the_way_through_bytes(command: AnyCommand) -> None:
    for decoded in (
        from_json.decode(msgspec.json.encode(command)),
        from_msgpack.decode(msgspec.msgpack.encode(command)),
    ):
        assert decoded == command
        assert type(decoded) is type(command)


def test_what_is_not_said_is_left_out() -> None:
    assert msgspec.json.encode(Release(SessionId("s"), ids("a"), 1.5)) == (
        b'{"type":"Release","session_id":"s","resource_ids":["a"],"at":1.5}'
    )


@pytest.mark.parametrize(
    "said",
    [
        b'{"type":"Forget","session_id":"s"}',
        b'{"session_id":"s"}',
        b'{"type":"End","session_id":"s","cause":"boredom","at":1.5}',
        b'{"type":"Reclaim","session_id":"s","count":"3"}',
        b'{"type":"Release","session_id":"s","at":1.5}',
    ],
)
def test_what_is_no_command_is_not_decoded(said: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        from_json.decode(said)


def test_nobody_changes_a_command_on_its_way() -> None:
    command = register("s", ids("a"))
    with pytest.raises(AttributeError):
        command.at = AT + 1  # type: ignore[misc]
