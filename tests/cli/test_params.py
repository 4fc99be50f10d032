"""Params as somebody types them."""

import io
import sys
from typing import Any

import pytest

from resroute.cli.params import NotParams, read_params


@pytest.mark.parametrize(
    ("given", "params"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1, 2]", [1, 2]),
        (' {"n": 123456789012345678901} ', {"n": 123456789012345678901}),
    ],
)
def test_an_object_or_a_list_is_taken_as_it_is(given: str, params: Any) -> None:
    assert read_params(given) == params


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("5", "--params must be a JSON object or list, not a number."),
        ('"text"', "--params must be a JSON object or list, not a string."),
        ("true", "--params must be a JSON object or list, not true or false."),
        ("null", "--params must be a JSON object or list, not null."),
        ("", "--params is not valid JSON: Expecting value: line 1 column 1 (char 0)."),
        (
            "{a: 1}",
            "--params is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 "
            "(char 1); in a shell put it in single quotes.",
        ),
        ('{"a": NaN}', "--params is not valid JSON: JSON knows no NaN."),
        (r'{"a": "\ud800"}', "--params holds what UTF-8 cannot say."),
        ("[" * 100_000, "--params is nested too deeply."),
    ],
)
def test_anything_else_is_told(given: str, line: str) -> None:
    with pytest.raises(NotParams) as caught:
        read_params(given)
    assert str(caught.value) == line


def test_a_dash_reads_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO('{"a": "é"}'.encode())))
    assert read_params("-") == {"a": "é"}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": "\xff"}')))
    with pytest.raises(NotParams, match="stdin holds what UTF-8 cannot say"):
        read_params("-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b" \n")))
    with pytest.raises(NotParams, match="stdin is empty"):
        read_params("-")
