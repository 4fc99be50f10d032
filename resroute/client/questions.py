"""What any session may ask the router: what there is, how it is, and what becomes of it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal

from resroute.client.insight import (
    Explanation,
    Ranking,
    RouterStatistics,
    read_explanation,
    read_ranking,
    read_router_statistics,
)
from resroute.client.link import Link
from resroute.client.paging import Resources
from resroute.client.requests import given, ignore
from resroute.client.results import (
    InstancePage,
    ResourcePage,
    SessionInfo,
    read_instance_page,
    read_resource_page,
    read_session_info,
)
from resroute.client.watching import ResourceEvents, open_watch


class Questions:
    """The part of :class:`resroute.Client` that asks and changes nothing."""

    _link: Link

    async def query_resources(
        self,
        *,
        service_name: str | None = None,
        instance_id: str | None = None,
        resource_ids: Sequence[str] | None = None,
        resource_type: str | None = None,
        tags: Sequence[str] | None = None,
        prefix: str | None = None,
        include_metadata: bool | None = None,
        limit: int | None = None,
        offset: int | None = None,
        cursor: str | None = None,
    ) -> ResourcePage:
        """Look up resources that have an owner, ordered by id. What is not given does not restrict.

        Args:
            tags: all of them must be present.
            prefix: what their ids begin with.
            limit: of this page; the router's default is 100, and 1000 the most.
            offset: how many to leave out first, at most 10 000. Beyond that, and for what changes, there is ``cursor``.
            cursor: ``next_cursor`` of the page before, with the same filters.

        Raises:
            InvalidParams: a limit or an offset that is out of bounds, or a cursor of another query.
        """
        request = given(
            service_name=service_name,
            instance_id=instance_id,
            resource_ids=resource_ids,
            resource_type=resource_type,
            tags=tags,
            prefix=prefix,
            include_metadata=include_metadata,
            limit=limit,
            offset=offset,
            cursor=cursor,
        )
        return await self._link.request("resource.query", request, read_resource_page, harmless=True)

    def all_resources(
        self,
        *,
        service_name: str | None = None,
        instance_id: str | None = None,
        resource_ids: Sequence[str] | None = None,
        resource_type: str | None = None,
        tags: Sequence[str] | None = None,
        prefix: str | None = None,
        include_metadata: bool | None = None,
        page_size: int = 1000,
    ) -> Resources:
        """Go through all resources that match, ordered by id, however many there are::

            async for resource in client.all_resources(tags=["draft"]):
                ...

        The router is asked for a page at a time, and only once the page before has been gone through; what is raised then
        is what :meth:`query_resources` raises. What matches from the beginning to the end comes once, whatever comes and
        goes meanwhile. Breaking off leaves nothing behind.

        Args:
            page_size: how many to ask for at a time, at most 1000.
        """

        async def ask(cursor: str | None) -> ResourcePage:
            return await self.query_resources(
                service_name=service_name,
                instance_id=instance_id,
                resource_ids=resource_ids,
                resource_type=resource_type,
                tags=tags,
                prefix=prefix,
                include_metadata=include_metadata,
                limit=page_size,
                cursor=cursor,
            )

        return Resources(ask)

    def open_watch(
        self,
        *,
        service_name: str | None = None,
        instance_id: str | None = None,
        resource_ids: Sequence[str] | None = None,
        resource_type: str | None = None,
        tags: Sequence[str] | None = None,
        prefix: str | None = None,
        snapshot: bool = False,
        from_revision: int | None = None,
    ) -> AbstractAsyncContextManager[ResourceEvents]:
        """Follow what becomes of resources, for as long as the block runs.

        ```python
        async with client.open_watch(prefix="doc:", snapshot=True) as events:
            owners = {info.resource_id: info.owner_instance_id for info in events.snapshot}
            async for event in events:
                print(event.event, event.resource.resource_id, event.cause)
        ```

        Every change is told once, in order, if the resource matches before it or after it, over all connections that this
        client has meanwhile. What is not given does not restrict. Several blocks at a time are watches of their own, up to
        the router's limit.

        Up to 4 MiB of events wait here to be taken. Who falls further behind gets those and then
        :class:`resroute.FellBehind`; a new watch with ``from_revision=events.revision`` goes on from there.

        Args:
            tags: all of them must be present.
            snapshot: look up the resources that match before the block begins: ``events.snapshot``. What the events tell
                is what happened after that. (Only a watch that goes on from a ``revision`` which is older than the last
                page of a long snapshot may be told some of what that showed already.)
            from_revision: go on after this revision: an earlier watch's ``events.revision``. Not with a snapshot.

        Raises:
            RevisionGone: what happened after ``from_revision`` is not all remembered: begin again with a snapshot.
            TooManyWatches: this session has as many as it may.
            WatchLost: in the iteration: what was to be told is forgotten, say because the router has started anew.
            FellBehind: in the iteration: see above.
            ConnectionLost: it is over with this client. In the iteration, once all has been taken that arrived before.
        """
        filters = given(
            service_name=service_name,
            instance_id=instance_id,
            resource_ids=resource_ids,
            resource_type=resource_type,
            tags=tags,
            prefix=prefix,
        )
        begin = given(snapshot=snapshot or None, from_revision=from_revision)
        return open_watch(self._link, filters, begin)

    async def query_instances(
        self,
        *,
        service_name: str | None = None,
        instance_id: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> InstancePage:
        """Look up instances, connected or suspended, ordered by id. What is not given does not restrict.

        Args:
            limit: of this page; the router's default is 100, and 1000 the most.
            offset: how many to leave out first, at most 10 000.

        Raises:
            InvalidParams: a limit or an offset that is out of bounds.
        """
        request = given(service_name=service_name, instance_id=instance_id, limit=limit, offset=offset)
        return await self._link.request("instance.query", request, read_instance_page, harmless=True)

    async def explain(
        self, *, resource_id: str | None = None, service_name: str | None = None
    ) -> Explanation:
        """Ask what a call to the resource, or to the service, would meet if it were made now, and why. Calls nobody.

        What nobody owns or serves is no error here: the explanation says so.

        Raises:
            InvalidParams: neither of the two is given, or not a valid name.
        """
        request = given(resource_id=resource_id, service_name=service_name)
        return await self._link.request("route.explain", request, read_explanation, harmless=True)

    async def top(
        self, what: Literal["busiest", "unowned", "conflicts"], *, limit: int | None = None
    ) -> Ranking:
        """Ask which resources stand out.

        Args:
            what: ``busiest``: those with the most calls since they last got an owner. ``unowned``: those that were called
                most while nobody owned them. ``conflicts``: those that others wanted to register most.
            limit: at most so many, up to 1000; the router's default is 100.

        Raises:
            InvalidParams: there is no such ranking, or a limit that is out of bounds.
        """
        return await self._link.request(
            "router.top", given(what=what, limit=limit), read_ranking, harmless=True
        )

    async def router_statistics(self) -> RouterStatistics:
        """Ask for the router in numbers, service by service."""
        return await self._link.request("router.statistics", {}, read_router_statistics, harmless=True)

    async def info(self) -> SessionInfo:
        """Ask the router about this session, its limits and features."""
        return await self._link.request("session.info", {}, read_session_info, harmless=True)

    async def ping(self) -> None:
        """Have the router answer: it, and the way to it, work. Not needed to keep a connection alive."""
        await self._link.request("session.ping", {}, ignore, harmless=True)
