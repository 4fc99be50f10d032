"""Pages from templates."""

from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from quart import Response

from resroute.admin.access import Visitor
from resroute.admin.formats import ago, duration, grouped, many, milliseconds
from resroute.admin.problems import Problem
from resroute.settings import Settings
from resroute.times import rfc3339

FOLDER = Path(__file__).parent / "templates"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

NAVIGATION = (
    ("/", "Overview"),
    ("/services", "Services"),
    ("/resources", "Resources"),
    ("/live", "Live"),
    ("/audit", "Audit"),
    ("/settings", "Settings"),
    ("/docs", "API"),
)


def _make_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        auto_reload=False,
        cache_size=-1,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    for made in (ago, duration, grouped, many, milliseconds, rfc3339):
        environment.filters[made.__name__] = made
    environment.globals["version"] = version("resroute")
    return environment


COMPILED = _make_environment()
"""All templates, each compiled once in a process, when it is first asked for."""


class Templates:
    """The pages of one router.

    Args:
        settings: of the router.
    """

    def __init__(self, settings: Settings) -> None:
        self._is_prepared = trio.Event()
        port = f"?port={settings.port}" if settings.port else ""  # where the router is; 0 says nothing
        self._example = f"/static/example.html{port}"

    async def prepare(self) -> None:
        """Compile all templates, leaving the loop to others in between: otherwise whoever asks first has to wait."""
        try:
            for name in COMPILED.list_templates(extensions=["html"]):
                COMPILED.get_template(name)
                await trio.lowlevel.checkpoint()
        finally:
            self._is_prepared.set()

    async def wait_prepared(self) -> None:
        """Wait until no page has to compile what it is made of."""
        await self._is_prepared.wait()

    def render(self, template: str, **members: Any) -> str:
        """What a template makes of these."""
        return COMPILED.get_template(template).render(**members)

    def problem(self, visitor: Visitor | None, problem: Problem) -> Response:
        """The page that says what went wrong."""
        return self.page(
            "problem.html",
            visitor,
            status=problem.status,
            title=HTTPStatus(problem.status).phrase,
            detail=problem.detail,
            trace_id=problem.members.get("trace_id"),
        )

    def page(
        self,
        template: str,
        visitor: Visitor | None,
        *,
        here: str | None = None,
        status: int = 200,
        **members: Any,
    ) -> Response:
        """A page.

        Args:
            template: which.
            visitor: who sees it; None before anybody has logged in.
            here: the path of the page in the navigation.
            status: of the answer.
            members: what the template shows.
        """
        members |= {"visitor": visitor, "here": here, "navigation": NAVIGATION, "example": self._example}
        text = self.render(template, **members)
        # with no-referrer, browsers would send forms with `Origin: null`
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
        return Response(text, status, headers, content_type="text/html; charset=utf-8")
