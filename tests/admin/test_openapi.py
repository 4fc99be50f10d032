"""The API is as its description says: programs that were made from that are right, and hostile ones get nowhere."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import hypothesis
import pytest
import schemathesis
import trio
from schemathesis import checks
from schemathesis.generation import GenerationMode

from resroute.admin.routes import API, MAX_IDS, ROUTES
from resroute.settings import Settings
from tests.admin.asking import Place, open_place

EXAMPLES = 6
checks.load_all_checks()
OF_CALLS = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
"""What the router says when a callee could not be had in time: no errors of the server's."""
CHECKS: Sequence[Any] = (
    checks.CHECKS.get_one("status_code_conformance"),
    checks.CHECKS.get_one("content_type_conformance"),
    checks.CHECKS.get_one("response_schema_conformance"),
)
NAMES = [route.name for route in ROUTES if route.name != "follow_events"]  # which has no end


async def document_of(place: Place) -> dict[str, Any]:
    document: dict[str, Any] = await place.client.get("/openapi.json")
    return document


async def test_every_operation_is_described() -> None:
    async with open_place() as place:
        document = await document_of(place)
        assert document["openapi"] == "3.1.0"
        described = {
            operation["operationId"]: (verb.upper(), path)
            for path, operations in document["paths"].items()
            for verb, operation in operations.items()
        }
        assert described == {route.name: (route.verb, API + route.path) for route in ROUTES}
        assert document["security"] == []


THERE = {"resource_id": "a", "instance_id": "ada", "service_name": "rooms"}


def hold(operation: Any, base_url: str, mode: GenerationMode, also: Sequence[Any]) -> None:
    """Make requests as the description says, or as it forbids, and hold the answers against it."""

    names = {it["name"] for it in operation.definition.raw["parameters"] if it["in"] == "path"}
    is_right = mode is GenerationMode.POSITIVE
    in_path = {name: THERE[name] for name in names & THERE.keys()} if is_right else None

    @hypothesis.settings(
        max_examples=EXAMPLES if is_right else 4 * EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode, path_parameters=in_path))
    def ask(case: Any) -> None:
        response = case.call(base_url=base_url, timeout=10, headers={"Connection": "close"})
        # an address that is too long is not looked into; schemathesis takes that for no refusal
        more = [] if response.status_code == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE else also
        if operation.definition.raw["operationId"] != "call" or response.status_code not in OF_CALLS:
            more = [checks.not_a_server_error, *more]
        case.validate_response(response, checks=[*CHECKS, *more])

    ask()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(GenerationMode.POSITIVE, id="right"),
        pytest.param(GenerationMode.NEGATIVE, id="wrong", marks=pytest.mark.slow),
    ],
)
async def test_what_is_asked_is_answered_as_described(name: str, mode: GenerationMode) -> None:
    async with open_place(Settings(default_timeout_seconds=1, max_timeout_seconds=1)) as place:
        await place.instance("ada", "a", "b")
        schema = schemathesis.openapi.from_dict(await document_of(place))
        operation = schema.find_operation_by_id(name)
        also = [checks.CHECKS.get_one("negative_data_rejection")] if mode is GenerationMode.NEGATIVE else []
        base_url = f"http://127.0.0.1:{place.client.port}"
        await trio.to_thread.run_sync(hold, operation, base_url, mode, also)
        # whatever was asked, it is still there for others
        assert (await place.client.get("/api/v1/resources?limit=1"))["total_count"] >= 0


async def test_the_description_is_a_page_for_people_too() -> None:
    async with open_place() as place:
        page = await place.client.ask("GET", "/docs")
        assert page.status == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        for route in ROUTES:
            assert f'id="{route.name}"' in page.text
        assert f"list of name (at least 1, at most {MAX_IDS})" in page.text
        assert "://" not in page.text  # nothing from elsewhere
