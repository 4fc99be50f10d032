"""An array is taken apart as far as it has to be."""

from time import perf_counter

import msgspec
import pytest

from resroute.protocol.arrays import first_items

ARRAYS = (b"[]", b" [ ] ", b"[1]", b'["a,b",[1,2],{"a":[3,4]}]', b"[1,2,3,4,5]", b"[null,[],{},1.5,true]")


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("at_most", [1, 2, 3, 4, 5, 6, 20_000])
def test_the_first_items_are_those_of_the_whole(array: bytes, at_most: int) -> None:
    whole = msgspec.json.decode(array)
    assert [msgspec.json.decode(item) for item in first_items(array, at_most)] == whole[:at_most]


@pytest.mark.parametrize(
    "text", [b"[1,2,3,4", b"[1,2,3,4]]", b"[1,2,3,}]", b"{}", b"", b"1,2,3,4", b"[1,2,3,x]"]
)
def test_what_is_no_array_is_none_however_late_that_shows(text: bytes) -> None:
    for at_most in (1, 2, 10):
        with pytest.raises(msgspec.DecodeError):
            first_items(text, at_most)


def test_items_that_nobody_wants_are_not_built() -> None:
    array = b"[%b]" % b",".join([b"1"] * 400_000)

    def seconds(at_most: int) -> float:
        best = 10.0
        for _ in range(5):
            began = perf_counter()
            assert len(first_items(array, at_most)) == min(at_most, 400_000)
            best = min(best, perf_counter() - began)
        return best

    assert seconds(1001) < seconds(1_000_000) / 3
