"""Behind a proxy: who guesses tokens is slowed down, and nobody else; and nobody can say that it is somebody else."""

import hypothesis
import pytest
from hypothesis import strategies as st

from resroute.admin import Access
from resroute.security import throttle
from resroute.security.proxies import Proxies
from resroute.settings import Settings
from tests.admin.asking import Place, open_place
from tests.admin.test_access import ADA, TOKENS, Browser, bearer

NETWORKS = ("127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "asker"),
    [
        # nobody before us
        ("192.0.2.1", [], "192.0.2.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        # one proxy, or several
        ("127.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.1, 10.0.0.7"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.1", "10.0.0.7"], "192.0.2.1"),
        ("10.1.2.3", ["2001:db8:2::1"], "2001:db8:2::1"),
        ("2001:db8:1::9", ["192.0.2.1"], "192.0.2.1"),
        ("::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("::ffff:192.0.2.9", ["192.0.2.1"], "192.0.2.9"),
        # as some of them write addresses
        ("127.0.0.1", ["192.0.2.1:4711"], "192.0.2.1"),
        ("127.0.0.1", ["[2001:db8:2::1]:4711"], "2001:db8:2::1"),
        ("127.0.0.1", ["[2001:db8:2::1]"], "2001:db8:2::1"),
        ("127.0.0.1", ["  192.0.2.1  "], "192.0.2.1"),
        ("127.0.0.1", ["::ffff:192.0.2.1"], "192.0.2.1"),
        # one of our own machines asks
        ("127.0.0.1", ["10.0.0.7"], "10.0.0.7"),
        # what the one who asks says of itself
        ("192.0.2.1", ["192.0.2.99"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.99, 192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.99", "192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["10.0.0.7, 192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.99, 192.0.2.1, 10.0.0.7"], "192.0.2.1"),
        # what is no address
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.99, unknown"], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.99, "], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.1, nonsense, 10.0.0.7"], "10.0.0.7"),
        ("127.0.0.1", ["[", "]:", ":", "1.2.3.4.5:1"], "127.0.0.1"),
        ("127.0.0.1", ["٣.٣.٣.٣"], "127.0.0.1"),
        ("127.0.0.1", [",".join(["10.0.0.7"] * 5000)], "10.0.0.7"),
        ("somewhere", ["192.0.2.1"], "somewhere"),
    ],
)
def test_who_asks_is_whom_the_first_that_is_trusted_was_asked_by(
    peer: str, forwarded_for: list[str], asker: str
) -> None:
    assert Proxies(NETWORKS).asker(peer, forwarded_for) == asker


def test_without_proxies_that_are_trusted_nobody_is_believed() -> None:
    assert Proxies().asker("127.0.0.1", ["192.0.2.1"]) == "127.0.0.1"


STRANGERS = st.ip_addresses(network="192.0.2.0/24") | st.ip_addresses(network="2001:db8:2::/48")


@hypothesis.given(
    st.text(max_size=60), STRANGERS, st.sampled_from(["", ", 10.0.0.7", ", 10.0.0.7:1,127.0.0.1"])
)
def test_whatever_one_says_of_itself_changes_nothing(said: str, stranger: object, ours: str) -> None:
    assert Proxies(NETWORKS).asker("127.0.0.1", [said, f"{stranger}{ours}"]) == str(stranger)
    assert Proxies(NETWORKS).asker(str(stranger), [said]) == str(stranger)


async def guess(place: Place, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await place.client.ask("GET", "/api/v1/statistics", headers={**bearer("x" * 20), **named})
    return answer.status


async def test_behind_a_proxy_one_that_guesses_slows_down_nobody_else() -> None:
    settings = Settings(admin_tokens=TOKENS, admin_trusted_proxies=("127.0.0.1",))
    async with open_place(access=Access.read(settings)) as place:
        for _ in range(throttle.FREE_FAILURES + 1):
            assert await guess(place, X_Forwarded_For="192.0.2.1") == 401
        assert await guess(place, X_Forwarded_For="192.0.2.1") == 429
        # saying to be somebody else first does not help
        assert await guess(place, X_Forwarded_For="192.0.2.77, 192.0.2.1") == 429
        assert await guess(place, X_Forwarded_For="192.0.2.1", Forwarded="for=192.0.2.77") == 429
        assert await guess(place, X_Forwarded_For="192.0.2.1", X_Real_Ip="192.0.2.77") == 429
        page = await Browser(place).post("/login", {"token": ADA}, X_Forwarded_For="192.0.2.1")
        assert page.status == 429
        answer = await Browser(place).post("/login", {"token": ADA}, X_Forwarded_For="192.0.2.2")
        assert answer.status == 303
        assert await guess(place, X_Forwarded_For="192.0.2.2") == 401


async def test_who_is_no_proxy_of_ours_cannot_say_that_it_is_somebody_else() -> None:
    settings = Settings(admin_tokens=TOKENS, admin_trusted_proxies=("10.0.0.0/8",))
    async with open_place(access=Access.read(settings)) as place:
        for number in range(throttle.FREE_FAILURES + 1):
            assert await guess(place, X_Forwarded_For=f"192.0.2.{number}") == 401
        assert await guess(place, X_Forwarded_For="192.0.2.99") == 429
        place.access.read_again(Settings(admin_tokens=TOKENS, admin_trusted_proxies=("127.0.0.1",)))
        assert await guess(place, X_Forwarded_For="192.0.2.99") == 401
