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


class Templates:
    """All templates, each compiled once.

    Args:
        settings: of the router that they are about.
    """

    def __init__(self, settings: Settings) -> None:
        self._is_prepared = trio.Event()
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            auto_reload=False,
            cache_size=-1,
            lstrip_blocks=True,
            trim_blocks=True,
            undefined=StrictUndefined,
        )
        for made in (ago, duration, grouped, many, milliseconds, rfc3339):
            self._environment.filters[made.__name__] = made
        port = f"?port={settings.port}" if settings.port else ""  # where the router is; 0 says nothing
        self._environment.globals |= {
            "version": version("resroute"),
            "example": f"/static/example.html{port}",
        }

    async def prepare(self) -> None:
        """Compile all of them, leaving the loop to others in between: otherwise whoever asks first has to wait."""
        try:
            for name in self._environment.list_templates(extensions=["html"]):
                self._environment.get_template(name)
                await trio.lowlevel.checkpoint()
        finally:
            self._is_prepared.set()

    async def wait_prepared(self) -> None:
        """Wait until no page has to compile what it is made of."""
        await self._is_prepared.wait()

    def render(self, template: str, **members: Any) -> str:
        """What a template makes of these."""
        return self._environment.get_template(template).render(**members)

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
        text = self.render(template, visitor=visitor, here=here, navigation=NAVIGATION, **members)
        # with no-referrer, browsers would send forms with `Origin: null`
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
        return Response(text, status, headers, content_type="text/html; charset=utf-8")
