"""What filters must find in the state: what the plain model finds by looking at everything."""

from collections.abc import Iterator
from typing import TypedDict

from resroute.core.filters import Filter
from resroute.core.state import State
from resroute.ids import InstanceId, ResourceId, ServiceName
from tests.core.asking import ids
from tests.core.held import Held
from tests.core.model import Model
from tests.core.schedules import MANY_TAGS


class Wanted(TypedDict, total=False):
    """The arguments of a filter."""

    service_name: ServiceName
    instance_id: InstanceId
    resource_ids: tuple[ResourceId, ...]
    resource_type: str
    tags: tuple[str, ...]
    prefix: str


STORE = ServiceName("store")

FILTERS: tuple[Wanted, ...] = (
    {},
    {"service_name": STORE},
    {"service_name": ServiceName("unheard-of")},
    {"instance_id": InstanceId("i1")},
    {"instance_id": InstanceId("instance-3"), "service_name": STORE},
    {"instance_id": InstanceId("i2"), "prefix": "a"},
    {"resource_ids": ids("a", "user:1", "B", "a:1", "unheard-of")},
    {"resource_ids": ids("a", "user:1", "B", "a:1"), "tags": ("a", "b"), "prefix": "a"},
    {"resource_type": "document"},
    {"resource_type": ""},
    {"tags": ("x",)},
    {"tags": ("b",)},
    {"tags": ("y", "x"), "resource_type": "document"},
    {"tags": ("a", "b"), "prefix": "user:", "service_name": STORE},
    {"tags": ("unheard-of",)},
    {"tags": ("tag-7",)},
    {"tags": ("tag-69", "x", "b"), "prefix": "a"},
    {"tags": (*MANY_TAGS, "unheard-of")},
    {"tags": MANY_TAGS, "resource_type": "document"},
    {"prefix": "a"},
    {"prefix": "a:1"},
    {"prefix": "user:1", "resource_type": "document"},
    {"prefix": "~", "service_name": STORE},
    {"prefix": "zzz"},
)


def is_wanted(wanted: Wanted, resource_id: ResourceId, held: Held) -> bool:
    said = held.said
    return all(
        (
            "service_name" not in wanted or held.owner.service_name == wanted["service_name"],
            "instance_id" not in wanted or held.owner.instance_id == wanted["instance_id"],
            "resource_ids" not in wanted or resource_id in wanted["resource_ids"],
            "resource_type" not in wanted or (said and said.resource_type == wanted["resource_type"]),
            "tags" not in wanted or (said and set(said.tags) >= set(wanted["tags"])),
            resource_id[: len(wanted.get("prefix", ""))] == wanted.get("prefix", ""),
        )
    )


def found(state: State, wanted: Filter, after: str = "") -> Iterator[ResourceId]:
    """As a query goes through them."""
    while candidates := state.candidates_after(wanted, after):
        assert list(candidates) == sorted(set(candidates))
        assert candidates[0] > after
        after = candidates[-1]
        for resource_id in candidates:
            grant = state.grant_of(resource_id)
            if grant is not None and wanted.matches(resource_id, grant.owner.fact, grant.metadata):
                yield resource_id


def assert_finds(state: State, model: Model, filters: tuple[Wanted, ...] = FILTERS) -> None:
    """Every filter finds in the state what it finds in the model, and the same from half-way on."""
    for given in filters:
        wanted = Filter.of(**given)
        everything = sorted(r for r, held in model.held.items() if is_wanted(given, r, held))
        assert list(found(state, wanted)) == everything, given
        assert state.count(wanted) in (None, len(everything)), given
        if everything:
            middle = everything[len(everything) // 2]
            assert list(found(state, wanted, middle)) == [r for r in everything if r > middle]
