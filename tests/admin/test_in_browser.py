"""The pages in Chromium, as people use them.

With RESROUTE_SCREENSHOTS set to a folder, the pictures of the documentation are made there.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import axe_playwright_python  # type: ignore[import-untyped]
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.admin.furnishing import RARE, RESOURCES
from tests.docs.running import ROOT, environment
from tests.javascript.browsing import NoBrowser, Served, open_browser, serve

TIMEOUT_MS = 30_000
expect.set_options(timeout=TIMEOUT_MS)
ROOM = {"max_resources_per_instance": str(2 * RESOURCES)}
TOKEN = "0123456789abcdef-grace"
RARE_ROOM = f"room:{RARE:05}"
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without it the test is skipped, and says so."""
    try:
        with open_browser() as browser:
            yield browser
    except NoBrowser:
        pytest.skip("Chromium is not installed: the admin pages are NOT tested in a browser")


@contextmanager
def furnished(url: str) -> Iterator[None]:
    """Instances with many resources, for the length of the block."""
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.admin.furnishing", url],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            yield
        finally:
            program.kill()


@pytest.fixture(scope="module")
def router() -> Iterator[Served]:
    with serve(0, 0, admin_tokens=f"grace:{TOKEN}", **ROOM) as router, furnished(router.url):
        yield router


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of its own, on whose console nobody may complain of what a policy forbids."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(TIMEOUT_MS)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    yield context
    context.close()
    # a refused request is told on the console, too
    assert not [text for text in complaints if "Failed to load resource" not in text]


def log_in(context: BrowserContext, router: Served, path: str = "") -> Page:
    """A page that was asked for by somebody who had to log in first."""
    page = context.new_page()
    page.goto(router.admin_url + path)
    page.get_by_label("Administrator token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    return page


def see(context: BrowserContext, router: Served, path: str) -> Page:
    page = context.new_page()
    page.goto(router.admin_url + path)
    return page


def picture(page: Page, name: str) -> None:
    """One for the documentation, if they are wanted."""
    folder = os.environ.get("RESROUTE_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_a_person_finds_a_resource_hands_it_over_and_sees_that_everywhere(
    context: BrowserContext, router: Served
) -> None:
    page = log_in(context, router, "resources")
    expect(page.get_by_role("heading", name=f"{RESOURCES} resources")).to_be_visible()

    # it is found while the tag is typed
    page.get_by_label("Tags").press_sequentially("rare")
    expect(page.get_by_role("heading", name="1 resource")).to_be_visible()
    expect(page).to_have_url(re.compile(r"tags=rare"))
    live = see(context, router, "live?prefix=room:")
    expect(live.locator("#live-state")).to_contain_text("as it happens")
    watching = see(context, router, f"resource?id={RARE_ROOM}")
    expect(watching.get_by_role("definition").first).to_have_text("ada")

    page.get_by_role("link", name=RARE_ROOM).click()
    page.get_by_label("To the instance").fill("bob")
    page.get_by_label("Reason").fill("less to do there")
    page.get_by_role("button", name="Hand over …").click()
    expect(page.get_by_role("heading", name=f"Hand {RARE_ROOM} over to bob?")).to_be_visible()
    page.get_by_role("button", name="Hand over").click()
    expect(page.get_by_role("status")).to_have_text(f"{RARE_ROOM} was handed over to bob.")
    expect(page).not_to_have_url(re.compile("said="))

    # both others change by themselves
    row = live.get_by_role("row").filter(has_text=RARE_ROOM)
    expect(row).to_contain_text("transferred")
    expect(row).to_contain_text("bob")
    expect(watching.get_by_role("definition").first).to_have_text("bob")

    page.get_by_role("link", name="In the audit log").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("grace")
    expect(page.get_by_role("row").nth(1)).to_contain_text("less to do there")
    picture(live, "admin-live")


def test_charts_are_drawn_as_it_happens_and_fetched_where_that_cannot_be(
    context: BrowserContext, router: Served
) -> None:
    page = log_in(context, router)
    figures = page.locator("[data-stream]")
    expect(figures).to_have_attribute("data-live", "")
    # from here on nothing is fetched any more, and still they change
    page.route(router.admin_url, lambda route: route.abort())
    drawn = figures.inner_html()
    expect(page.locator("#stale")).to_be_visible()
    assert changed(page, drawn)

    without = context.new_page()
    without.route("**/figures", lambda route: route.fulfill(status=503))
    without.goto(router.admin_url)
    drawn = without.locator("[data-stream]").inner_html()
    assert changed(without, drawn)
    expect(without.locator("[data-stream]")).not_to_have_attribute("data-live", "")


def changed(page: Page, drawn: str) -> bool:
    """Wait until the figures are drawn otherwise than they were."""
    page.wait_for_function("drawn => document.querySelector('[data-stream]').innerHTML !== drawn", arg=drawn)
    return True


def test_a_version_conflict_loses_nothing(context: BrowserContext, router: Served) -> None:
    mine = log_in(context, router, "resource?id=room:00001")
    theirs = see(context, router, "resource?id=room:00001")
    theirs.get_by_label("Tags, with commas").fill("theirs")
    theirs.get_by_role("button", name="Save …").click()
    theirs.get_by_role("button", name="Save").click()
    expect(theirs.get_by_role("status")).to_contain_text("Saved as version")

    mine.get_by_label("Tags, with commas").fill("mine")
    mine.get_by_role("button", name="Save …").click()
    expect(mine.get_by_role("alert").first).to_contain_text("Somebody else has changed it meanwhile")
    expect(mine.get_by_role("alert").first).to_contain_text("theirs")
    expect(mine.get_by_label("Tags, with commas")).to_have_value("mine")
    mine.get_by_role("alert").first.scroll_into_view_if_needed()
    picture(mine, "admin-conflict")
    mine.get_by_role("button", name="Save …").click()
    mine.get_by_role("button", name="Save").click()
    expect(mine.get_by_role("status")).to_contain_text("Saved as version")
    expect(mine.get_by_label("Tags, with commas")).to_have_value("mine")


@pytest.mark.slow
def test_a_resource_is_called_from_its_page(context: BrowserContext, router: Served) -> None:
    page = log_in(context, router, "resource?id=room:00002")
    page.get_by_label("Method").fill("greet")
    page.get_by_label("Params").fill('{"name": "Grace"}')
    page.get_by_role("button", name="Call …").click()
    expect(page.get_by_role("heading", name="Call greet of room:00002?")).to_be_visible()
    page.get_by_role("button", name="Call").click()
    expect(page.get_by_role("status")).to_contain_text('"Hello Grace"')


@pytest.mark.slow
def test_who_logs_out_in_one_window_is_out_in_all(context: BrowserContext, router: Served) -> None:
    page = log_in(context, router)
    live = see(context, router, "live")
    expect(live.locator("#live-state")).to_contain_text("as it happens")
    overview = see(context, router, "")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Administrator token")).to_be_visible()
    expect(live.locator("#live-state")).to_contain_text("load this page again")
    expect(overview.get_by_label("Administrator token")).to_be_visible()  # by itself, when it looked again
    live.reload()
    expect(live.get_by_label("Administrator token")).to_be_visible()


@pytest.mark.slow
def test_pages_go_on_when_the_router_has_come_back(browser: Browser) -> None:
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    with serve() as first:
        port, admin_port = first.ports
        live = see(context, first, "live")
        overview = see(context, first, "")
        expect(live.locator("#live-state")).to_contain_text("as it happens")
        first.kill()
        expect(live.locator("#live-state")).to_contain_text("Connecting again")
        expect(overview.locator("#stale")).to_be_visible()
    with serve(port, admin_port, **ROOM), furnished(f"ws://127.0.0.1:{port}/"):
        expect(live.locator("#live-state")).to_contain_text("as it happens")
        expect(overview.locator("#stale")).to_have_count(0)
        expect(overview.get_by_role("link", name="rooms").first).to_be_visible()
    context.close()


PAGES = {
    "overview": "",
    "services": "services",
    "instance": "instance?id=ada",
    "resources": "resources?tags=garden",
    "resource": "resource?id=room:00003",
    "live": "live",
    "audit": "audit",
    "settings": "settings",
    "api": "docs",
}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_used_by_everybody(browser: Browser, router: Served, scheme: str) -> None:
    """axe-core finds nothing serious, in either colours, on a small screen and on a large one."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1200, "height": 900})  # type: ignore[arg-type]
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page.goto(router.admin_url)
    assert serious(page) == []
    page = log_in(context, router)
    for name, path in PAGES.items():
        page.set_viewport_size({"width": 1200, "height": 900})
        page.goto(router.admin_url + path)
        assert serious(page) == [], name
        if name == "overview" and scheme == "light":
            picture(page, "admin-overview")
        page.set_viewport_size({"width": 360, "height": 740})
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{name} is wider than a phone"
        assert serious(page) == [], name
        if name == "overview" and scheme == "dark":
            picture(page, "admin-phone")
    context.close()


def serious(page: Page) -> list[str]:
    """What axe-core has to say that is serious, or worse."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run()")
    return [
        f"{it['id']}: {node['html']}"
        for it in found["violations"]
        if it["impact"] in ("serious", "critical")
        for node in it["nodes"]
    ]


@pytest.mark.slow
def test_everything_is_in_reach_of_the_keyboard(context: BrowserContext, router: Served) -> None:
    page = log_in(context, router, "resources?tags=rare")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Id begins with")).to_be_focused()
    for _ in range(6):  # the other fields, and the button
        page.keyboard.press("Tab")
    expect(page.get_by_role("checkbox")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_role("checkbox")).to_be_checked()
