"""Parameters are named where they are wrong, and cost little when they are large."""

import json
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from resroute.errors import InvalidParams
from resroute.protocol.compact import LARGE, MAX_DEPTH, NUL
from resroute.protocol.converting import MAX_ERRORS
from resroute.protocol.params import (
    MetadataParams,
    QueryResourcesParams,
    RegisterInstanceParams,
    RegisterResourcesParams,
    UpdateResourceParams,
)
from resroute.protocol.structure import Bounds, structure_params


def wrong_in(params: str, cls: type, **bounds: int) -> dict[str, str]:
    """What is said to be wrong, by its path."""
    with pytest.raises(InvalidParams) as refused:
        structure_params(Raw(params.encode()), cls, Bounds(**bounds))
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


def test_of_very_many_unknown_members_the_first_is_named() -> None:
    members = {f"m{number:05}{'x' * 100}": number for number in range(20_000)}
    [error] = wrong_in(json.dumps({"limit": 5, **members}), QueryResourcesParams).items()
    assert error == ("m00000" + "x" * 74, "unknown member")


def test_large_params_with_very_many_values_are_read_as_others() -> None:
    ids = [f"r{number}" for number in range(9000)]
    text = json.dumps({"resource_ids": ids, "metadata": {name: {"priority": 1, "tags": []} for name in ids}})
    structured = structure_params(Raw(text.encode()), RegisterResourcesParams, Bounds(max_items=10_000))
    assert structured.resource_ids == ids
    assert structured.metadata is not None and list(structured.metadata) == ids
    assert wrong_in(text[:-1] + ',"unknown":1}', RegisterResourcesParams) == {"unknown": "unknown member"}


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
        structured = structure_params(params, RegisterResourcesParams, Bounds(max_items=max_items))
        assert structured.resource_ids == ["a", "b", "c"]


def test_what_is_refused_for_its_size_costs_a_fraction_of_what_building_it_would() -> None:
    values: Any = [{"a": [1]}] * 80_000
    params = json.dumps({"service_name": "a", "metadata": {"x": values}, "priority": values, "extra": values})

    def seconds(do: Callable[[], object]) -> float:
        best = 10.0
        for _ in range(5):
            began = perf_counter()
            do()
            best = min(best, perf_counter() - began)
        return best

    def refuse() -> None:
        wrong_in(params, RegisterInstanceParams, max_object_bytes=16_384)

    assert seconds(refuse) < seconds(lambda: json.loads(params)) / 3


def structured(metadata: str, **bounds: int) -> MetadataParams:
    params = Raw(f'{{"resource_id":"a","metadata":{metadata}}}'.encode())
    return structure_params(params, UpdateResourceParams, Bounds(**bounds)).metadata


@pytest.mark.parametrize(
    "max_object_bytes", [1000, 10, None], ids=["in one go", "member by member", "unlimited"]
)
def test_a_struct_is_built_the_same_in_one_go_and_member_by_member(max_object_bytes: int | None) -> None:
    built = structure_params(
        Raw(
            b'{"resource_id":"a","metadata":{"resource_type":null,"tags":["a","b"],"priority":-1,'
            b'"attributes":{ "a" : 1 },"version":[1,{}],"created_by":"somebody whose name is long"}}'
        ),
        UpdateResourceParams,
        Bounds(max_object_bytes=max_object_bytes),
    ).metadata
    assert (built.resource_type, built.tags, built.priority) == (None, ["a", "b"], -1)
    assert isinstance(built.attributes, Raw)
    assert bytes(built.attributes) == b'{"a":1}'


def test_what_is_not_given_is_unset() -> None:
    built = structured("{}")
    assert (built.resource_type, built.tags, built.attributes, built.priority) == (UNSET,) * 4


def test_a_struct_and_an_object_that_are_required_are_not_null() -> None:
    for metadata, path in (("null", "metadata"), ('{"attributes":null}', "metadata.attributes")):
        params = f'{{"resource_id":"a","metadata":{metadata}}}'
        assert wrong_in(params, UpdateResourceParams) == {path: "must be an object, not null"}


def test_no_more_mistakes_in_a_map_are_named_than_need_be_and_it_has_a_limit() -> None:
    ids = [f"m{number}" for number in range(1000)]
    params = json.dumps({"resource_ids": ["a"], "metadata": {name: {"tags": 5} for name in ids}})
    assert len(wrong_in(params, RegisterResourcesParams)) == MAX_ERRORS
    assert wrong_in(params, RegisterResourcesParams, max_items=999) == {
        "metadata": "at most 999 in one request"
    }


NESTED = MAX_DEPTH - 1  # the object around it is one


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"\\u0000"', NUL),
        ('{"\\\\\\u0000":1}', NUL),
        ("1e400", LARGE),
        ("[0.1e+0000400]", LARGE),
        ("-2e308", LARGE),
        ("9" * 400 + ".5", LARGE),
        ("9" * 5000, LARGE),
        ("18446744073709551616", LARGE),
        ("-9223372036854775809", LARGE),
        ('["1e999",true,false,null,{"a":1e999}]', LARGE),
        ("[" * (NESTED + 1) + "]" * (NESTED + 1), f"nested more than {MAX_DEPTH} deep"),
    ],
)
def test_a_value_that_not_every_reader_takes_is_found_without_being_built(value: str, message: str) -> None:
    params = f'{{"service_name":"a","metadata":{{"x":{value}}}}}'
    assert wrong_in(params, RegisterInstanceParams) == {"metadata": message}


@pytest.mark.parametrize(
    "value",
    [
        '"\\\\u0000"',
        '"\\\\\\\\u0000"',
        "1e308",
        "1E-400",
        "0." + "1" * 400,
        "18446744073709551615",
        "-9223372036854775808",
        '"1e999"',
        '{"12345678901234567890123":"\\"1e999\\\\"}',
        '["[[",true,1e300]',
        "[" * NESTED + "]" * NESTED,
        "[" + "[]," * 200 + "[]]",
        '"' + "[" * 200 + '"',
    ],
)
def test_a_value_that_every_reader_takes_is_kept_as_it_is(value: str) -> None:
    params = Raw(f'{{"service_name":"a","metadata":{{"x":{value}}}}}'.encode())
    kept = structure_params(params, RegisterInstanceParams).metadata
    assert kept is not None
    assert bytes(kept) == f'{{"x":{value}}}'.encode()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_an_object_is_kept_if_and_only_if_its_values_are_plain(value: Any) -> None:
    text = json.dumps({"x": value}, ensure_ascii=True)
    if "NaN" in text or "Infinity" in text:
        return
    params = Raw(f'{{"service_name":"a","metadata":{text}}}'.encode())
    if is_plain(value):
        kept = structure_params(params, RegisterInstanceParams).metadata
        assert kept is not None
        assert json.loads(bytes(kept)) == {"x": value}
    else:
        assert set(wrong_in(bytes(params).decode(), RegisterInstanceParams)) == {"metadata"}


def is_plain(value: Any) -> bool:
    match value:
        case str():
            return "\0" not in value
        case bool():
            return True
        case int():
            return -(2**63) <= value < 2**64
        case list():
            return all(map(is_plain, value))
        case dict():
            return all(map(is_plain, (*value, *value.values())))
        case _:
            return True
