"""Which resources a filter lets through."""

import pytest

from resroute.core.facts import Owner
from resroute.core.filters import Filter
from resroute.core.metadata import Metadata
from resroute.ids import InstanceId, ResourceId, ServiceName, SessionId

OWNER = Owner(SessionId("s"), InstanceId("docs-1"), ServiceName("documents"))
SAID = Metadata(1, InstanceId("docs-1"), 0.0, resource_type="page", tags=("eu", "draft", "eu"))


def lets_through(wanted: Filter, metadata: Metadata | None = SAID) -> bool:
    return wanted.matches(ResourceId("doc:7"), OWNER, metadata)


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter.of(service_name=ServiceName("documents"), instance_id=InstanceId("docs-1")),
        Filter.of(resource_ids=[ResourceId("z"), ResourceId("doc:7"), ResourceId("a")]),
        Filter.of(resource_type="page"),
        Filter.of(tags=["draft", "eu"]),
        Filter.of(tags=[]),
        Filter.of(prefix="doc:"),
        Filter.of(prefix="doc:7"),
        Filter.of(prefix=""),
        Filter.of(prefix="d", tags=["eu"], resource_type="page", resource_ids=[ResourceId("doc:7")]),
    ],
)
def test_what_is_all_of_it_matches(wanted: Filter) -> None:
    assert lets_through(wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        Filter.of(service_name=ServiceName("images")),
        Filter.of(service_name=ServiceName("documents"), instance_id=InstanceId("docs-2")),
        Filter.of(resource_ids=[ResourceId("doc:70"), ResourceId("doc:")]),
        Filter.of(resource_ids=[]),
        Filter.of(resource_type="Page"),
        Filter.of(resource_type=""),
        Filter.of(tags=["eu", "us"]),
        Filter.of(tags=["e"]),
        Filter.of(prefix="oc:7"),
        Filter.of(prefix="doc:77"),
        Filter.of(prefix="doc:", tags=["eu"], resource_type="image"),
    ],
)
def test_what_lacks_one_thing_does_not_match(wanted: Filter) -> None:
    assert not lets_through(wanted)


def test_what_says_nothing_of_itself_matches_neither_type_nor_tag() -> None:
    assert lets_through(Filter.of(prefix="doc"), None)
    assert not lets_through(Filter.of(resource_type="page"), None)
    assert not lets_through(Filter.of(tags=["eu"]), None)


def test_the_same_filters_are_equal_in_whatever_order_they_were_said() -> None:
    one = Filter.of(tags=["b", "a", "b"], resource_ids=[ResourceId("y"), ResourceId("x"), ResourceId("y")])
    assert one == Filter.of(tags=["a", "b"], resource_ids=[ResourceId("x"), ResourceId("y")])
    assert one != Filter.of(tags=["a"], resource_ids=[ResourceId("x"), ResourceId("y")])
