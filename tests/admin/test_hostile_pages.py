"""Whatever is sent to the pages, they say what is wrong with it, and nothing is done."""

from urllib.parse import quote

import pytest

from tests.admin.asking import Place, open_place
from tests.admin.test_access import Browser

TEXTS = (
    "",
    " ",
    "\0",
    "/",
    "..",
    "-1",
    "1e999",
    "9" * 40,
    "9" * 5000,
    "٣",
    "NaN",
    "true",
    "null",
    "[]",
    "[[" * 5000,
    '{"a": "\\u0000"}',
    "a" * 300,
    "é漢\u202e\ud7ff\U0010ffff",
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "{{7919*7919}}{% raw %}",
    "\r\nSet-Cookie: x=y",
    "//evil.example",
    "x' OR '1'='1",
)

PAGES = {
    "/": ("said",),
    "/services": ("service_name", "offset", "said"),
    "/instance": ("id", "id=ada&offset"),
    "/resources": (
        *("id", "prefix", "service_name", "instance_id", "resource_type", "tags"),
        *("cursor", "id=room&cursor", "said"),
    ),
    "/resource": ("id",),
    "/audit": ("since", "until", "resource_id", "instance_id", "actor", "event", "cursor"),
    "/live": ("prefix", "service_name", "tags"),
    "/login": ("next",),
}

FORMS = {
    "/resource/update": {
        "id": "room:1",
        "expected_version": "5",  # so that nothing is saved whatever else is said
        "resource_type": "",
        "tags": "",
        "priority": "0",
        "ttl_seconds": "",
        "attributes": "{",  # likewise
    },
    "/resource/transfer": {"id": "room:1", "from_instance_id": "ada", "to_instance_id": "x", "reason": ""},
    "/resource/release": {"id": "nobody"},
    "/resource/call": {"id": "room:1", "method": "echo", "params": "{}", "timeout_seconds": "1"},
    "/resources/act": {"resource_id": "nobody", "act": "transfer", "to_instance_id": "x", "back": "/"},
    "/instance/drain": {"id": "nobody", "hand_over_to": "service"},
    "/instance/end": {"id": "nobody", "session_id": "none", "reason": ""},
    "/services/rebalance": {"service_name": "nobody", "by": "count"},
}


@pytest.mark.parametrize("path", PAGES)
async def test_no_parameter_of_a_page_breaks_it(path: str) -> None:
    async with open_place() as place:
        await place.instance("ada", "room:1")
        browser = Browser(place)
        for name in PAGES[path]:
            for text in TEXTS:
                query = f"{name}={quote(text, errors='surrogatepass')}"
                answer = await browser.get(f"{path}?{query}", Accept="text/html")
                assert answer.status < 500, (query, answer.text)
                assert "<script>alert" not in answer.text and "<svg onload" not in answer.text
                assert "62710561" not in answer.text
                assert not answer.cookies
                if answer.status == 303:
                    assert answer.headers["location"].startswith("/")
                    assert not answer.headers["location"].startswith("//")


@pytest.mark.parametrize("action", FORMS)
async def test_no_field_of_a_form_breaks_it(action: str) -> None:
    async with open_place() as place:
        await place.instance("ada", "room:1")
        browser = Browser(place)
        token = await csrf_token(browser)
        for name in FORMS[action]:
            for text in TEXTS:
                fields = FORMS[action] | {name: text, "csrf_token": token, "confirmed": "yes"}
                answer = await browser.post(action, fields, Accept="text/html")
                assert answer.status < 500, (name, text, answer.text)
                assert "<script>alert" not in answer.text and "<svg onload" not in answer.text
                assert not answer.cookies
                if answer.status == 303:
                    assert answer.headers["location"].startswith("/")
                    assert not answer.headers["location"].startswith("//")
                    assert (await browser.get(answer.headers["location"])).status < 500
        await check_nothing_was_done(place)


async def csrf_token(browser: Browser) -> str:
    text = (await browser.get("/resource?id=room:1")).text
    return text.partition('name="csrf_token" value="')[2].partition('"')[0]


async def check_nothing_was_done(place: Place) -> None:
    told = await place.client.get("/api/v1/resources/room:1")
    assert told["resource"]["owner_instance_id"] == "ada"
    assert "metadata" not in told["resource"]
    records = (await place.client.get("/api/v1/audit"))["records"]
    assert [it for it in records if it["event"] != "called"] == []
