"""Methods that tell what goes on: why a call goes where it goes, which resources stand out, and the router in numbers."""

from collections.abc import Mapping
from itertools import islice

import msgspec
import trio

from resroute.errors import InvalidParams
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.router.explaining import Explainer
from resroute.router.lookback import Lookback
from resroute.router.means import Means
from resroute.router.queries import MAX_LIMIT
from resroute.router.ranking import Ranked
from resroute.router.request import Handler, Request
from resroute.router.rounds import Rounds
from resroute.router.summary import Summary
from resroute.times import rfc3339

SLICE_SECONDS = 0.001
_GRANTS_AT_A_TIME = 200


class InsightOperations:
    """What ``route.explain`` and the methods ``router.*`` do."""

    def __init__(self, means: Means, lookback: Lookback, explainer: Explainer, summary: Summary) -> None:
        self._state = means.log.state
        self._tally = means.tally
        self._clocks = means.clocks
        self._lookback = lookback
        self._explainer = explainer
        self._counting = Rounds(summary.count, means.tasks.start, means.tasks.report)
        self._looking = Rounds(self._look_at_all_grants, means.tasks.start, means.tasks.report)
        self.handlers: Mapping[str, Handler] = {
            "route.explain": self._explain,
            "router.statistics": self._statistics,
            "router.top": self._top,
        }

    def _explain(self, request: Request, params: p.ExplainParams) -> None:
        resource_id, service_name = params.resource_id, params.service_name
        caller = request.session
        if resource_id is None:
            if service_name is None:
                raise InvalidParams.at("", "resource_id or service_name is needed")
            request.answer(self._explainer.explain(None, service_name, (), caller))
            return
        self._lookback.look(
            resource_id,
            lambda transitions: request.answer_from(
                lambda: self._explainer.explain(resource_id, service_name, transitions, caller)
            ),
        )

    def _statistics(self, request: Request, _params: p.Params) -> None:
        self._counting.join(request, msgspec.structs.replace)

    # --- rankings ---------------------------------------------------------------------------------------------

    def _top(self, request: Request, params: p.TopParams) -> None:
        limit = params.limit
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidParams.at("limit", f"must be from 1 to {MAX_LIMIT}")
        match params.what:
            case "busiest" if self._tally.busiest.has_enough(limit):
                request.answer(self._busiest(limit))
            case "busiest":
                self._looking.join(request, lambda _: self._busiest(limit))
            case "unowned":
                request.answer(_ranking(self._tally.unowned.top(limit)))
            case "conflicts":
                request.answer(_ranking(self._tally.conflicts.top(limit)))

    def _busiest(self, limit: int) -> r.Ranking:
        ranked = self._tally.busiest.top(limit)
        return _ranking(
            [Ranked(it.resource_id, it.count, self._clocks.wall_time_of(it.last_at)) for it in ranked]
        )

    async def _look_at_all_grants(self) -> None:
        """Many of the busiest have gone: find those that follow them."""
        busiest = self._tally.busiest
        busiest.begin_again()
        after, until = "", self._clocks.turn() + SLICE_SECONDS
        while grants := list(islice(self._state.grants_after(after), _GRANTS_AT_A_TIME)):
            for grant in grants:
                busiest.show(grant)
            after = grants[-1].resource_id
            if self._clocks.turn() > until:
                await trio.lowlevel.checkpoint()
                until = self._clocks.turn() + SLICE_SECONDS


def _ranking(ranked: list[Ranked]) -> r.Ranking:
    return r.Ranking(
        entries=[
            r.RankedResource(resource_id=it.resource_id, count=it.count, last_at=rfc3339(it.last_at))
            for it in ranked
        ]
    )
