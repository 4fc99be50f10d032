"""Parameters are named where they are wrong, and cost little when they are large."""

import json
from time import perf_counter
from typing import Any

import pytest
from msgspec import Raw

from resroute.errors import InvalidParams
from resroute.protocol.params import QueryResourcesParams, RegisterInstanceParams, RegisterResourcesParams
from resroute.protocol.structure import MAX_ERRORS, structure_params


def wrong_in(params: str, cls: type, **bounds: int) -> dict[str, str]:
    """What is said to be wrong, by its path."""
    with pytest.raises(InvalidParams) as refused:
        structure_params(Raw(params.encode()), cls, **bounds)
    return {error["path"]: error["message"] for error in refused.value.errors}


def test_all_that_is_wrong_is_named_whatever_finds_it() -> None:
    params = (
        '{"service_name":[[]],"metadata":{"a":"too much"},"priority":1e400,"plain":{"a":{}},'
        '"instance_id":"\\u0000","b":[1],"a":{}}'
    )
    assert set(wrong_in(params, RegisterInstanceParams, max_object_bytes=10)) == {
        *("service_name", "metadata", "priority", "plain", "instance_id", "a", "b")
    }


def test_what_stands_where_no_array_or_object_may_be_is_not_built() -> None:
    assert wrong_in('{"service_name":[{}],"plain":{"a":1}}', RegisterInstanceParams) == {
        "service_name": "must be a string, not an array",
        "plain": "must be true or false, not an object",
    }
    assert wrong_in('{"resource_ids":["a",[5],{"a":[]},7]}', RegisterResourcesParams) == {
        "resource_ids.1": "must be a string, not an array",
        "resource_ids.2": "must be a string, not an object",
        "resource_ids.3": "must be a string, not a number",
    }


def test_no_more_mistakes_are_named_than_need_be() -> None:
    members = {f"m{number:05}": number for number in range(10_000)}
    paths = list(wrong_in(json.dumps({"limit": [], **members}), QueryResourcesParams))
    assert len(paths) == MAX_ERRORS
    assert "m00000" in paths


@pytest.mark.parametrize(("max_items", "is_wrong"), [(2, True), (3, False), (4, False)])
def test_a_list_has_a_limit(max_items: int, is_wrong: bool) -> None:
    params = Raw(b'{"resource_ids":["a","b","c"]}')
    if is_wrong:
        assert wrong_in(bytes(params).decode(), RegisterResourcesParams, max_items=max_items) == {
            "resource_ids": f"at most {max_items} in one request"
        }
    else:
        structured = structure_params(params, RegisterResourcesParams, max_items=max_items)
        assert structured.resource_ids == ["a", "b", "c"]


def test_what_is_refused_for_its_size_costs_a_fraction_of_what_building_it_would() -> None:
    values: Any = [{"a": [1]}] * 80_000
    params = json.dumps({"service_name": "a", "metadata": {"x": values}, "priority": values, "extra": values})

    def seconds(max_object_bytes: int | None) -> float:
        best = 10.0
        for _ in range(5):
            began = perf_counter()
            with pytest.raises(InvalidParams):
                structure_params(
                    Raw(params.encode()), RegisterInstanceParams, max_object_bytes=max_object_bytes
                )
            best = min(best, perf_counter() - began)
        return best

    assert seconds(16_384) < seconds(None) / 3
