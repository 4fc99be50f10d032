"""The pages that people see: all of them without any script, and what their forms do."""

import json
import re
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest
import trio
from trio.testing import MockClock

from resroute.admin.charts import chart
from resroute.admin.figure_stream import FigureStream
from resroute.admin.formats import ago, duration, grouped, many, milliseconds, rate, short
from resroute.admin.notices import MAX_NOTICES, Notice, Notices
from resroute.admin.pages.findings import InstanceStatus, findings
from resroute.admin.rendering import NAVIGATION
from resroute.admin.sampling import SAMPLES_LATELY, Sampler
from resroute.admin.streams import MAX_STREAMS
from resroute.ids import ServiceName
from resroute.protocol.results import ServiceStatistics, Statistics
from resroute.router import Router
from resroute.security.tokens import AdministratorTokens
from resroute.settings import Settings
from resroute.times import rfc3339
from tests.admin.asking import Answer, Place, Seen, open_place
from tests.admin.test_access import ADA, TOKENS, Browser, open_guarded

_VOID = {"meta", "link", "input", "img", "br"}


@attrs.define
class Form:
    """A form on a page, with what stands in its fields."""

    action: str
    fields: dict[str, str] = attrs.field(factory=dict)


class Page(HTMLParser):
    """What is on a page; fails if a tag is not closed, or a field has no label."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        assert answer.headers["content-type"] == "text/html; charset=utf-8", answer
        self.answer = answer
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.labelled: set[str] = set()
        self.unlabelled: list[dict[str, str]] = []
        self.words = ""
        self._open: list[str] = []
        self._textarea = ""
        self.feed(answer.text)
        self.close()
        assert self._open == []
        for field in self.unlabelled:
            assert field.get("id") in self.labelled or "aria-label" in field, field

    def handle_starttag(self, tag: str, found: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in found}
        assert "style" not in attributes, "the policy forbids it"
        assert not [name for name in attributes if name.startswith("on")]
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "a":
            self.links.append(attributes["href"])
        elif tag == "form":
            self.forms.append(Form(attributes["action"]))
        elif tag == "label":
            self.labelled.add(attributes.get("for", ""))
        elif tag in ("input", "select", "textarea") and self.forms:
            kind = attributes.get("type")
            if kind != "hidden":
                self.unlabelled.append(attributes)
            if kind != "checkbox":
                self.forms[-1].fields[attributes["name"]] = attributes.get("value", "")
            self._textarea = attributes["name"] if tag == "textarea" else ""

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["textarea"]:
            self.forms[-1].fields[self._textarea] = data
        self.words += data

    def form(self, action: str) -> Form:
        """The form that goes there."""
        [form] = [it for it in self.forms if it.action == action]
        return form

    def says(self, words: str) -> bool:
        """Whether these words are on it, whatever is between them."""
        return words in re.sub(r"\s+", " ", self.words)


async def see(browser: Browser, path: str, status: int = 200) -> Page:
    """Look at a page."""
    answer = await browser.get(path, Accept="text/html")
    assert answer.status == status, (answer.status, answer.text)
    return Page(answer)


async def send(browser: Browser, page: Page, action: str, **fields: str) -> Answer:
    """Fill in a form and send it."""
    return await browser.post(action, page.form(action).fields | fields)


async def confirm(browser: Browser, asking: Answer, action: str) -> Page:
    """Say yes to what a page asks, and look at the page that comes then."""
    assert asking.status == 200
    page = Page(asking)
    answer = await browser.post(action, page.form(action).fields)
    assert answer.status == 303, answer.text
    return await see(browser, answer.headers["location"])


async def send_and_confirm(browser: Browser, page: Page, action: str, **fields: str) -> Answer:
    """Fill in a form, send it, and say yes to what is asked then."""
    asking = await send(browser, page, action, **fields)
    assert asking.status == 200, asking.text
    return await browser.post(action, Page(asking).form(action).fields)


async def furnish(place: Place) -> None:
    """Some instances, and what they own."""
    ada = await place.instance("ada", "room:1", "room:2", "a/b")
    await ada.ask(
        "resource.update",
        resource_id="room:1",
        metadata={
            "resource_type": "<script>alert(1)</script>",
            "tags": ["premium", '"><img src=x onerror=alert(1)>'],
            "attributes": {"</textarea><script>": "&amp;"},
        },
    )
    await place.instance("bob")
    await place.instance("carl", "user:1", service="users")


PAGES = [
    *[path for path, _ in NAVIGATION],
    "/services?service_name=rooms",
    "/services?service_name=nobody&offset=100",
    "/instance?id=ada",
    "/resources?prefix=room:&tags=premium",
    "/resources?id=oom&tags=premium",
    "/resources?instance_id=carl&service_name=users&resource_type=x",
    "/resource?id=room:1",
    "/resource?id=nobody",
    "/audit?since=1h&event=released",
    "/live?prefix=user:&tags=a,b",
]


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_whole_and_its_links_lead_somewhere(path: str) -> None:
    async with open_place() as place:
        await furnish(place)
        browser = Browser(place)
        page = await see(browser, path)
        policy = page.answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy and "unsafe" not in policy
        assert page.answer.headers["referrer-policy"] == "same-origin"  # else forms come from nowhere
        assert "<script>alert" not in page.answer.text
        assert "onerror=alert" not in page.answer.text.replace("&gt;&lt;img src=x onerror=alert(1)&gt;", "")
        assert page.says("No authentication.")
        for link in dict.fromkeys(page.links):
            if link.startswith("#"):
                continue
            assert (await browser.get(link)).status == 200, link


async def test_a_name_that_paths_would_swallow_has_its_page() -> None:
    async with open_place() as place:
        await place.instance("..", ".", "..", "a/../b")
        browser = Browser(place)
        page = await see(browser, "/resources")
        for name in (".", "..", "a/../b"):
            [link] = [
                it
                for it in page.links
                if parse_qs(urlsplit(it).query) == {"id": [name]} and it[:10] == "/resource?"
            ]
            assert (await see(browser, link)).says(f"Resource {name}")


async def test_who_is_logged_out_while_filling_in_a_form_comes_back_to_it_and_nothing_was_done() -> None:
    async with open_guarded() as place:
        await furnish(place)
        browser = Browser(place)
        await browser.log_in(ADA)
        page = await see(browser, "/resource?id=room:1")
        ours = f"http://127.0.0.1:{place.client.port}"
        fields = page.form("/resource/release").fields | {"confirmed": "yes"}
        browser.cookies.clear()
        for referer, back in (
            (f"{ours}/resource?id=room:1", "/resource?id=room:1"),
            ("http://evil.example/resource?id=room:1", None),
            (f"{ours}//evil.example/", None),
            ("http://[", None),
            ("", None),
        ):
            answer = await browser.post("/resource/release", fields, Referer=referer)
            assert parse_qs(urlsplit(answer.headers["location"]).query) == (
                {"undone": ["yes"]} | ({} if back is None else {"next": [back]})
            )
        assert (await see(browser, "/login?undone=yes")).says("what you asked for was not done")
        await browser.log_in(ADA)
        assert (await see(browser, "/resource?id=room:1")).says("would go to ada")


async def test_what_is_not_there_is_told_on_a_page() -> None:
    async with open_place() as place:
        browser = Browser(place)
        place.seen.state_name = "starting"
        assert (await see(browser, "/", 503)).says("The router does not listen yet.")
        place.seen.state_name = "ready"
        assert (await see(browser, "/instance?id=nobody", 404)).says("There is no instance nobody.")
        assert (await see(browser, "/nothing", 404)).says("There is no page /nothing")
        assert (await see(browser, "/resource?id=%00", 400)).says("Bad Request")
        assert (await see(browser, "/resources?cursor=forged", 400)).says("cursor")
        assert (await see(browser, "/audit?since=yesterday", 400)).says("since")
        await place.instance("ada")
        for page in ("/services?", "/instance?id=ada&"):
            for wrong in ("-1", "1.5", "x", "10001", "9" * 5000):
                assert (await see(browser, f"{page}offset={wrong}", 400)).says("The offset must be")
            await see(browser, f"{page}offset=", 200)


async def test_who_has_not_logged_in_is_sent_to_do_so_and_comes_back() -> None:
    async with open_guarded() as place:
        browser = Browser(place)
        for path in ("/", "/resources?prefix=a", "/instance?id=x"):
            answer = await browser.get(path)
            assert answer.status == 303
            there = urlsplit(answer.headers["location"])
            assert there.path == "/login"
            assert parse_qs(there.query).get("next", ["/"]) == [path]
        for path in ("/resource/release", "/instance/drain", "/resources/act"):
            assert (await browser.post(path, {"id": "a"})).headers["location"] == "/login?undone=yes"
        await browser.log_in(ADA)
        page = await see(browser, "/")
        assert page.says("ada")
        assert not page.says("No authentication.")
        answer = await send(browser, page, "/logout")
        assert answer.headers["location"] == "/login"
        assert (await browser.get("/")).status == 303


async def test_a_resource_is_found_by_any_part_of_its_id_and_the_best_comes_first() -> None:
    async with open_place() as place:
        await place.instance(
            "ada", *(f"house:{number:03}/room:7" for number in range(120)), "room:7", "room:77"
        )
        await place.instance("bob", "other", service="users")
        browser = Browser(place)
        page = await see(browser, "/resources?id=ROOM:7")
        assert page.says("122 resources")
        page = await see(browser, "/resources?id=room:7")
        assert page.says("122 resources")
        assert names_on(page)[:3] == ["room:7", "room:77", "house:000/room:7"]
        shown: list[str] = []
        while True:
            shown += names_on(page)
            following = [it for it in page.links if "cursor=" in it]
            if not following:
                break
            page = await see(browser, following[0])
        assert len(shown) == len(set(shown)) == 122
        assert (await see(browser, "/resources?id=her&service_name=users")).says("1 resource")
        assert (await see(browser, "/resources?id=her&service_name=rooms")).says("None that match.")
        for cursor in ("x", "2room:7", "0%00"):
            assert (await see(browser, f"/resources?id=room&cursor={cursor}", 400)).says("the cursor is none")


def names_on(page: Page) -> list[str]:
    """The resources that a page links to, in order."""
    return [parse_qs(urlsplit(it).query)["id"][0] for it in page.links if it.startswith("/resource?")]


# --- doing something --------------------------------------------------------------------------------------


async def test_a_resource_is_found_by_its_tag_handed_over_and_read_of_in_the_audit_log() -> None:
    async with open_guarded() as place:
        await furnish(place)
        browser = Browser(place)
        await browser.log_in(ADA)
        found = await see(browser, "/resources?tags=premium")
        assert found.says("1 resource")
        page = await see(browser, "/resource?id=room:1")
        asking = await send(
            browser, page, "/resource/transfer", to_instance_id=" bob ", reason="less to do there"
        )
        assert Page(asking).says("Hand room:1 over to bob?")
        assert (await see(browser, "/resource?id=room:1")).says("ada")
        after = await confirm(browser, asking, "/resource/transfer")
        assert after.says("room:1 was handed over to bob.")
        assert after.says("transferred")
        # what was said is said once
        assert not (await see(browser, "/resource?id=room:1")).says("was handed over")
        log = await see(browser, "/audit?resource_id=room:1")
        assert log.says("less to do there")
        assert log.says("ada")


async def test_nothing_is_done_that_was_not_asked_for_by_a_page_of_ours() -> None:
    async with open_place() as place:
        await furnish(place)
        browser = Browser(place)
        for action, fields in (
            ("/resource/release", {"id": "room:1"}),
            ("/resource/update", {"id": "room:1"}),
            ("/resource/call", {"id": "room:1", "method": "x"}),
            ("/resources/act", {"resource_id": "room:1", "act": "release"}),
            ("/instance/drain", {"id": "ada", "hand_over_to": "nobody"}),
            ("/instance/end", {"id": "ada"}),
            ("/services/rebalance", {"service_name": "rooms", "by": "count"}),
        ):
            for token in ({}, {"csrf_token": ""}, {"csrf_token": "forged"}):
                answer = await browser.post(action, {**fields, "confirmed": "yes", **token})
                assert answer.status == 403
        told = await place.client.get("/api/v1/resources")
        assert told["total_count"] == 4
        assert (await place.client.get("/api/v1/audit"))["records"] == []


async def test_many_resources_are_released_or_handed_over_at_once() -> None:
    async with open_place() as place:
        await furnish(place)
        browser = Browser(place)
        page = await see(browser, "/resources?prefix=room:")
        fields = page.form("/resources/act").fields
        assert (await act(browser, fields, [], act="release")).says("Nothing was selected.")
        assert (await act(browser, fields, ["room:1"], act="transfer")).says("Say which instance")
        done = await act(browser, fields, ["room:1", "room:2"], act="transfer", to_instance_id="bob")
        assert done.says("2 resources handed over.")
        done = await act(browser, fields, ["room:1", "gone"], act="release")
        assert done.says("1 resource released; 1 could not be.")
        done = await act(browser, fields, ["room:2"], act="transfer", to_instance_id="nobody")
        assert done.says("could not be")
        assert (await place.client.get("/api/v1/resources/room:2"))["resource"]["owner_instance_id"] == "bob"


async def act(browser: Browser, fields: Mapping[str, str], names: list[str], **more: str) -> Page:
    """Do something with resources that are selected."""
    pairs = [*(dict(fields) | more).items(), *(("resource_id", name) for name in names)]
    answer = await browser.post_pairs("/resources/act", pairs)
    if answer.status == 303:
        return await see(browser, answer.headers["location"])
    page = Page(answer)
    pairs = [*page.form("/resources/act").fields.items()]
    pairs = [(name, value) for name, value in pairs if name != "resource_id"]
    pairs += [("resource_id", name) for name in names]
    answer = await browser.post_pairs("/resources/act", pairs)
    assert answer.status == 303, answer.text
    return await see(browser, answer.headers["location"])


async def test_what_would_turn_text_around_is_spelled_out_and_saved_as_it_was() -> None:
    turned = {"role": "\u202enimda\u2066 x"}
    async with open_place() as place:
        await place.instance("ada", "room:1")
        raw = json.dumps({"metadata": {"attributes": turned}}, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        (await place.client.ask("PATCH", "/api/v1/resources/room:1", raw, headers=headers)).result()
        browser = Browser(place)
        answer = await browser.get("/resource?id=room:1")
        assert "\\u202enimda\\u2066 x" in answer.text
        assert "\u202e" not in answer.text
        saved = await send_and_confirm(browser, Page(answer), "/resource/update", tags="a")
        assert (await see(browser, saved.headers["location"])).says("Saved as version 2.")
        told = await place.client.get("/api/v1/resources/room:1")
        assert told["resource"]["metadata"]["attributes"] == turned


async def test_metadata_is_edited_and_a_conflict_loses_nothing() -> None:
    async with open_place() as place:
        ada = await place.instance("ada", "room:1")
        browser = Browser(place)
        page = await see(browser, "/resource?id=room:1")
        saved = await send_and_confirm(
            browser,
            page,
            "/resource/update",
            resource_type="room",
            tags="a, b,,",
            priority="3",
            ttl_seconds="900.5",
            attributes='{"big": 12345678901234567}',
        )
        after = await see(browser, saved.headers["location"])
        assert after.says("Saved as version 1.")
        resource = (await place.client.get("/api/v1/resources/room:1"))["resource"]
        metadata = resource["metadata"]
        assert (metadata["tags"], metadata["priority"], metadata["ttl_seconds"]) == (["a", "b"], 3, 900.5)
        assert metadata["attributes"] == {"big": 12345678901234567}

        # the owner changes it while somebody edits it
        page = await see(browser, "/resource?id=room:1")
        await ada.ask("resource.update", resource_id="room:1", metadata={"tags": ["theirs"]})
        conflict = await send(browser, page, "/resource/update", tags="mine")
        assert conflict.status == 409
        shown = Page(conflict)
        assert shown.says("Somebody else has changed it meanwhile.")
        assert shown.says("theirs")
        assert shown.form("/resource/update").fields["tags"] == "mine"
        told = await place.client.get("/api/v1/resources/room:1")
        assert told["resource"]["metadata"]["tags"] == ["theirs"]
        saved = await send_and_confirm(browser, shown, "/resource/update")
        assert (await see(browser, saved.headers["location"])).says("Saved as version 3.")
        told = await place.client.get("/api/v1/resources/room:1")
        assert told["resource"]["metadata"]["tags"] == ["mine"]


async def test_who_saves_is_asked_about_just_what_would_change() -> None:
    async with open_place() as place:
        ada = await place.instance("ada", "room:1")
        said = {"tags": ["a", "b"], "priority": 3, "ttl_seconds": 900.0, "attributes": {"a": [1, 2]}}
        await ada.ask("resource.update", resource_id="room:1", metadata=said)
        browser = Browser(place)
        page = await see(browser, "/resource?id=room:1")
        told = await send(browser, page, "/resource/update", tags=" a,b,", attributes='{ "a":[1,2]}')
        assert (await see(browser, told.headers["location"])).says("It says just that already.")
        asking = Page(await send(browser, page, "/resource/update", tags="a", priority="4"))
        assert asking.says("Change what room:1 says of itself?")
        shown = re.findall('<pre class="(before|after)">(.*?)</pre>', asking.answer.text)
        assert shown == [("before", "a, b"), ("after", "a"), ("before", "3"), ("after", "4")]
        assert not asking.says("Attributes")
        assert not asking.says("Time to live")
        # somebody else is quicker than the answer to the question
        await ada.ask("resource.update", resource_id="room:1", metadata={"tags": ["theirs"]})
        late = await browser.post("/resource/update", asking.form("/resource/update").fields)
        assert late.status == 409
        assert Page(late).form("/resource/update").fields["tags"] == "a"
        assert (await see(browser, "/audit?event=updated")).says("There are no records")


async def test_what_nobody_owns_is_not_called_and_not_recorded() -> None:
    async with open_place() as place:
        browser = Browser(place)
        page = await see(browser, "/resource?id=room:1")
        asking = Page(await send(browser, page, "/resource/call", method="echo"))
        assert asking.says("It would be refused as things are.")
        shown = Page(await browser.post("/resource/call", asking.form("/resource/call").fields))
        assert shown.says("The router refused it")
        assert (await see(browser, "/audit")).says("There are no records")


async def test_who_drains_an_instance_that_owns_nothing_is_in_the_audit_log() -> None:
    async with open_place() as place:
        await place.instance("bob")
        browser = Browser(place)
        page = await see(browser, "/instance?id=bob")
        asking = await send(browser, page, "/instance/drain", hand_over_to="service")
        after = await confirm(browser, asking, "/instance/drain")
        assert after.says("bob drains: 0 resources handed over")
        log = await see(browser, "/audit?event=drained")
        assert log.says("drained") and log.says("bob") and log.says("anonymous")


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("attributes", "{", "The attributes are not JSON"),
        ("attributes", "[" * 100_000, "The attributes are not JSON"),
        ("attributes", "[]", "must be an object"),
        ("priority", "x", "The priority is not a number."),
        ("priority", "1.5", "must be an integer"),
        ("ttl_seconds", "soon", "The time to live is not a number."),
        ("ttl_seconds", "-1", "ttl_seconds"),
        ("expected_version", "x", "The version is not a number."),
    ],
)
async def test_what_cannot_be_saved_stays_in_its_field(field: str, text: str, words: str) -> None:
    async with open_place() as place:
        await place.instance("ada", "room:1")
        browser = Browser(place)
        page = await see(browser, "/resource?id=room:1")
        answer = await send(browser, page, "/resource/update", **{field: text})
        assert answer.status == 400
        shown = Page(answer)
        assert shown.says(words)
        assert shown.form("/resource/update").fields[field] == text
        assert "metadata" not in (await place.client.get("/api/v1/resources/room:1"))["resource"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": "echo", "params": '{"a": 1}'}, "Answered by ada in"),
        ({"method": "echo", "params": '{"a": 1}'}, '"a": 1'),
        ({"method": "echo", "params": "", "timeout_seconds": ""}, "Answered by ada"),
        ({"method": "fail"}, "An error of the callee's own"),
        ({"method": "wait", "timeout_seconds": "0.05"}, "The router refused it (unknown)"),
        ({"method": "echo", "params": "{"}, "The params are not JSON"),
        ({"method": "echo", "timeout_seconds": "x"}, "The seconds is not a number"),
        ({"method": "echo", "timeout_seconds": "-1"}, "timeout_seconds"),
        ({"method": "rpc.discover"}, "method"),
    ],
)
async def test_a_resource_is_called_from_its_page(fields: dict[str, str], words: str) -> None:
    async with open_place() as place:
        await place.instance("ada", "room:1")
        browser = Browser(place)
        page = await see(browser, "/resource?id=room:1")
        asking = Page(await send(browser, page, "/resource/call", **fields))
        if asking.says(f"Call {fields['method']} of room:1?"):
            assert asking.says("ada does whatever that means there. The audit log says that you called.")
            form = asking.form("/resource/call").fields
            shown = Page(await browser.post("/resource/call", form))
            log = await see(browser, "/audit?event=called")
            if shown.says("The router refused it:"):
                assert log.says("There are no records")
            else:
                assert log.says("anonymous") and log.says(fields["method"]) and log.says("room:1")
        else:
            shown = asking
        assert shown.says(words), shown.words
        assert shown.form("/resource/call").fields["method"] == fields["method"]


async def test_a_resource_is_released_from_its_page() -> None:
    async with open_place() as place:
        await furnish(place)
        browser = Browser(place)
        page = await see(browser, "/resource?id=room:1")
        after = await confirm(browser, await send(browser, page, "/resource/release"), "/resource/release")
        assert after.says("room:1 was released.")
        assert (await see(browser, "/audit?event=released")).says("anonymous")
        assert after.says("unowned")
        # somebody else did it meanwhile
        answer = await browser.post(
            "/resource/release", page.form("/resource/release").fields | {"confirmed": "yes"}
        )
        assert (await see(browser, answer.headers["location"])).says("Nothing was done")


async def test_an_instance_is_drained_and_ended_from_its_page() -> None:
    async with open_place() as place:
        await furnish(place)
        browser = Browser(place)
        page = await see(browser, "/instance?id=ada")
        asking = await send(browser, page, "/instance/drain", hand_over_to="service")
        after = await confirm(browser, asking, "/instance/drain")
        assert after.says("ada drains: 3 resources handed over")
        assert (await see(browser, "/audit?event=transferred")).says("anonymous")
        assert (await see(browser, "/")).says("ada drains.")
        asking = await send(browser, page, "/instance/end", reason="test")
        after = await confirm(browser, asking, "/instance/end")
        assert after.says("The session of ada has ended.")
        assert (await see(browser, "/audit?event=session_ended")).says("anonymous")
        answer = await browser.post("/instance/end", page.form("/instance/end").fields | {"confirmed": "yes"})
        assert (await see(browser, answer.headers["location"])).says("Nothing was done")


async def test_the_page_of_an_instance_shows_its_calls_and_how_long_they_take() -> None:
    async with open_place() as place:
        await furnish(place)
        browser = Browser(place)
        assert (await see(browser, "/instance?id=ada")).says("It has nothing to do right now.")
        called = await place.client.ask("POST", "/api/v1/call", {"resource_id": "room:1", "method": "echo"})
        assert called.status == 200
        hanging = {"resource_id": "room:1", "method": "wait", "timeout_seconds": 20}
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(place.client.ask, "POST", "/api/v1/call", hanging)
            while place.router.statistics().calls_delivered < 30:  # noqa: ASYNC110  # nothing tells of it
                await trio.sleep(0.01)
            page = await see(browser, "/instance?id=ada")
            assert page.says("Calls in flight (30)")
            assert page.says("This instance")
            assert page.words.count("wait") >= 25
            assert page.says("sent")
            [more] = [it for it in page.links if "offset=25" in it]
            rest = await see(browser, more)
            assert rest.words.count("room:1") >= 5
            assert "/instance?id=ada" in rest.links
            told = await place.client.get("/api/v1/calls?instance_id=ada&limit=10&offset=25")
            assert (len(told["calls"]), told["total_count"], told["has_more"]) == (5, 30, False)
            assert told["calls"][0]["method"] == "wait"
            assert told["calls"][0]["state"] == "sent"
            assert told["times"]["answered"] == 1
            assert told["service_times"]["p99_ms"] > 0
            nursery.cancel_scope.cancel()
        refused = await place.client.ask("GET", "/api/v1/calls?instance_id=nobody")
        assert refused.problem_type() == (404, "instance_not_found")
        refused = await place.client.ask("GET", "/api/v1/calls?instance_id=ada&limit=0")
        assert refused.problem_type() == (400, "invalid_params")


async def test_the_page_of_an_instance_that_is_away_says_so() -> None:
    async with open_place() as place:
        owner = await place.instance("ada", "room:1", grace=100)
        owner.peer.drop()
        browser = Browser(place)
        while place.router.statistics().suspended < 1:  # noqa: ASYNC110  # nothing tells of it
            await trio.sleep(0.01)
        page = await see(browser, "/instance?id=ada")
        assert page.says("suspended until")
        assert page.says("It is not connected")


async def test_a_service_is_rebalanced_after_showing_what_would_move() -> None:
    async with open_place() as place:
        await place.instance("ada", *(f"r:{number}" for number in range(8)))
        await place.instance("bob")
        browser = Browser(place)
        page = await see(browser, "/services?service_name=rooms")
        asking = await send(browser, page, "/services/rebalance", by="count")
        assert Page(asking).says("Move 4 resources?")
        after = await confirm(browser, asking, "/services/rebalance")
        assert after.says("4 resources have moved.")
        assert (await see(browser, "/audit?event=transferred")).says("rebalance")
        answer = await send(browser, after, "/services/rebalance", by="count")
        assert (await see(browser, answer.headers["location"])).says("Nothing has to move")
        answer = await send(browser, after, "/services/rebalance", by="nothing")
        assert (await see(browser, answer.headers["location"])).says("Nothing was done")


# --- what the first page says -----------------------------------------------------------------------------


async def test_what_is_wrong_stands_on_top() -> None:
    async with open_place(Settings(max_sessions=3)) as place:
        browser = Browser(place)
        assert (await see(browser, "/")).says("Nothing is wrong")
        ada = await place.instance("ada", "room:1")
        await ada.ask("instance.drain", hand_over_to="nobody")
        await place.instance("bob", service="users")
        place.seen.state_name = "draining"
        page = await see(browser, "/")
        for words in (
            "What is wrong",
            "The router is draining and takes nothing new.",
            "No instance of rooms is healthy.",
            "ada drains.",
            "3 of at most 3 sessions are open.",
        ):
            assert page.says(words), page.words


async def test_what_went_wrong_in_the_last_minute_is_told_for_a_minute() -> None:
    async with open_place() as place:
        now = 0.0
        sampler = Sampler(place.seen, lambda: now)
        statistics = Statistics(
            trace_id="t", sessions=0, resources=0, calls_in_flight=0, uptime_seconds=0, services={}
        )

        def told() -> list[str]:
            return [it.text for it in findings(place.seen, statistics, (), sampler)]

        metrics = place.router.metrics
        await sampler.look()
        assert told() == []
        metrics.flapping_reports += 1
        metrics.watches_lost += 2000
        metrics.loop_lag.observe(0.3)
        metrics.count_call("call_timeout")
        await sampler.look()
        assert told() == [
            "Calls that failed in the last minute: 1 × call_timeout.",
            "In the last minute: 1 report of a resource that changes its owner too often.",
            "In the last minute: 2\u202f000 watches ended because they fell behind.",
            "The router is busy: it was more than 0.2\u202fs late at times.",
        ]
        for _ in range(SAMPLES_LATELY):
            now += 2
            await sampler.look()
        assert told() == []


def test_the_worst_comes_first_and_many_are_told_together() -> None:
    statuses = ["draining", *["suspended"] * 5, "unresponsive", "healthy"]
    instances = [
        InstanceStatus(f"i:{number}", "rooms" if status == "healthy" else "users", status)
        for number, status in enumerate(statuses)
    ]
    services = {
        ServiceName(name): ServiceStatistics(
            instances=1,
            suspended=0,
            resources=0,
            in_flight=0,
            calls_total=0,
            errors_total={},
            p50_ms=None,
            p99_ms=None,
        )
        for name in ("rooms", "users")
    }
    statistics = Statistics(
        trace_id="t", sessions=0, resources=0, calls_in_flight=0, uptime_seconds=0, services=services
    )
    seen = Seen(Router())
    assert [(it.kind, it.text) for it in findings(seen, statistics, instances, Sampler(seen))] == [
        ("bad", "No instance of users is healthy."),
        ("bad", "i:6 shows no sign of life."),
        ("warn", "5 instances are away and may come back: i:1, i:2, i:3 and others."),
        ("warn", "i:0 drains."),
    ]


async def test_samples_say_how_it_was_between_two_looks() -> None:
    async with open_place() as place:
        now = 0.0
        sampler = Sampler(place.seen, lambda: now)
        traffic = place.router.metrics.instance_came(ServiceName("rooms"))
        await sampler.look()
        assert not sampler.samples
        assert sampler.lately().errors == {}
        for _ in range(20):
            traffic.observe(0.010)
        traffic.count_error("call_timeout")
        now = 10.0
        await sampler.look()
        [sample] = sampler.samples
        assert (sample.calls_per_second, sample.errors_per_second) == (2.1, 0.1)
        assert sample.p99_ms == pytest.approx(10, rel=0.1)
        assert sampler.lately().errors == {"call_timeout": 1}
        for _ in range(SAMPLES_LATELY):
            now += 5.0
            await sampler.look()
        assert sampler.lately().errors == {}
        assert sampler.samples[-1].p50_ms is None


async def test_the_figures_of_an_open_page_are_streamed_to_it(autojump_clock: MockClock) -> None:
    sampler = Sampler(Seen(Router()))
    texts = iter(["first", "<p>a\n\nb</p>"])
    left: list[str] = []
    stream = FigureStream(sampler, lambda: next(texts), lambda: left.append("left"))
    assert await anext(stream) == b"retry: 2000\n\nevent: figures\ndata: first\n\n"
    assert await anext(stream) == b":\n\n"  # nothing new for as long as anybody waits
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sampler.run)
        assert await anext(stream) == b"event: figures\ndata: <p>a\ndata: \ndata: b</p>\n\n"
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream_ends, stream)
        await trio.testing.wait_all_tasks_blocked()
        stream.close()
    await stream_ends(stream)
    assert left


async def stream_ends(stream: FigureStream) -> None:
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_figures_are_streamed_to_who_is_there_until_that_is_over() -> None:
    async with open_guarded() as place:
        browser = Browser(place)
        assert (await browser.get("/figures")).status == 401
        await browser.log_in(ADA)
        page = await see(browser, "/")
        assert 'data-stream="/figures"' in page.answer.text
        async with await browser.client.begin("GET", "/figures") as exchange:
            text = (await exchange.data()).decode()
            while "\n\n" not in text.partition("event: figures")[2]:
                text += (await exchange.data()).decode()
            assert "Calls per second" in text
            await send(browser, page, "/logout")
            while await exchange.data():
                pass
        assert (await browser.get("/figures")).status == 401


async def test_the_streams_of_figures_have_an_end_and_a_bound() -> None:
    async with open_place() as place:
        browser = Browser(place)
        async with AsyncExitStack() as stack:
            for _ in range(MAX_STREAMS):
                exchange = await stack.enter_async_context(await place.client.begin("GET", "/figures"))
                await exchange.data()
            assert (await browser.get("/figures")).status == 503
            assert (await place.client.ask("GET", "/api/v1/events")).status == 503
        while (await place.client.ask("HEAD", "/figures")).status == 503:  # noqa: ASYNC110  # nothing tells of it
            await trio.sleep(0.01)
        async with await place.client.begin("GET", "/figures") as exchange:
            await exchange.data()
            place.nursery.cancel_scope.cancel()  # the router stops: nothing waits for a stream


def test_numbers_are_told_as_people_read_them() -> None:
    assert [grouped(it) for it in (0, 999, 10_000, 1_234_567)] == [
        "0",
        "999",
        "10\u202f000",
        "1\u202f234\u202f567",
    ]
    assert [milliseconds(it) for it in (None, 0.034, 1.26, 99.7, 12_000)] == [
        "–",
        "0.034\u202fms",
        "1.3\u202fms",
        "100\u202fms",
        "12\u202fs",
    ]
    assert [duration(it) for it in (0.04, 59.9, 60, 3_723, 90_000)] == [
        "0.0\u202fs",
        "59\u202fs",
        "1\u202fmin",
        "1\u202fh 2\u202fmin",
        "1\u202fd 1\u202fh",
    ]
    assert [many(it, "call") for it in (0, 1, 2000)] == ["0 calls", "1 call", "2\u202f000 calls"]
    assert [rate(it) for it in (None, 0, 0.12345, 40.17, 1234.5)] == ["–", "0", "0.123", "40.2", "1\u202f234"]
    assert [short(it) for it in (None, 0.034, 9.94, 12.4, 4249)] == ["–", "0.034", "9.9", "12", "4\u202f250"]
    assert ago(rfc3339(time.time() - 3)) == "3\u202fs ago"
    assert ago(rfc3339(time.time() + 60)) == "0\u202fs ago"


def test_a_chart_has_a_gap_where_nothing_was_measured() -> None:
    drawn = str(chart('"x" <y>', [1, None, 2], [None, None, None], points=3))
    assert 'aria-label="&#34;x&#34; &lt;y&gt;"' in drawn
    assert drawn.count("<path") == 1
    assert 'd="M0.0,21.0 M120.0,3.0"' in drawn
    assert "<path" not in str(chart("nothing"))
    assert str(chart("flat", [0, 0])).count("<path") == 2


def test_what_was_said_is_said_once_and_not_kept_for_ever() -> None:
    notices = Notices()
    key = notices.add(Notice("done"))
    assert notices.take(key) == Notice("done")
    assert notices.take(key) is None
    for _ in range(MAX_NOTICES + 5):
        notices.add(Notice("done"))
    assert len(notices) == MAX_NOTICES


async def test_pages_are_quick_with_many_resources_and_instances() -> None:
    """A bound with room for a busy machine; what it takes is measured elsewhere."""
    settings = Settings(max_resources_per_instance=10_000)
    async with open_place(settings, tokens=AdministratorTokens(TOKENS)) as place:
        for number in range(100):
            await place.instance(f"i:{number}", *(f"r:{number}:{it}" for it in range(100)))
        browser = Browser(place)
        await browser.log_in(ADA)
        for path in ("/", "/services", "/resources", "/instance?id=i:1", "/resource?id=r:1:1"):
            began = trio.current_time()
            await see(browser, path)
            assert trio.current_time() - began < 2


async def test_live_changes_begin_with_the_latest_there_were_also_without_javascript() -> None:
    async with open_place() as place:
        await furnish(place)
        browser = Browser(place)
        page = await see(browser, "/live?prefix=user:")
        assert "user:1" in page.answer.text
        assert "room:1" not in page.answer.text
        assert "registered" in page.answer.text
        # and go on from there, whatever happens before the page connects
        assert f"from_revision={place.router.log.state.revision}" in page.answer.text
        page = await see(browser, "/live?service_name=nobody")
        assert "user:1" not in page.answer.text
