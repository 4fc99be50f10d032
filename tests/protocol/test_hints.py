"""What the router says about when to ask again: with every error that it makes."""

import msgspec
import pytest

from resroute.errors import (
    AnswerTooLarge,
    CallTimeout,
    OwnerDisconnected,
    ResourceLimitExceeded,
    ResourceNotFound,
    RouterError,
    TooManyCalls,
    TooManyWaiters,
    TooManyWatches,
    Unavailable,
    UnavailableReason,
)
from resroute.protocol.envelope import error_message
from resroute.protocol.hints import router_stops, wire_data


def hint_of(error: RouterError) -> float | None:
    sent = msgspec.json.decode(error_message(1, error))["error"]["data"]
    assert sent == wire_data(error)
    asked: float | None = sent.get("retry_after_seconds")
    return asked


@pytest.mark.parametrize("error", [TooManyCalls(1), TooManyWaiters(1), TooManyWatches(1)], ids=repr)
def test_each_limit_on_how_much_is_asked_for_says_when_to_ask_again(error: RouterError) -> None:
    assert hint_of(error)


@pytest.mark.parametrize("reason", ["overloaded", "draining", "no_healthy_instance", "suspended"])
def test_a_call_that_was_not_delivered_may_be_made_again_after_a_while(reason: UnavailableReason) -> None:
    hint = hint_of(Unavailable(reason, delivery="not_delivered"))
    assert hint is not None
    assert 0 < hint <= 1


def test_what_passes_with_the_next_answer_is_soon_over() -> None:
    by_answer = hint_of(TooManyCalls(1)), hint_of(Unavailable("overloaded", delivery="not_delivered"))
    by_program = hint_of(Unavailable("suspended", delivery="not_delivered")), hint_of(TooManyWaiters(1))
    assert max(hint or 0 for hint in by_answer) < min(hint or 0 for hint in by_program)


def test_a_router_that_stops_says_when_the_next_one_may_be_there() -> None:
    assert hint_of(router_stops())


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("overloaded", delivery="unknown"),
        Unavailable("moved", delivery="not_delivered"),
        Unavailable("draining"),  # an instance that leaves: it does not come back
        OwnerDisconnected("i", delivery="not_delivered"),
        CallTimeout(1, delivery="not_delivered"),
        AnswerTooLarge(1, delivery="unknown"),
        ResourceLimitExceeded(1, 1, 1),
        ResourceNotFound("r"),
    ],
    ids=repr,
)
def test_what_may_have_run_stays_so_or_can_be_sent_at_once_says_nothing(error: RouterError) -> None:
    assert hint_of(error) is None


def test_a_time_that_is_known_better_stands() -> None:
    assert hint_of(Unavailable("suspended", 7.0, delivery="not_delivered")) == 7.0
