"""Pages of the resources that match a filter, made in steps that hold nobody up.

The steps are taken one after the other before anything else that the asking session has sent, with checkpoints between them
once they have taken their time. So a page tells of everything that its session did before, and of nothing that it asked for
after. What others do meanwhile it may tell of or not; but what matches all the while is there, and everything that is told of
a resource is as it was at the ``revision`` of the page.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from copy import copy

from resroute.core.filters import MAX_SCANNED, Filter
from resroute.core.metadata import Metadata
from resroute.core.records import Grant
from resroute.core.state import State
from resroute.errors import InvalidParams
from resroute.ids import SessionId
from resroute.protocol import params as p
from resroute.protocol.results import ResourceInfo, ResourcePage
from resroute.router.cursors import Cursors
from resroute.router.queries import check_ids, check_page, fitting_in_steps, resource_info
from resroute.router.request import Handler, Request
from resroute.router.session import Session
from resroute.settings import Settings

MAX_COUNTED = 10_000
"""Up to so many resources a page tells exactly how many match."""

_COST_OF_A_STEP = 16
"""Of looking at as many resources, or at fewer that have very many tags."""

_Found = tuple[Grant, Metadata | None]
"""The grant of a resource that matched, and what it said of itself then."""


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

        In steps of some ten microseconds, between which anything may change, and one of a millisecond for a thousand
        resources. They look at no more than the index that names the fewest, from its beginning if that does not know how
        many match, until the page is full and more than :data:`MAX_COUNTED` are counted.
        """
        found, counted = yield from self._find(wanted, after, offset + limit + 1)
        has_more = len(found) > offset + limit
        found = found[offset : offset + limit]
        # from here on all is told as it is now
        revision = self._state.revision
        grants = [copy(grant) for each in found if (grant := self._still(wanted, each)) is not None]
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
            last = found[-1][0].resource_id if len(infos) == len(grants) else infos[-1].resource_id
            page.next_cursor = self._cursors.seal(last, wanted)
        return page

    def _find(
        self, wanted: Filter, after: str, count: int
    ) -> Generator[None, None, tuple[list[_Found], int]]:
        """The first that match and come after an id, so many or a few more, and how many match in all."""
        found: list[_Found] = []
        total = self._state.count(wanted)
        if total is None:
            total = 0
            for some in self._look(wanted, ""):
                yield
                total += len(some)
                if len(found) < count:
                    found += [each for each in some if each[0].resource_id > after]
                if total > MAX_COUNTED:
                    break
            else:
                return found, total
        if len(found) < count:
            for some in self._look(wanted, found[-1][0].resource_id if found else after):
                yield
                found += some
                if len(found) >= count:
                    break
        return found, total

    def _look(self, wanted: Filter, after: str) -> Iterator[list[_Found]]:
        """What matches of the next few candidates, again and again. Anything may change in between."""
        grant_of, matches = self._state.grant_of, wanted.matches
        while candidates := self._state.candidates_after(wanted, after):
            some: list[_Found] = []
            cost = 0
            for resource_id in candidates:
                grant = grant_of(resource_id)
                cost += 1
                if grant is not None:
                    metadata = grant.metadata
                    if metadata is not None and len(metadata.tags) > MAX_SCANNED:
                        cost += len(metadata.tags) // 8
                    if matches(resource_id, grant.owner.fact, metadata):
                        some.append((grant, metadata))
                if cost >= _COST_OF_A_STEP:
                    yield some
                    some = []
                    cost = 0
            yield some
            after = candidates[-1]

    def _still(self, wanted: Filter, found: _Found) -> Grant | None:
        """The grant of a resource that has matched, if it has an owner and matches now."""
        before, metadata = found
        grant = self._state.grant_of(before.resource_id)
        if grant is None or (grant is before and grant.metadata is metadata):
            return grant
        return grant if wanted.matches(grant.resource_id, grant.owner.fact, grant.metadata) else None


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
