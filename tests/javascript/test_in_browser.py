"""The JavaScript SDK in Chromium, on pages that the router's own admin server serves."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.javascript.browsing import NoBrowser, Served, launch, open_browser, serve

TIMEOUT_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without it the test is skipped, and says so."""
    expect.set_options(timeout=TIMEOUT_MS)
    try:
        with open_browser() as browser:
            yield browser
    except NoBrowser:
        pytest.skip("Chromium is not installed: the JavaScript SDK is NOT tested in a browser")


@pytest.fixture
def router() -> Iterator[Served]:
    with serve() as router:
        yield router


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    yield context
    context.close()


BREAKS = ("WebSocket connection to", "Failed to load resource: net::ERR_")
"""What Chromium says of a connection that breaks. What a router refuses it tells with its status."""


@pytest.fixture
def open_page(context: BrowserContext, router: Served) -> Iterator[Callable[[], Page]]:
    """Opens the example, which then may say nothing on the console but that connections break."""
    complaints: list[str] = []

    def open_page() -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(f"{router.admin_url}static/example.html?url={router.url}")
        return page

    yield open_page
    assert not [text for text in complaints if not any(words in text for words in BREAKS)]


PRELUDE = """
    const url = new URLSearchParams(location.search).get("url");
    const resroute = await import("/static/resroute.js");
    const open = () => resroute.connect(url, { reconnect: { baseSeconds: 0.05, capSeconds: 0.5 } });
    const until = async (isSo) => {
        while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 10));
    };
    const failure = (promise) => promise.then(() => { throw new Error("it did not fail"); }, (error) => error);
"""


def run(page: Page, program: str) -> Any:
    """What a program returns that uses the module in a page."""
    return page.evaluate(f"async () => {{ {PRELUDE} {program} }}")


def test_calls_go_to_and_fro_and_are_cancelled(open_page: Callable[[], Page]) -> None:
    told = run(
        open_page(),
        """
        const [owner, caller] = [await open(), await open()];
        const seen = [];
        const instance = await owner.registerInstance("sums", {
            add: ({ a, b }) => a + b,
            async *count({ to }) { for (let n = 1; n <= to; n++) yield n; return "done"; },
            hold: (params, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => {
                seen.push(signal.reason.name);
                reject(signal.reason);
            })),
        });
        await instance.register(["sum:1"]);
        const at = { resourceId: "sum:1" };
        const sum = await caller.call("add", { a: 2, b: 3 }, at);
        const call = caller.call("count", { to: 3 }, { ...at, progress: true });
        const parts = [];
        for await (const part of call) parts.push(part);
        const controller = new AbortController();
        const held = failure(caller.call("hold", {}, { ...at, signal: controller.signal }));
        await until(() => instance.callsServing === 1);
        controller.abort();
        const { name } = await held;
        await until(() => seen.length);
        const error = await failure(caller.call("add", {}, { resourceId: "sum:2" }));
        await Promise.all([owner.close(), caller.close()]);
        return { sum, parts, result: await call, name, seen, error: [error instanceof resroute.RouterError, error.type] };
        """,
    )
    assert told == {
        "sum": 5,
        "parts": [1, 2, 3],
        "result": "done",
        "name": "AbortError",
        "seen": ["AbortError"],
        "error": [True, "resource_not_found"],
    }


def test_a_connection_that_breaks_in_the_middle_of_everything_is_made_anew(
    open_page: Callable[[], Page],
) -> None:
    told = run(
        open_page(),
        """
        const sockets = [];
        class Recorded extends WebSocket {
            constructor(...how) {
                super(...how);
                sockets.push(this);
            }
        }
        const owner = await open();
        const reconnect = { baseSeconds: 0.05, capSeconds: 0.5 };
        const caller = await resroute.connect(url, { WebSocket: Recorded, reconnect });
        const held = [];
        const instance = await owner.registerInstance("sums", {
            hold: (params, { idempotencyKey }) => new Promise((resolve) => held.push([idempotencyKey, resolve])),
        });
        await instance.register("sum:1");
        const watch = await caller.watch({ prefix: "sum:" });
        const at = { resourceId: "sum:1", timeoutSeconds: 20 };
        const once = failure(caller.call("hold", {}, at));
        const again = caller.call("hold", {}, { ...at, idempotent: true });
        await until(() => held.length === 2);
        sockets[0].close();
        await instance.register(["sum:2", "sum:3"]);
        const events = [];
        for await (const { event, resource } of watch) {
            events.push(`${event} ${resource.resource_id}`);
            if (events.length === 2) break;
        }
        await until(() => held.length === 3);
        held[2][1]("at last");
        const { constructor, delivery } = await once;
        const told = {
            lost: [constructor === resroute.ConnectionLost, delivery],
            again: await again,
            same: held[1][0] === held[2][0],
            events,
            connections: sockets.length,
        };
        await Promise.all([owner.close(), caller.close()]);
        return told;
        """,
    )
    assert told == {
        "lost": [True, "unknown"],
        "again": "at last",
        "same": True,
        "events": ["registered sum:2", "registered sum:3"],
        "connections": 2,
    }


def test_an_instance_and_a_watch_outlive_their_router(open_page: Callable[[], Page], router: Served) -> None:
    page = open_page()
    page.evaluate(
        f"""() => {{
        const begun = new Promise((resolve) => window.ready = resolve);
        window.outliving = (async () => {{ {PRELUDE}
        const client = await open();
        const changes = [];
        const onChange = (change) => change.kind === "regained" && changes.push(change);
        const instance = await client.registerInstance("sums", {{ add: ({{ a, b }}) => a + b }}, {{ onChange }});
        await instance.register(["sum:1", "sum:2"]);
        const watch = await client.watch({{ prefix: "sum:" }});
        const lost = failure(watch[Symbol.asyncIterator]().next());
        ready();
        await until(() => changes.length === 2);
        const sum = await client.call("add", {{ a: 2, b: 3 }}, {{ resourceId: "sum:2" }});
        const gone = await lost;
        await client.close();
        return {{ sum, kinds: changes.map(({{ kind, resourceId }}) => [kind, resourceId]), gone: gone.type }};
        }})();
        return begun; }}"""
    )
    router.kill()
    with serve(*router.ports):
        told = page.evaluate("window.outliving")
    assert told == {
        "sum": 5,
        "kinds": [["regained", "sum:1"], ["regained", "sum:2"]],
        "gone": "revision_gone",
    }


def test_a_page_that_wakes_up_connects_soon_but_not_sooner_than_the_router_wants(
    open_page: Callable[[], Page], context: BrowserContext
) -> None:
    page = open_page()
    page.evaluate(
        f"""async () => {{ {PRELUDE}
        window.sockets = [];
        class Recorded extends WebSocket {{
            constructor(...how) {{
                super(...how);
                sockets.push(this);
            }}
        }}
        const patient = {{ baseSeconds: 1e6, capSeconds: 1e6 }};
        window.client = await resroute.connect(url, {{ WebSocket: Recorded, reconnect: patient }});
        window.until = until;
        window.goAway = async () => {{
            sockets.at(-1).close();
            await until(() => !client.isConnected);
        }};
        }}"""
    )
    for wake in (
        'window.dispatchEvent(new Event("pageshow"))',
        'document.dispatchEvent(new Event("resume"))',
        'document.dispatchEvent(new Event("visibilitychange"))',
    ):
        page.evaluate(f"async () => {{ await goAway(); {wake}; await until(() => client.isConnected); }}")
    page.evaluate("goAway()")
    context.set_offline(True)
    context.set_offline(False)
    page.evaluate("until(() => client.isConnected)")
    assert page.evaluate("sockets.length") == 5
    page.evaluate(
        """async () => {
        const last = sockets.at(-1);
        const text = JSON.stringify({ jsonrpc: "2.0", method: "session.closing", params: { reconnect_after_seconds: 1000 } });
        last.dispatchEvent(new MessageEvent("message", { data: text }));
        await goAway();
        window.dispatchEvent(new Event("online"));
        await new Promise((resolve) => setTimeout(resolve, 700));
        }"""
    )
    assert page.evaluate("[sockets.length, client.isConnected]") == [5, False]
    page.evaluate("client.close()")


@pytest.mark.slow
def test_a_page_that_wakes_up_beside_a_silent_router_notices_soon(
    open_page: Callable[[], Page], router: Served
) -> None:
    page = open_page()
    page.evaluate(
        f"""async () => {{ {PRELUDE}
        window.states = [];
        window.client = await resroute.connect(url, {{ pingIntervalSeconds: 1e6 }});
        client.onState(({{ state, error }}) => states.push([state, error?.closeCode]));
        window.dispatchEvent(new Event("online"));
        await client.ping();
        }}"""
    )
    router.process.send_signal(signal.SIGSTOP)
    page.evaluate(
        """async () => {
        window.dispatchEvent(new Event("online"));
        await new Promise((resolve) => setTimeout(resolve, 6000));
        }"""
    )
    router.process.send_signal(signal.SIGCONT)
    assert page.evaluate("states[0]") == ["disconnected", 4011]
    page.evaluate("client.close()")


def name_of(page: Page) -> str:
    """What the instance of a tab is called, once it is one."""
    expect(page.locator("#self")).not_to_be_empty()
    return page.locator("#self").inner_text()


def test_the_example_works_in_several_tabs(open_page: Callable[[], Page]) -> None:
    first = open_page()
    expect(first.locator("#owner")).to_have_text(name_of(first))
    second = open_page()
    expect(second.locator("#owner")).to_have_text(name_of(first))
    for page in (first, second):
        expect(page.locator("#text")).to_be_enabled()
    second.locator("#text").fill("Once upon a time")
    expect(first.locator("#text")).to_have_value("Once upon a time")
    first.locator("#text").fill("Once upon a time there was a router")
    expect(second.locator("#text")).to_have_value("Once upon a time there was a router")
    first.close()
    expect(second.locator("#owner")).to_have_text(name_of(second))
    third = open_page()
    expect(third.locator("#text")).to_have_value("Once upon a time there was a router")


def test_the_example_goes_on_with_a_router_that_is_started_again(
    open_page: Callable[[], Page], router: Served
) -> None:
    page = open_page()
    expect(page.locator("#owner")).to_have_text(name_of(page))
    page.locator("#text").fill("kept")
    router.kill()
    expect(page.locator("#state")).to_contain_text("disconnected")
    with serve(*router.ports):
        expect(page.locator("#state")).to_have_text("connected")
        other = open_page()
        expect(other.locator("#text")).to_have_value("kept")
        other.locator("#text").fill("kept, and changed")
        expect(page.locator("#text")).to_have_value("kept, and changed")


def test_the_example_may_be_opened_before_its_router_is_there(
    open_page: Callable[[], Page], context: BrowserContext, router: Served
) -> None:
    page = context.new_page()
    with serve() as gone:
        pass
    page.goto(f"{router.admin_url}static/example.html?url={gone.url}")
    expect(page.locator("#state")).to_contain_text("refuses the connection. Is the router there?")
    port, _ = gone.ports
    _, admin_port = router.ports
    with serve(port, allowed_origins=f"http://127.0.0.1:{admin_port}"):
        expect(page.locator("#state")).to_have_text("connected")
        expect(page.locator("#owner")).to_have_text(name_of(page))


@pytest.mark.slow
def test_a_page_that_is_gone_back_to_is_connected_again(browser: Browser, router: Served) -> None:
    with launch(browser.browser_type, keep_pages=True) as keeping:
        page = keeping.new_page()
        page.goto(f"{router.admin_url}static/example.html?url={router.url}")
        expect(page.locator("#state")).to_have_text("connected")
        page.evaluate("window.kept = true")
        page.evaluate(f"() => void (location.href = '{router.admin_url}')")
        page.wait_for_url(router.admin_url)
        with page.expect_event("framenavigated"):
            page.evaluate("() => void setTimeout(() => history.back(), 10)")
        expect(page.locator("#state")).to_have_text("connected")
        expect(page.locator("#owner")).to_have_text(name_of(page))
        assert page.evaluate("window.kept"), "the page was loaded anew"


def test_a_page_of_somebody_else_may_not_connect(context: BrowserContext, router: Served) -> None:
    with serve() as other:
        page = context.new_page()
        page.goto(f"{other.admin_url}static/example.html?url={router.url}")
        expect(page.locator("#state")).to_contain_text("refuses the connection")
