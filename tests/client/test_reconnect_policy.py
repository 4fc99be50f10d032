"""When a client connects again, where, and whether at all: decided without time."""

import itertools
from collections.abc import Callable

import pytest

from resroute.client.pauses import MAX_ASKED_SECONDS, Pauses
from resroute.client.reconnecting import Attempt, Closing, Reconnecting, ReconnectPolicy, is_final
from resroute.errors import (
    ConnectionFailed,
    ConnectionLost,
    Forbidden,
    ResrouteError,
    Unauthenticated,
    Unavailable,
    connection_lost,
)

POLICY = ReconnectPolicy(first_seconds=1, max_seconds=8)
BROKE = ConnectionLost(reason="the connection broke")


def always(chance: float) -> Callable[[], float]:
    return lambda: chance


def plan_of(*urls: str, chance: float = 1.0, policy: ReconnectPolicy | None = POLICY) -> Reconnecting:
    plan = Reconnecting(urls or ("ws://one/",), policy, always(chance))
    plan.first()
    return plan


def delay_after(plan: Reconnecting, error: ResrouteError = BROKE, lasted_seconds: float = 0.0) -> float:
    attempt = plan.after(error, lasted_seconds=lasted_seconds)
    assert attempt is not None
    return attempt.delay_seconds


def test_the_first_attempt_is_made_at_once() -> None:
    assert Reconnecting(["ws://one/"], POLICY, always(1.0)).first() == Attempt("ws://one/", 0)


def test_pauses_double_up_to_the_longest() -> None:
    plan = plan_of()
    assert [delay_after(plan) for _ in range(6)] == [1, 2, 4, 8, 8, 8]


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.999])
def test_each_pause_is_any_part_of_that_the_first_one_too(chance: float) -> None:
    plan = plan_of(chance=chance)
    assert [delay_after(plan) for _ in range(4)] == [chance, 2 * chance, 4 * chance, 8 * chance]


def test_pauses_never_overflow() -> None:
    pauses = Pauses(1, 8, always(1.0))
    assert [pauses.next() for _ in range(5000)][-1] == 8


def test_a_connection_that_has_lasted_lets_pauses_begin_anew() -> None:
    plan = plan_of()
    for _ in range(5):
        plan.after(BROKE)
    assert delay_after(plan, lasted_seconds=8) == 8, "one that ends again soon does not"
    assert delay_after(plan, lasted_seconds=8.1) == 1
    assert delay_after(plan) == 2


def test_several_urls_are_tried_in_turn_and_each_before_pauses_grow() -> None:
    plan = plan_of("ws://one/", "ws://two/", "ws://three/")
    attempts = [plan.after(BROKE) for _ in range(6)]
    assert [a and (a.url, a.delay_seconds) for a in attempts] == [
        ("ws://two/", 1),
        ("ws://three/", 1),
        ("ws://one/", 1),
        ("ws://two/", 2),
        ("ws://three/", 2),
        ("ws://one/", 2),
    ]


def test_before_there_was_a_connection_each_url_is_tried_once_at_once() -> None:
    plan = plan_of("ws://one/", "ws://two/")
    refused = ConnectionFailed("ws://one/", "connection refused")
    assert plan.alternative(refused) == Attempt("ws://two/")
    assert plan.alternative(refused) is None


def test_what_is_final_is_so_for_all_urls() -> None:
    plan = plan_of("ws://one/", "ws://two/")
    assert plan.alternative(ConnectionFailed("ws://one/", "refused with HTTP 401", 401)) is None


@pytest.mark.parametrize("asked", [0.0, 0.5, 120.0])
def test_the_pause_that_a_closing_router_asks_for_comes_on_top(asked: float) -> None:
    attempt = plan_of(chance=0.5).after(connection_lost(1001, ""), closing=Closing("", asked))
    assert attempt == Attempt("ws://one/", asked + 0.5)


def test_the_pause_that_a_refusal_asks_for_comes_on_top() -> None:
    assert delay_after(plan_of(), Unavailable("read_only", 3.0)) == 4
    assert delay_after(plan_of(), ConnectionFailed("ws://one/", "busy", 503, 3.0)) == 4


@pytest.mark.parametrize("asked", [-5.0, 1e9, float("inf")])
def test_what_is_asked_for_has_bounds(asked: float) -> None:
    attempt = plan_of(chance=0.0).after(BROKE, closing=Closing("", asked))
    assert attempt is not None
    assert 0 <= attempt.delay_seconds <= MAX_ASKED_SECONDS


def test_a_closing_router_can_send_its_clients_elsewhere_once() -> None:
    plan = plan_of("ws://one/", "ws://two/")
    first = plan.after(BROKE, closing=Closing("", 0, "ws://other/"))
    second = plan.after(BROKE)
    assert first is not None
    assert second is not None
    assert (first.url, second.url) == ("ws://other/", "ws://two/")


@pytest.mark.parametrize("url", ["ws://other/", "http://other/", "nonsense", "wss://user:secret@other/"])
def test_nobody_is_sent_where_the_token_must_not_go(url: str) -> None:
    attempt = plan_of("wss://one/").after(BROKE, closing=Closing("", 0, url))
    assert attempt is not None
    assert attempt.url == "wss://one/"


def test_too_many_sessions_take_long_to_pass() -> None:
    assert delay_after(plan_of(), connection_lost(4029, "too many sessions")) == 8


def test_without_a_policy_nothing_is_tried_again() -> None:
    assert plan_of(policy=None).after(BROKE) is None


@pytest.mark.parametrize("code", [1002, 1003, 1007, 4000, 4001, 4003, 4009, 4010, 4042, 4099])
def test_codes_that_are_final(code: int) -> None:
    assert is_final(connection_lost(code, ""))
    assert plan_of().after(connection_lost(code, "")) is None


@pytest.mark.parametrize(
    "code", [None, 1000, 1001, 1005, 1009, 1011, 1012, 1013, 4008, 4011, 4029, 3000, 4100]
)
def test_codes_after_which_to_connect_again(code: int | None) -> None:
    assert not is_final(connection_lost(code, ""))


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (ConnectionFailed("ws://one/", "refused with HTTP 401", 401), True),
        (ConnectionFailed("ws://one/", "refused with HTTP 403", 403), True),
        (ConnectionFailed("ws://one/", "refused with HTTP 503", 503), False),
        (ConnectionFailed("ws://one/", "connection refused"), False),
        (Unauthenticated(), True),
        (Forbidden("caller"), True),
        (Unavailable("draining"), False),
    ],
)
def test_refusals_that_are_final(error: ResrouteError, final: bool) -> None:
    assert is_final(error) is final


def test_all_clients_of_a_router_that_died_spread_over_the_first_pause() -> None:
    chances = itertools.cycle(number / 100 for number in range(100))
    delays = []
    for _ in range(100):
        plan = Reconnecting(["ws://one/"], POLICY, chances.__next__)
        delays.append(delay_after(plan))
    assert len(set(delays)) == 100
    assert max(delays) - min(delays) > 0.9


def test_a_token_that_may_have_expired_is_followed_by_a_fresh_one_once() -> None:
    plan = Reconnecting(["ws://one/"], POLICY, always(1.0), renews_tokens=True)
    plan.first()
    expired = connection_lost(4001, "expired")
    refused = ConnectionFailed("ws://one/", "refused with HTTP 401", 401)
    assert plan.after(expired, lasted_seconds=60) is not None
    assert plan.after(refused) is None, "the fresh one is no good either"
    assert plan.after(expired, lasted_seconds=60) is not None
    assert plan.after(BROKE) is not None
    assert plan.after(refused) is not None
    assert plan.after(Unauthenticated()) is None
    assert plan.after(connection_lost(4010, "because")) is None, "that is not about tokens"
