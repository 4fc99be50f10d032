"""Methods about watches: beginning one, with a snapshot or where an earlier one stopped, and ending it."""

from collections.abc import Iterator, Mapping

from resroute.core.state import State
from resroute.errors import InvalidParams
from resroute.ids import Revision
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.router.request import Handler, Request
from resroute.router.resource_pages import ResourcePages, filter_of
from resroute.router.watches import Shown, Watches

_SNAPSHOT_PAGE = 100


class WatchOperations:
    """What ``resource.watch`` and ``resource.unwatch`` do.

    Args:
        pages: of which a snapshot is the first.
    """

    def __init__(self, state: State, watches: Watches, pages: ResourcePages) -> None:
        self._state = state
        self._watches = watches
        self._pages = pages
        self.handlers: Mapping[str, Handler] = {
            "resource.watch": self._watch,
            "resource.unwatch": self._unwatch,
        }

    def _watch(self, request: Request, params: p.WatchParams) -> Iterator[None]:
        wanted = filter_of(params)
        revision = self._begin(params)
        if params.snapshot:
            # what comes meanwhile may be missing on the page, and so is told: the watch begins before
            page = yield from self._pages.page(wanted, limit=_SNAPSHOT_PAGE)
            names = frozenset([info.resource_id for info in page.resources])
            watch = self._watches.add(request.session, wanted, revision, Shown(names, page.revision))
            started = r.StartedWatch(watch_id=watch.watch_id, revision=revision)
            started.resources, started.next_cursor = page.resources, page.next_cursor
        else:
            watch = self._watches.add(request.session, wanted, revision)
            started = r.StartedWatch(watch_id=watch.watch_id, revision=revision)
        request.session.log.debug("watch begins", watch_id=watch.watch_id, trace_id=request.trace_id)
        request.answer(started)

    def _begin(self, params: p.WatchParams) -> Revision:
        """The revision after which the watch begins.

        Raises:
            InvalidParams: nobody can have been told of that revision; or it does not go with a snapshot.
        """
        now, begin = self._state.revision, params.from_revision
        if begin is None:
            return now
        if params.snapshot:
            raise InvalidParams.at("from_revision", "not together with a snapshot, which is of now")
        if not 0 <= begin <= now:
            raise InvalidParams.at("from_revision", f"must be from 0 to the router's own, which is {now}")
        return Revision(begin)

    def _unwatch(self, request: Request, params: p.UnwatchParams) -> None:
        self._watches.remove(self._watches.find(request.session, params.watch_id))
        request.answer(r.Result())
