"""Who gets in: tokens, logins by cookie, and what slows down those who guess."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlencode

import pytest
from structlog.testing import capture_logs

from resroute.admin import logins
from resroute.admin.logins import Logins
from resroute.admin.routes import API, ROUTES, Route
from resroute.security import throttle
from resroute.security.throttle import Throttle
from resroute.security.tokens import AdministratorTokens, CannotReadTokens, KnownToken
from resroute.settings import InvalidSetting, Settings
from tests.admin.asking import Answer, Client, Place, open_place
from tests.admin.test_events import open_events

ADA = "0123456789abcdef-ada"
BOB = "0123456789abcdef-bob"
TOKENS = (f"ada:{ADA}", f"bob:sha256:{sha256(BOB.encode()).hexdigest()}")
FORM = "application/x-www-form-urlencoded"


@asynccontextmanager
async def open_guarded() -> AsyncGenerator[Place]:
    """A place where two have a token."""
    async with open_place(tokens=AdministratorTokens(TOKENS)) as place:
        yield place


class Browser:
    """Keeps cookies, and says of its requests what browsers say."""

    def __init__(self, place: Place) -> None:
        self._client = place.client
        self._origin = f"http://127.0.0.1:{place.client.port}"
        self.cookies: dict[str, str] = {}

    async def get(self, path: str, **headers: str) -> Answer:
        return await self._ask("GET", path, None, {"Sec-Fetch-Site": "none", **headers})

    async def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Answer:
        return await self.post_pairs(path, list(fields.items()), **headers)

    async def post_pairs(self, path: str, fields: list[tuple[str, str]], **headers: str) -> Answer:
        told = {
            "Content-Type": FORM,
            "Origin": self._origin,
            "Sec-Fetch-Site": "same-origin",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return await self._ask("POST", path, urlencode(fields).encode(), told)

    async def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        if self.cookies:
            headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items()), **headers}
        answer = await self._client.ask(method, path, body, headers=headers)
        for line in answer.cookies:
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0]
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return answer

    async def log_in(self, token: str, path: str = "/") -> Answer:
        return await self.post("/login", {"token": token, "next": path})

    @property
    def client(self) -> Client:
        """Its scripts."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return Client(self._client.port, {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# --- tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/statistics", "/api/v1/events", "/api/v1/audit/export", "/metrics"])
async def test_without_a_token_nothing_is_told(path: str) -> None:
    async with open_guarded() as place:
        answer = await place.client.ask("GET", path)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="resroute"'
        assert place.router.statistics().sessions == 0
        for method in ("POST", "DELETE", "PATCH"):
            body = b"" if method == "DELETE" else b"{}"
            answer = await place.client.ask(method, "/api/v1/resources/a", body)
            assert answer.status in (401, 405)
        for public in ("/healthz", "/readyz", "/static/icon.svg", "/login"):
            assert (await place.client.ask("GET", public)).status == 200


@pytest.mark.parametrize(("token", "subject"), [(ADA, "ada"), (BOB, "bob")])
async def test_who_has_a_token_gets_in_and_the_audit_log_says_who(token: str, subject: str) -> None:
    async with open_guarded() as place:
        await place.instance("ada", "a")
        answer = await place.client.ask("DELETE", "/api/v1/resources/a", headers=bearer(token))
        assert answer.status == 200
        told = (await place.client.ask("GET", "/api/v1/audit", headers=bearer(token))).result()
        assert told["records"][0]["actor"]["subject"] == subject
        assert (await place.client.ask("GET", "/metrics", headers=bearer(token))).status == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Basic YWRhOmFkYQ==",
        f"Bearer {ADA}x",
        f"Bearer {ADA[:-1]}",
        f"Bearer ada:{ADA}",
        f"Bearer {TOKENS[1].removeprefix('bob:')}",
        "Bearer " + "x" * 10_000,
        "Bearer \xff\xfe",
        ADA,
    ],
)
async def test_anything_else_does_not(header: str) -> None:
    async with open_guarded() as place:
        answer = await place.client.ask("GET", "/api/v1/statistics", headers={"Authorization": header})
        assert answer.problem_type() == (401, "unauthenticated")


async def test_who_guesses_is_slowed_down_even_when_it_guesses_right() -> None:
    async with open_guarded() as place:
        with capture_logs() as logs:
            for _ in range(throttle.FREE_FAILURES + 1):
                answer = await place.client.ask("GET", "/api/v1/statistics", headers=bearer("x" * 20))
                assert answer.status == 401
        told = [line for line in logs if line["event"] == "a wrong token for the admin pages"]
        assert [line["remote_address"] for line in told] == ["127.0.0.1"] * (throttle.FREE_FAILURES + 1)
        assert "x" * 20 not in str(logs)
        answer = await place.client.ask("GET", "/api/v1/statistics", headers=bearer(ADA))
        assert answer.problem_type() == (429, "rate_limited")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.problem()["retry_after_seconds"] > 0
        browser = Browser(place)
        page = await browser.log_in(ADA)
        assert page.status == 429
        assert "Too many tries" in page.text
        assert not browser.cookies


def test_an_address_waits_longer_with_each_failure_and_is_forgotten_in_the_end() -> None:
    now = 0.0
    guessing = Throttle(lambda: now)
    for _ in range(throttle.FREE_FAILURES):
        guessing.failed("192.0.2.1")
    assert guessing.wait_seconds("192.0.2.1") == 0
    waits = []
    for _ in range(8):
        guessing.failed("192.0.2.1")
        waits.append(guessing.wait_seconds("192.0.2.1"))
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    assert guessing.wait_seconds("192.0.2.2") == 0
    now = throttle.FORGET_SECONDS + 1
    guessing.failed("192.0.2.1")
    assert guessing.wait_seconds("192.0.2.1") == 0
    for _ in range(10):
        guessing.failed("192.0.2.1")
    guessing.succeeded("192.0.2.1")
    assert (guessing.wait_seconds("192.0.2.1"), len(guessing)) == (0, 0)


def test_addresses_of_one_network_of_ipv6_wait_together() -> None:
    guessing = Throttle(lambda: 0.0)
    for number in range(throttle.FREE_FAILURES + 1):
        guessing.failed(f"2001:db8:0:1::{number:x}")
    assert guessing.wait_seconds("2001:db8:0:1:ffff::1") > 0
    assert guessing.wait_seconds("2001:db8:0:2::1") == 0
    assert guessing.wait_seconds("nonsense") == 0


def test_it_remembers_only_so_many_addresses() -> None:
    guessing = Throttle(lambda: 0.0)
    for number in range(throttle.MAX_ADDRESSES + 10):
        guessing.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(guessing) == throttle.MAX_ADDRESSES


# --- logins -----------------------------------------------------------------------------------------------


async def test_a_browser_logs_in_and_its_scripts_may_read() -> None:
    async with open_guarded() as place:
        browser = Browser(place)
        page = await browser.get("/login?next=/resources")
        assert 'name="next" value="/resources"' in page.text
        answer = await browser.log_in(ADA, "/resources")
        assert (answer.status, answer.headers["location"]) == (303, "/resources")
        [cookie] = answer.cookies
        assert re.fullmatch(
            rf"resroute_{place.client.port}=[A-Za-z0-9_-]{{43}}; HttpOnly; Path=/; SameSite=Strict", cookie
        )
        assert (await browser.client.get("/api/v1/statistics"))["sessions"] == 1
        assert (await browser.get("/login?next=/audit")).headers["location"] == "/audit"


@pytest.mark.parametrize(
    ("said", "is_secure"),
    [("https", True), ("HTTPS, http", True), ("http", False), ("http, https", False), ("", False)],
)
async def test_a_cookie_of_a_browser_that_speaks_tls_with_a_proxy_goes_nowhere_else(
    said: str, is_secure: bool
) -> None:
    async with open_guarded() as place:
        answer = await Browser(place).post("/login", {"token": ADA}, X_Forwarded_Proto=said)
        assert ("; Secure;" in answer.cookies[0]) is is_secure


async def test_a_wrong_token_is_refused_on_the_page() -> None:
    async with open_guarded() as place:
        browser = Browser(place)
        answer = await browser.log_in("wrong", '"><script>')
        assert answer.status == 401
        assert "not known" in answer.text
        assert "<script>" not in answer.text
        assert not browser.cookies


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example", "", "x", "/a\r\nb", "/é"]
)
async def test_nobody_is_sent_elsewhere_after_logging_in(path: str) -> None:
    async with open_guarded() as place:
        answer = await Browser(place).log_in(ADA, path)
        assert (answer.status, answer.headers["location"]) == (303, "/")


async def test_a_script_changes_nothing_without_the_token_of_its_page() -> None:
    async with open_guarded() as place:
        await place.instance("ada", "a")
        browser = Browser(place)
        await browser.log_in(ADA)
        for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "x" * 43}):
            answer = await browser.client.ask("DELETE", "/api/v1/resources/a", headers=headers)
            assert answer.problem_type() == (403, "about:blank")
        csrf_token = next(iter(place.access.logins._logins.values())).csrf_token
        headers = {"X-CSRF-Token": csrf_token}
        for foreign in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "null"},
        ):
            answer = await browser.client.ask("DELETE", "/api/v1/resources/a", headers=headers | foreign)
            assert answer.problem_type() == (403, "about:blank")
        assert (await browser.client.get("/api/v1/resources"))["total_count"] == 1
        answer = await browser.client.ask("DELETE", "/api/v1/resources/a", headers=headers)
        assert answer.status == 200


@pytest.mark.parametrize("value", ["", "x", "x" * 43, "x" * 4000, "\xff", "a=b", '"quoted"'])
async def test_a_forged_cookie_is_worth_nothing(value: str) -> None:
    async with open_guarded() as place:
        await Browser(place).log_in(ADA)
        cookie = f"resroute_{place.client.port}={value}"
        answer = await place.client.ask("GET", "/api/v1/statistics", headers={"Cookie": cookie})
        assert answer.problem_type() == (401, "unauthenticated")


@pytest.mark.parametrize("route", ROUTES, ids=[route.name for route in ROUTES])
async def test_no_operation_is_for_who_may_not(route: Route) -> None:
    async with open_guarded() as place:
        await place.instance("ada", "a")
        browser = Browser(place)
        await browser.log_in(ADA)
        [(name, value)] = browser.cookies.items()
        csrf_token = next(iter(place.access.logins._logins.values())).csrf_token
        path = API + re.sub(r"\{\w+\}", "a", route.path)
        body = b"" if route.verb in ("GET", "DELETE") else b"{}"
        cookie, script = {"Cookie": f"{name}={value}"}, {"X-CSRF-Token": csrf_token}
        refused: list[tuple[int, dict[str, str]]] = [
            (401, {}),
            (401, {"Cookie": f"{name}={value[::-1]}"}),
            (401, {"Cookie": f"{name[:-1]}={value}"}),
            (401, {"Authorization": "Bearer " + value}),
            (401, {**cookie, "Authorization": "Bearer x"}),
            (403, {**cookie, **script, "Origin": "https://evil.example"}),
            (403, {**cookie, **script, "Sec-Fetch-Site": "cross-site"}),
        ]
        if route.verb != "GET":
            refused += [(403, cookie), (403, {**cookie, "X-CSRF-Token": csrf_token[::-1]})]
        for status, headers in refused:
            told = {"Content-Type": "application/json", **headers}
            answer = await place.client.ask(route.verb, path, body, headers=told)
            assert answer.problem()["status"] == status, headers
        assert place.router.statistics().resources == 1


async def test_who_logs_out_is_out_everywhere() -> None:
    async with open_guarded() as place:
        browser = Browser(place)
        await browser.log_in(ADA)
        before = browser.client
        csrf_token = next(iter(place.access.logins._logins.values())).csrf_token
        async with open_events(before) as stream:
            await stream.next()
            assert (await browser.post("/logout", {"csrf_token": "x"})).status == 403
            answer = await browser.post("/logout", {"csrf_token": csrf_token})
            assert (answer.status, answer.headers["location"]) == (303, "/login")
            with pytest.raises(EOFError):
                await stream.next()
        assert not browser.cookies
        assert (await before.ask("GET", "/api/v1/statistics")).status == 401
        assert len(place.access.logins) == 0
        # again does no harm
        assert (await browser.post("/logout", {})).status == 303


async def test_logging_in_again_ends_the_login_before() -> None:
    async with open_guarded() as place:
        browser = Browser(place)
        await browser.log_in(ADA)
        before = browser.client
        await browser.log_in(BOB)
        assert (await before.ask("GET", "/api/v1/statistics")).status == 401
        assert len(place.access.logins) == 1


async def test_a_token_that_is_withdrawn_ends_its_logins() -> None:
    async with open_guarded() as place:
        browser = Browser(place)
        await browser.log_in(ADA)
        place.access.change_tokens(AdministratorTokens(TOKENS[1:]))
        assert (await browser.client.ask("GET", "/api/v1/statistics")).status == 401
        answer = await place.client.ask("GET", "/api/v1/statistics", headers=bearer(ADA))
        assert answer.status == 401
        answer = await place.client.ask("GET", "/api/v1/statistics", headers=bearer(BOB))
        assert answer.status == 200


async def test_one_of_several_tokens_that_is_withdrawn_ends_what_was_begun_with_it() -> None:
    new = "0123456789abcdef-new"
    both = AdministratorTokens([*TOKENS, f"ada:{new}"])
    async with open_place(tokens=both) as place:
        thief, ada = Browser(place), Browser(place)
        await thief.log_in(ADA)
        await ada.log_in(new)
        async with (
            open_events(place.client, **bearer(ADA)) as stolen,
            open_events(place.client, **bearer(new)) as own,
            open_events(thief.client) as shown,
        ):
            for stream in (stolen, own, shown):
                await stream.next()
            place.access.change_tokens(AdministratorTokens([f"ada:{new}"]))
            for stream in (stolen, shown):
                with pytest.raises(EOFError):
                    await stream.next()
            assert (await thief.client.ask("GET", "/api/v1/statistics")).status == 401
            assert (await ada.client.ask("GET", "/api/v1/statistics")).status == 200
            await place.instance("ada", "a")
            assert await own.changes() == [("registered", "a")]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"token=%ff", FORM, 400),
        (b"a=1&" * 3000, FORM, 400),
        (b"x" * 10_000_000, FORM, 413),
        (b"{}", "application/json", 415),
        (b"", "", 415),
    ],
)
async def test_a_form_that_is_none_is_refused(body: bytes, kind: str, status: int) -> None:
    async with open_guarded() as place:
        answer = await place.client.ask("POST", "/login", body, headers={"Content-Type": kind})
        assert answer.status == status


async def test_a_page_of_another_site_logs_nobody_in() -> None:
    async with open_guarded() as place:
        browser = Browser(place)
        for headers in (
            {"Origin": "https://evil.example"},
            {"Sec_Fetch_Site": "cross-site"},
            {"Origin": "http://["},
        ):
            assert (await browser.post("/login", {"token": ADA}, **headers)).status == 403
        assert not browser.cookies


def test_a_login_ends_when_it_is_idle_or_old() -> None:
    now = 0.0
    table = Logins(lambda: now)
    value = table.begin(KnownToken("ada", b""))
    ended: list[str] = []
    login = table.find(value)
    assert login is not None
    login.when_over(lambda: ended.append("over"))
    undo = login.when_over(lambda: ended.append("undone"))
    undo()
    while now <= logins.MAX_SECONDS:
        assert table.find(value) is login
        now += logins.IDLE_SECONDS - 1
    assert table.find(value) is None
    assert (ended, len(table)) == (["over"], 0)
    value = table.begin(KnownToken("ada", b""))
    now += logins.IDLE_SECONDS + 1
    table.expire()
    assert (table.find(value), len(table)) == (None, 0)


def test_there_are_no_more_logins_than_allowed() -> None:
    now = 0.0
    table = Logins(lambda: now)
    values = [table.begin(KnownToken("ada", b"")) for _ in range(logins.MAX_LOGINS)]
    assert table.find(values[0]) is not None
    table.begin(KnownToken("bob", b""))
    assert len(table) == logins.MAX_LOGINS
    assert table.find(values[0]) is not None
    assert table.find(values[1]) is None


# --- without authentication -------------------------------------------------------------------------------


async def test_without_any_token_everybody_on_this_machine_is_an_administrator() -> None:
    async with open_place() as place:
        assert (await place.client.ask("GET", "/api/v1/statistics")).status == 200
        assert (await place.client.ask("GET", "/api/v1/statistics", headers=bearer("any"))).status == 200
        assert (await Browser(place).get("/login")).headers["location"] == "/"


async def test_and_pages_of_other_sites_are_none_of_them() -> None:
    async with open_place() as place:
        await place.instance("ada", "a")
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            # as an address with a name and a password in it makes browsers say
            {"Sec-Fetch-Site": "cross-site", "Authorization": "Basic eDp5"},
            {"Host": "evil.example"},
        ):
            answer = await place.client.ask("DELETE", "/api/v1/resources/a", headers=headers)
            assert answer.problem_type() == (403, "about:blank")
        assert (await place.client.get("/api/v1/resources"))["total_count"] == 1


async def test_elsewhere_nobody_gets_in_without_a_token() -> None:
    async with open_place() as place:
        place.access.is_local = False
        answer = await place.client.ask("GET", "/api/v1/statistics")
        assert answer.problem_type() == (401, "unauthenticated")
        answer = await place.client.ask("GET", "/api/v1/statistics", headers=bearer("any-token-there-is"))
        assert answer.problem_type() == (401, "unauthenticated")


async def test_with_tokens_any_name_of_the_machine_will_do() -> None:
    async with open_guarded() as place:
        answer = await place.client.ask(
            "GET", "/api/v1/statistics", headers={**bearer(ADA), "Host": "router.example"}
        )
        assert answer.status == 200


# --- where tokens come from -------------------------------------------------------------------------------


def test_tokens_come_from_settings_and_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# who may\n\n  cyd:{ADA}  \n{BOB}\n")
    settings = Settings(admin_tokens=("ada:aaaaaaaaaaaaaaaa",), admin_tokens_file=str(path))
    tokens = AdministratorTokens.read(settings)
    for token, subject in {"aaaaaaaaaaaaaaaa": "ada", ADA: "cyd", BOB: "administrator"}.items():
        known = tokens.find(token)
        assert known is not None
        assert known.subject == subject
        assert known in tokens
        assert known not in AdministratorTokens(TOKENS)
    assert tokens.find("") is None
    assert ADA not in repr(settings)
    assert "aaaaaaaaaaaaaaaa" not in repr(settings)


@pytest.mark.parametrize(
    "text", ["", "# nothing", "short", "a b:0123456789abcdef", "ada:sha256:zz", "\udcff"]
)
def test_a_file_that_holds_no_tokens_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CannotReadTokens) as caught:
        AdministratorTokens.read(Settings(admin_tokens_file=str(path)))
    assert str(caught.value).startswith(f"admin_tokens_file {path}")
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    "token", ["", "short", "ada:short", "a/b:0123456789abcdef", "ada:sha256:00", "ada:x y"]
)
def test_a_setting_that_is_no_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        Settings(admin_tokens=("ada:0123456789abcdef", token))
    assert "number 2" in str(caught.value)
    assert not token or token not in str(caught.value)
