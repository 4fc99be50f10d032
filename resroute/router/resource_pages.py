"""Pages of the resources that match a filter, made in steps that hold nobody up.

The steps are taken one after the other before anything else that the asking session has sent, with checkpoints between them
once they have taken their time. So a page tells of everything that its session did before, and of nothing that it asked for
after. What others do meanwhile it may tell of or not; but what matches all the while is there, and everything that is told of
a resource is as it was at the ``revision`` of the page.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from copy import copy
from itertools import batched

from resroute.core.filters import Filter
from resroute.core.records import Grant
from resroute.core.state import State
from resroute.errors import InvalidParams
from resroute.ids import ResourceId, SessionId
from resroute.protocol import params as p
from resroute.protocol.results import ResourceInfo, ResourcePage
from resroute.router.cursors import Cursors
from resroute.router.queries import check_ids, check_page, fitting_in_steps, resource_info
from resroute.router.request import Handler, Request
from resroute.router.session import Session
from resroute.settings import Settings

MAX_COUNTED = 10_000
"""Up to so many resources a page tells exactly how many match."""

_LOOKED_AT_IN_A_STEP = 64


class ResourcePages:
    """Answers ``resource.query``, and makes pages for whatever else begins with one.

    Args:
        key: what cursors are sealed with.
        wall_time_of: the wall-clock time of a time on Trio's clock.
    """

    def __init__(
        self,
        settings: Settings,
        state: State,
        sessions: Mapping[SessionId, Session],
        *,
        key: bytes,
        wall_time_of: Callable[[float], float],
    ) -> None:
        self._settings = settings
        self._state = state
        self._sessions = sessions
        self._cursors = Cursors(key)
        self._wall_time_of = wall_time_of
        self.handlers: Mapping[str, Handler] = {"resource.query": self._query}

    def _query(self, request: Request, params: p.QueryResourcesParams) -> Iterator[None]:
        check_page(params.limit, params.offset)
        yield
        wanted = filter_of(params)
        yield
        after = ""
        if params.cursor is not None:
            if params.offset:
                raise InvalidParams.at("offset", "not together with a cursor")
            after = self._cursors.open(params.cursor, wanted)
        page = yield from self.page(
            wanted,
            after=after,
            limit=params.limit,
            offset=params.offset,
            with_metadata=params.include_metadata,
        )
        request.answer(page)

    def page(
        self, wanted: Filter, *, after: str = "", limit: int, offset: int = 0, with_metadata: bool = True
    ) -> Generator[None, None, ResourcePage]:
        """One page of what matches and comes after an id. If there is more, ``resource.query`` takes its cursor.

        In steps of a tenth of a millisecond, between which anything may change, and one of a millisecond for a thousand
        resources. They look at no more than the index that names the fewest, from its beginning if that does not know how
        many match, until the page is full and more than :data:`MAX_COUNTED` are counted.
        """
        ids, counted = yield from self._find(wanted, after, offset + limit + 1)
        has_more = len(ids) > offset + limit
        ids = ids[offset : offset + limit]
        # from here on all is told as it is now
        revision = self._state.revision
        grants = [
            copy(grant) for resource_id in ids if (grant := self._match(wanted, resource_id)) is not None
        ]
        known = self._state.count(wanted)
        yield

        def info(grant: Grant) -> ResourceInfo:
            return resource_info(grant, self._sessions, self._wall_time_of, with_metadata=with_metadata)

        infos = yield from fitting_in_steps(grants, info, self._settings)
        page = ResourcePage(
            resources=infos,
            total_count=min(counted, MAX_COUNTED) if known is None else known,
            has_more=has_more or len(infos) < len(grants),
            revision=revision,
        )
        if (counted if known is None else known) > MAX_COUNTED:
            page.total_count_is_lower_bound = True
        if page.has_more:
            # what was found is behind it, though some of it may have gone since
            last = ids[-1] if len(infos) == len(grants) else infos[-1].resource_id
            page.next_cursor = self._cursors.seal(last, wanted)
        return page

    def _find(
        self, wanted: Filter, after: str, count: int
    ) -> Generator[None, None, tuple[list[ResourceId], int]]:
        """The first ids that match and come after one, so many or a few more, and how many match in all."""
        found: list[ResourceId] = []
        total = self._state.count(wanted)
        if total is None:
            total = 0
            for some in self._look(wanted, ""):
                yield
                total += len(some)
                if len(found) < count:
                    found += [resource_id for resource_id in some if resource_id > after]
                if total > MAX_COUNTED:
                    break
            else:
                return found, total
        if len(found) < count:
            for some in self._look(wanted, found[-1] if found else after):
                yield
                found += some
                if len(found) >= count:
                    break
        return found, total

    def _look(self, wanted: Filter, after: str) -> Iterator[list[ResourceId]]:
        """What matches of the next few candidates, again and again. Anything may change in between."""
        while candidates := self._state.candidates_after(wanted, after):
            for some in batched(candidates, _LOOKED_AT_IN_A_STEP, strict=False):
                yield [it for it in some if self._match(wanted, it) is not None]
            after = candidates[-1]

    def _match(self, wanted: Filter, resource_id: ResourceId) -> Grant | None:
        """The grant of a resource, if it has an owner and matches."""
        grant = self._state.grant_of(resource_id)
        if grant is None or not wanted.matches(resource_id, grant.owner.fact, grant.metadata):
            return None
        return grant


def filter_of(params: p.FilterParams) -> Filter:
    """The filter that a request asks for.

    Raises:
        InvalidParams: a list of ids is empty, or names one of them twice.
    """
    if params.resource_ids is not None:
        check_ids(params.resource_ids)
    return Filter.of(
        service_name=params.service_name,
        instance_id=params.instance_id,
        resource_ids=params.resource_ids,
        resource_type=params.resource_type,
        tags=params.tags,
        prefix=params.prefix,
    )
