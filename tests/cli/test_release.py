"""``resroute release``: administrators take resources away."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from resroute import Forbidden, Instance, ResourceNotFound, open_client
from resroute.cli.exits import REFUSED, code_for
from resroute.cli.releasing import release_resources
from resroute.settings import Settings
from tests.cli.running import never, open_router
from tests.cli.test_explain import answer


@asynccontextmanager
async def open_owner(*, anybody_is_admin: bool = True) -> AsyncGenerator[tuple[str, Instance]]:
    settings = Settings(anonymous_roles=("caller", "instance", "admin")) if anybody_is_admin else Settings()
    async with (
        open_router(settings) as url,
        open_client(url) as client,
        client.open_instance("documents", answer, instance_id="docs-1") as instance,
    ):
        await instance.register("doc:1", "doc:2")
        yield url, instance


async def release(url: str, *resource_ids: str, partial: bool = False, as_json: bool = False) -> int:
    return await release_resources(url, resource_ids, never(), partial=partial, as_json=as_json)


async def test_all_are_released_or_none(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_owner() as (url, instance):
        with pytest.raises(ResourceNotFound):
            await release(url, "doc:1", "doc:3")
        assert sorted(instance.resources) == ["doc:1", "doc:2"]
        assert await release(url, "doc:1", "doc:2") == 0
    assert capsys.readouterr().out == "released doc:1\nreleased doc:2\n"


async def test_with_partial_those_that_somebody_owns_are(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_owner() as (url, _):
        assert await release(url, "doc:3", "doc:1", partial=True) == 3
        printed = capsys.readouterr()
        assert printed.out == "released doc:1\n"
        assert printed.err == "resroute: No instance owns resource 'doc:3'\n"
        assert await release(url, "doc:3", partial=True) == 3
        assert capsys.readouterr().out == ""
        assert await release(url, "doc:3", "doc:2", partial=True, as_json=True) == 3
        said = json.loads(capsys.readouterr().out)
    assert (said["released"], said["failed"]) == (["doc:2"], {"doc:3": "resource_not_found"})


async def test_nobody_else_may() -> None:
    async with open_owner(anybody_is_admin=False) as (url, instance):
        with pytest.raises(Forbidden) as caught:
            await release(url, "doc:1")
        assert code_for(caught.value) == REFUSED
        assert sorted(instance.resources) == ["doc:1", "doc:2"]
