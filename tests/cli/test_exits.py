"""What exit code becomes of which error."""

import attrs
import pytest

from resroute import errors as e
from resroute.cli import cli, exits
from resroute.cli.exits import ASKING_CODES, CALL_CODES, HOLD_CODES, WATCH_CODES, code_for
from resroute.errors import ROUTER_ERRORS, CallError, RouterError, router_error_from_wire

EXPECTED: dict[str, int] = {
    "parse_error": exits.MISTAKE,
    "invalid_request": exits.MISTAKE,
    "invalid_params": exits.MISTAKE,
    "method_not_found": exits.REFUSED,
    "internal_error": exits.FAULT,
    "unauthenticated": exits.REFUSED,
    "forbidden": exits.REFUSED,
    "not_owner": exits.REFUSED,
    "resource_not_found": exits.NOT_FOUND,
    "service_not_found": exits.NOT_FOUND,
    "instance_not_found": exits.NOT_FOUND,
    "service_mismatch": exits.NOT_FOUND,
    "watch_not_found": exits.NOT_FOUND,
    "session_not_found": exits.NOT_FOUND,
    "resource_conflict": exits.CONFLICT,
    "version_conflict": exits.CONFLICT,
    "instance_conflict": exits.CONFLICT,
    "already_registered": exits.CONFLICT,
    "revision_gone": exits.CONFLICT,
    "resource_limit_exceeded": exits.REFUSED,
    "too_many_calls": exits.NOT_DELIVERED,
    "too_many_waiters": exits.NOT_DELIVERED,
    "too_many_watches": exits.NOT_DELIVERED,
    "rate_limited": exits.NOT_DELIVERED,
}
CALLS = {
    "answer_too_large",
    "call_cancelled",
    "owner_disconnected",
    "invalid_answer",
    "unavailable",
    "call_timeout",
}

_FIELDS = {
    "resource_id": "r",
    "service_name": "s",
    "instance_id": "i",
    "owner_instance_id": "i",
    "watch_id": "w",
    "session_id": "s",
    "required": "admin",
    "method": "m",
    "errors": [],
    "conflicts": {"r": "i"},
    "reason": "draining",
    "limit": 1,
    "current": 1,
    "requested": 1,
    "expected_version": 1,
    "current_version": 2,
    "oldest_revision": 1,
    "timeout_seconds": 1.0,
}


def error_of(error_type: str, delivery: str | None = None) -> RouterError:
    """An error as the router's clients make it of what they read."""
    cls = ROUTER_ERRORS[error_type]
    data = _FIELDS | {"type": error_type} | ({} if delivery is None else {"delivery": delivery})
    error = router_error_from_wire(cls.code, "", data)
    assert type(error) is cls
    return error


@pytest.mark.parametrize("error_type", ROUTER_ERRORS)
def test_an_error_that_says_no_more_than_it_must_is_told_without_gaps(error_type: str) -> None:
    cls = ROUTER_ERRORS[error_type]
    needed = {field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING}
    data = {name: value for name, value in _FIELDS.items() if name in needed}
    error = router_error_from_wire(cls.code, "", {"type": error_type, **data})
    assert type(error) is cls
    assert str(error)
    assert "None" not in str(error)


def test_every_error_of_the_router_is_here() -> None:
    assert EXPECTED.keys() | CALLS == ROUTER_ERRORS.keys()
    assert {name for name, cls in ROUTER_ERRORS.items() if issubclass(cls, CallError)} == CALLS


@pytest.mark.parametrize("error_type", EXPECTED)
def test_a_refusal_has_a_code_of_its_kind(error_type: str) -> None:
    assert code_for(error_of(error_type)) == EXPECTED[error_type]


@pytest.mark.parametrize("error_type", sorted(CALLS))
def test_what_became_of_a_call_decides_its_code(error_type: str) -> None:
    assert code_for(error_of(error_type, "unknown")) == exits.MAY_HAVE_RUN
    assert code_for(error_of(error_type, "not_delivered")) == exits.NOT_DELIVERED


def test_a_registration_that_is_refused_for_the_moment_is_safe_to_repeat() -> None:
    assert code_for(error_of("unavailable")) == exits.NOT_DELIVERED


@pytest.mark.parametrize(
    ("code", "delivery", "expected"),
    [
        (404, None, exits.NOT_FOUND),
        (409, None, exits.CONFLICT),
        (503, None, exits.NOT_DELIVERED),
        (599, None, exits.MAY_HAVE_RUN),
        (599, "not_delivered", exits.NOT_DELIVERED),
    ],
)
def test_an_error_of_a_newer_router_goes_by_its_number(
    code: int, delivery: str | None, expected: int
) -> None:
    data = {"type": "of_tomorrow"} | ({} if delivery is None else {"delivery": delivery})
    assert code_for(router_error_from_wire(code, "new", data)) == expected


def test_what_is_not_the_routers_word_has_codes_of_its_own() -> None:
    assert code_for(e.RemoteError(404, "mine")) == exits.CALLEE_ERROR
    assert code_for(e.ConnectionFailed("ws://x/", "no")) == exits.NO_CONNECTION
    assert code_for(e.ConnectionLost()) == exits.NO_CONNECTION
    assert code_for(e.WatchLost(7)) == exits.CONFLICT


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("call", CALL_CODES),
        ("hold", HOLD_CODES),
        ("watch", WATCH_CODES),
        *((name, ASKING_CODES) for name in ("ls", "explain", "top")),
    ],
)
def test_help_documents_every_exit_code(name: str, codes: dict[str, str]) -> None:
    text = cli.commands[name].get_help(cli.commands[name].make_context(name, [], resilient_parsing=True))
    for code, meaning in codes.items():
        assert f"  {code:<5}  {meaning}\n" in text + "\n"
