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
from typing import Literal

import axe_playwright_python  # type: ignore[import-untyped]
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

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
    expect(page.get_by_role("heading", name=re.compile(r"^10.000 resources$"))).to_be_visible()

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


def test_who_is_logged_out_in_the_middle_loses_nothing_but_time(
    context: BrowserContext, router: Served
) -> None:
    page = log_in(context, router, "resource?id=room:00005")
    page.get_by_label("To the instance").fill("bob")
    elsewhere = see(context, router, "settings")
    elsewhere.get_by_role("button", name="Log out").click()
    expect(elsewhere.get_by_label("Administrator token")).to_be_visible()
    page.get_by_role("button", name="Hand over …").click()
    expect(page.get_by_role("alert")).to_contain_text("what you asked for was not done")
    page.get_by_label("Administrator token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Resource room:00005")).to_be_visible()
    expect(page.get_by_role("definition").first).to_have_text("ada")


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
    "service": "services?service_name=rooms",
    "instance": "instance?id=ada",
    "resources": "resources?tags=garden",
    "search": "resources?id=oom:0042",
    "nothing": "resources?id=nowhere",
    "resource": "resource?id=room:00003",
    "unowned": "resource?id=nobody",
    "missing": "instance?id=nobody",
    "live": "live",
    "audit": "audit",
    "settings": "settings",
    "api": "docs",
}
SCREENS = {"large": {"width": 1200, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.mark.slow
@pytest.mark.parametrize("scripted", [True, False], ids=["with scripts", "without"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_used_by_everybody(
    browser: Browser, router: Served, scheme: Literal["light", "dark"], scripted: bool
) -> None:
    """axe-core finds nothing serious, in either colours, on a small screen and on a large one, with and without scripts."""
    context = browser.new_context(color_scheme=scheme)
    context.set_default_timeout(TIMEOUT_MS)
    if not scripted:  # those of the pages: axe-core is one itself
        context.route("**/static/*.js", lambda route: route.abort())
    page = context.new_page()
    page.goto(router.admin_url)
    assert serious(page) == []
    page = log_in(context, router)
    for name, path in PAGES.items():
        page.goto(router.admin_url + path)
        for screen, size in SCREENS.items():
            page.set_viewport_size(size)  # type: ignore[arg-type]  # a TypedDict of just these
            assert serious(page) == [], (name, screen)
            wider = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wider <= 0, f"{name} is wider than a {screen}"
    question = ask_for_a_hand_over(page, router)
    assert serious(question) == []
    context.close()


def ask_for_a_hand_over(page: Page, router: Served) -> Page:
    """The page that asks whether somebody means it."""
    page.goto(f"{router.admin_url}resource?id=room:00003")
    page.get_by_label("To the instance").fill("bob")
    page.get_by_role("button", name="Hand over …").click()
    expect(page.get_by_role("button", name="Hand over")).to_be_visible()
    return page


@pytest.mark.slow
def test_pictures_of_the_documentation(browser: Browser, router: Served) -> None:
    """After a minute, so that charts have something to show. Without a folder for them there are none."""
    if "RESROUTE_SCREENSHOTS" not in os.environ:
        pytest.skip("no pictures are wanted")
    for scheme, screen, shots in (
        (
            "light",
            "large",
            {"admin-overview": "", "admin-instance": "instance?id=ada", "admin-resources": "resources?id=42"},
        ),
        ("dark", "phone", {"admin-phone": ""}),
    ):
        context = browser.new_context(color_scheme=scheme, viewport=SCREENS[screen])  # type: ignore[arg-type]
        page = log_in(context, router, "instance?id=ada")
        page.wait_for_timeout(40_000)
        for name, path in shots.items():
            page.goto(router.admin_url + path)
            if not path:
                expect(page.get_by_role("heading", name="Nothing is wrong")).to_be_visible(timeout=120_000)
            page.wait_for_timeout(3000)
            picture(page, name)
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


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until something has the focus, which must be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted.evaluate("it => it === document.activeElement"):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"Tab does not lead to {wanted}")


@pytest.mark.slow
def test_everything_is_in_reach_of_the_keyboard(context: BrowserContext, router: Served) -> None:
    page = context.new_page()
    page.goto(f"{router.admin_url}resources")
    page.keyboard.type(TOKEN)  # the field has the focus
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Id", exact=True)).to_be_focused()
    page.keyboard.type("00042")
    expect(page.get_by_role("heading", name="1 resource")).to_be_visible()
    expect(page.get_by_label("Id", exact=True)).to_be_focused()

    # selecting all that are shown, and saying no
    tab_to(page, page.get_by_label("Select all that are shown"))
    page.keyboard.press("Space")
    expect(page.get_by_label("Select room:00042")).to_be_checked()
    expect(page.get_by_text("With those that are selected (1)")).to_be_visible()
    tab_to(page, page.get_by_role("button", name="Release …"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Release room:00042?")).to_be_visible()
    tab_to(page, page.get_by_role("link", name="Leave it as it is"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="1 resource")).to_be_visible()

    # handing over, and saying yes
    tab_to(page, page.get_by_role("link", name="room:00042"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("To the instance"))
    page.keyboard.type("bob")
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("button", name="Hand over"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("room:00042 was handed over to bob.")


@pytest.mark.slow
def test_without_scripts_everything_works_that_works_with_them(browser: Browser, router: Served) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    context.set_default_timeout(TIMEOUT_MS)
    page = log_in(context, router, "resources")
    page.get_by_label("Tags").fill("floor-7, street")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("heading", name=re.compile(r"^\d+ resources$"))).to_be_visible()
    expect(page.get_by_label("Select all that are shown")).to_be_hidden()
    for box in page.get_by_role("checkbox").all()[:2]:
        box.check()
    page.get_by_label("Instance to hand over to").fill("bob")
    page.get_by_role("button", name="Hand over …").click()
    page.get_by_role("button", name="Hand over").click()
    expect(page.get_by_role("status")).to_have_text("2 resources handed over.")
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("and 1 more")
    expect(page.get_by_role("row").nth(1)).to_contain_text("grace")
    page.goto(f"{router.admin_url}live")
    expect(page.get_by_text("without it, load it again")).to_be_visible()
    expect(page.get_by_role("row").nth(1)).to_contain_text("transferred")
    page.goto(f"{router.admin_url}instance?id=bob")
    page.get_by_role("button", name="Drain …").click()
    expect(page.get_by_role("heading", name="Drain bob?")).to_be_visible()
    page.get_by_role("link", name="Leave it as it is").click()
    expect(page.get_by_text("healthy")).to_be_visible()
    context.close()
