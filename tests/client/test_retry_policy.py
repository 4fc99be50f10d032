"""Which calls are made again, and when: decided without time."""

from functools import partial

import pytest

from resroute.client.retrying import Retrying, RetryPolicy, can_be_repeated, was_refused_for_now
from resroute.errors import (
    AnswerTooLarge,
    CallCancelled,
    CallTimeout,
    ConnectionLost,
    Forbidden,
    InternalError,
    InvalidAnswer,
    InvalidParams,
    OwnerDisconnected,
    RateLimited,
    RemoteError,
    ResourceLimitExceeded,
    ResourceNotFound,
    ResrouteError,
    StaleEpoch,
    TooManyCalls,
    TooManyWaiters,
    Unavailable,
    UnknownRouterError,
)

POLICY = RetryPolicy(first_seconds=1, max_seconds=4)

SAFE: list[ResrouteError] = [
    ConnectionLost(delivery="not_delivered"),
    OwnerDisconnected("i", delivery="not_delivered"),
    Unavailable("overloaded", delivery="not_delivered"),
    Unavailable("moved", delivery="not_delivered"),
    Unavailable("suspended", 2.0, delivery="not_delivered"),
    Unavailable("read_only", 2.0),
    TooManyCalls(1024, 1.0),
    RateLimited(100, 1.0),
]
UNCLEAR: list[ResrouteError] = [
    ConnectionLost(delivery="unknown"),
    OwnerDisconnected("i", delivery="unknown"),
    Unavailable("overloaded", delivery="unknown"),
]
NEVER: list[ResrouteError] = [
    RemoteError(
        503, "unavailable", {"type": "unavailable", "delivery": "not_delivered", "retry_after_seconds": 1}
    ),
    StaleEpoch(),
    ConnectionLost(1009, "too large", "unknown"),
    CallTimeout(5, delivery="not_delivered"),
    CallTimeout(5, delivery="unknown"),
    CallCancelled(delivery="not_delivered"),
    InvalidAnswer("i", delivery="unknown"),
    AnswerTooLarge(1, delivery="unknown"),
    ResourceNotFound("r"),
    ResourceLimitExceeded(1, 1, 1),
    TooManyCalls(1024),
    TooManyWaiters(100, 1.0),
    InvalidParams.at("a", "b"),
    Forbidden("caller"),
    InternalError(),
    Unavailable("draining"),
    UnknownRouterError(503, "of_a_newer_router", "", {"delivery": "not_delivered"}),
]


def calls_again(*, idempotent: bool = False) -> Retrying:
    may_be = partial(can_be_repeated, idempotent=idempotent)
    return Retrying(POLICY, can_be_repeated=may_be, random=lambda: 0.5)


@pytest.mark.parametrize("error", SAFE, ids=repr)
@pytest.mark.parametrize("idempotent", [False, True])
def test_what_has_not_run_is_made_again(error: ResrouteError, idempotent: bool) -> None:
    assert can_be_repeated(error, idempotent=idempotent)


@pytest.mark.parametrize("error", UNCLEAR, ids=repr)
def test_what_may_have_run_is_made_again_only_if_that_does_no_harm(error: ResrouteError) -> None:
    assert not can_be_repeated(error, idempotent=False)
    assert can_be_repeated(error, idempotent=True)


@pytest.mark.parametrize("error", NEVER, ids=repr)
@pytest.mark.parametrize("idempotent", [False, True])
def test_what_stands_is_not_made_again(error: ResrouteError, idempotent: bool) -> None:
    assert not can_be_repeated(error, idempotent=idempotent)
    assert calls_again(idempotent=idempotent).pause_after(error, 100) is None


REFUSED_FOR_NOW = (Unavailable("draining", 1.0), TooManyCalls(1024, 1.0), RateLimited(100, 1.0))


@pytest.mark.parametrize("error", REFUSED_FOR_NOW, ids=repr)
def test_whatever_the_router_refuses_for_now_is_asked_again(error: ResrouteError) -> None:
    assert was_refused_for_now(error)


@pytest.mark.parametrize("error", [*SAFE[:5], *UNCLEAR, *NEVER], ids=repr)
def test_what_may_have_taken_effect_or_stays_so_is_asked_once(error: ResrouteError) -> None:
    assert not was_refused_for_now(error)


def test_pauses_double_and_are_a_matter_of_chance() -> None:
    retrying = calls_again()
    assert [retrying.pause_after(SAFE[2], 100) for _ in range(4)] == [0.5, 1, 2, 2]


def test_what_the_router_asks_for_comes_on_top() -> None:
    retrying = calls_again()
    assert retrying.pause_after(Unavailable("suspended", 2.0, delivery="not_delivered"), 100) == 2.5


def test_a_pause_that_would_take_all_the_time_is_not_begun() -> None:
    retrying = calls_again()
    assert retrying.pause_after(SAFE[2], 0.5) is None
    assert retrying.pause_after(SAFE[2], 1.1) == 1
