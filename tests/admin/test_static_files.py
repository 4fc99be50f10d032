"""Files that are served as they are."""

import pytest

from resroute.admin.static_files import FOLDER
from tests.admin.asking import open_place

TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}


async def test_files_are_served_with_their_types() -> None:
    async with open_place() as place:
        for path in FOLDER.iterdir():
            if path.is_file():
                answer = await place.client.ask("GET", f"/static/{path.name}")
                assert (answer.status, answer.body) == (200, path.read_bytes())
                assert answer.headers["content-type"] == TYPES.get(
                    path.suffix[1:], answer.headers["content-type"]
                )
                assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_file_that_is_known_is_not_sent_again() -> None:
    async with open_place() as place:
        first = await place.client.ask("GET", "/static/icon.svg")
        assert first.headers["cache-control"] == "no-cache"
        again = await place.client.ask(
            "GET", "/static/icon.svg", headers={"If-None-Match": first.headers["etag"]}
        )
        assert (again.status, again.body) == (304, b"")
        other = await place.client.ask("GET", "/static/icon.svg", headers={"If-None-Match": '"other"'})
        assert other.status == 200


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nothing.js",
        "../app.py",
        "%2e%2e/app.py",
        "..%2fapp.py",
        "/etc/passwd",
        "icon.svg/",
        "icon.svg%00",
        ".",
    ],
)
async def test_nothing_else_is_served(name: str) -> None:
    async with open_place() as place:
        answer = await place.client.ask("GET", f"/static/{name}")
        assert answer.status == 404
        assert b"import" not in answer.body
