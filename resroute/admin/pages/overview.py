"""The first page: what is wrong right now, and the last minutes in charts."""

from quart import Blueprint, Response, request

from resroute.admin.figure_stream import FigureStream
from resroute.admin.pages.desk import Desk, LoginNeeded, link
from resroute.admin.pages.figures import MINUTES, Figures
from resroute.admin.pages.findings import all_instances, findings
from resroute.admin.problems import Problem
from resroute.admin.sampling import Sampler
from resroute.admin.streams import Streams, event_response
from resroute.protocol import results as r

_SHOWN_SERVICES = 20
_SHOWN_RANKED = 8

_RANKINGS = (
    ("unowned", "Called in vain", "Called most while nobody owned them."),
    ("conflicts", "Wanted by others", "Others wanted most to register what somebody owned."),
    ("busiest", "Busiest", "The most calls."),
)


def make_overview(desk: Desk, sampler: Sampler, streams: Streams) -> Blueprint:
    """``/``, and ``/figures``, by which a page that is open hears of its figures."""
    pages = Blueprint("overview", __name__)
    figures = Figures(desk, sampler)

    @pages.get("/figures")
    async def follow_figures() -> Response:
        try:
            visitor = desk.visitor()
        except LoginNeeded:  # a script asks, which is not to be sent to another page
            raise Problem(401, "who followed this is logged in no longer") from None
        stream = FigureStream(sampler, figures.text, streams.take_place())
        desk.end_with(visitor, stream.close)
        if request.method == "HEAD":
            return Response(b"", content_type="text/event-stream")
        return event_response(stream)

    @pages.get("/")
    async def overview() -> Response:
        visitor = desk.visitor()
        statistics = await desk.ask(visitor, "router.statistics", r.Statistics)
        instances = await all_instances(desk, visitor)
        rankings = []
        for what, title, text in _RANKINGS:
            ranking = await desk.ask(visitor, "router.top", r.Ranking, what=what, limit=_SHOWN_RANKED)
            rankings.append((title, text, ranking.entries))
        return desk.page(
            "overview.html",
            visitor,
            here="/",
            findings=findings(desk.router, statistics, instances, sampler),
            figures=figures.all(),
            minutes=MINUTES,
            uptime_seconds=statistics.uptime_seconds,
            services=list(statistics.services.items())[:_SHOWN_SERVICES],
            rankings=rankings,
            link=link,
        )

    return pages
