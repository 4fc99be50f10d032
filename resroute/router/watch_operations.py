"""Methods about watches: beginning one, with a snapshot or where an earlier one stopped, and ending it."""

from collections.abc import Callable, Mapping

from resroute.core.state import State
from resroute.errors import InvalidParams
from resroute.ids import Revision, SessionId
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.router.queries import Cursors, filter_of, page_of_resources
from resroute.router.request import Handler, Request
from resroute.router.session import Session
from resroute.router.watches import Watches
from resroute.settings import Settings


class WatchOperations:
    """What ``resource.watch`` and ``resource.unwatch`` do.

    Args:
        cursors: those of ``resource.query``, with which a snapshot goes on.
        wall_time_of: the wall-clock time of a time on Trio's clock.
    """

    def __init__(
        self,
        settings: Settings,
        state: State,
        sessions: Mapping[SessionId, Session],
        watches: Watches,
        cursors: Cursors,
        *,
        wall_time_of: Callable[[float], float],
    ) -> None:
        self._settings = settings
        self._state = state
        self._sessions = sessions
        self._watches = watches
        self._cursors = cursors
        self._wall_time_of = wall_time_of
        self.handlers: Mapping[str, Handler] = {
            "resource.watch": self._watch,
            "resource.unwatch": self._unwatch,
        }

    def _watch(self, request: Request, params: p.WatchParams) -> None:
        wanted = filter_of(params)
        revision = self._begin(params)
        page = None
        if params.snapshot:
            page = page_of_resources(
                self._state,
                self._sessions,
                p.QueryResourcesParams(
                    service_name=params.service_name,
                    instance_id=params.instance_id,
                    resource_ids=params.resource_ids,
                    resource_type=params.resource_type,
                    tags=params.tags,
                    prefix=params.prefix,
                ),
                cursors=self._cursors,
                settings=self._settings,
                wall_time_of=self._wall_time_of,
            )
        watch = self._watches.add(request.session, wanted, revision)
        started = r.StartedWatch(watch_id=watch.watch_id, revision=revision)
        if page is not None:
            started.resources, started.next_cursor = page.resources, page.next_cursor
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
