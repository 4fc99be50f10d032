"""Instances that leave without anybody noticing: the method ``instance.drain``."""

from collections.abc import Callable, Mapping, Sequence

import trio

from resroute.core.commands import Drain
from resroute.core.facts import Outcome, Refused, SessionEnded
from resroute.core.records import OwnerRecord
from resroute.errors import (
    Forbidden,
    InstanceNotFound,
    InvalidParams,
    ServiceMismatch,
)
from resroute.ids import InstanceId
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.router.acting import acting_owner
from resroute.router.draining import Emptying, Moved
from resroute.router.means import Means
from resroute.router.moving import work
from resroute.router.queries import check_ids
from resroute.router.request import Handler, Request

MAX_BATCH_SIZE = 1000


class DrainOperations:
    """What the method ``instance.drain`` does."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self.handlers: Mapping[str, Handler] = {"instance.drain": self._drain}

    def _drain(self, request: Request, params: p.DrainInstanceParams) -> None:
        if (
            request.session.owner is None
            and params.instance_id is not None
            and not request.session.may("admin")
        ):
            raise Forbidden("admin")
        owner = acting_owner(
            self._means.log.state, request.session, None, params.instance_id, may_be_suspended=True
        )
        heirs = self._heirs(owner, params.hand_over_to)
        if not 1 <= params.batch_size <= MAX_BATCH_SIZE:
            raise InvalidParams.at("batch_size", f"must be from 1 to {MAX_BATCH_SIZE}")
        at_most = self._means.settings.max_timeout_seconds
        seconds = at_most if params.deadline_seconds is None else params.deadline_seconds
        if not 0 < seconds <= at_most:
            raise InvalidParams.at("deadline_seconds", f"must be above 0 and at most {at_most:g}")
        emptying = Emptying(
            self._means,
            lambda applied: self._means.auditor.asked(request, applied),
            owner,
            heirs,
            batch_size=params.batch_size,
        )
        scope = trio.CancelScope()
        request.when_cancelled = scope.cancel

        async def run() -> None:
            tell = _teller(request, params.progress_token, len(owner.resources))
            await work(
                self._means,
                request,
                scope,
                lambda: emptying.run(seconds, tell),
                lambda: request.answer(self._result(owner, emptying.moved)),
            )

        def begun(outcome: Outcome) -> None:
            if isinstance(outcome, Refused):
                request.refuse(InstanceNotFound(owner.instance_id))
                return
            for fact in outcome.facts:
                if isinstance(fact, SessionEnded):  # it was cut off, and is not to come back
                    emptying.moved.released = fact.resource_count
                    reason = f"instance {owner.instance_id} drains"
                    self._means.auditor.ended_by(request, owner.session_id, owner, reason, outcome.revision)
            ends = any(isinstance(fact, SessionEnded) for fact in outcome.facts)
            moves = bool(owner.resources) and params.hand_over_to != "keep"
            if request.session.id != owner.session_id and not ends and not moves:
                self._means.auditor.drains(request, owner, outcome.revision)
            if params.hand_over_to == "keep":
                request.answer(self._result(owner, emptying.moved))
            else:
                self._means.tasks.start(run)

        self._means.log.submit(Drain(owner.session_id, self._means.clocks.wall()), begun)

    def _result(self, owner: OwnerRecord, moved: Moved) -> r.DrainedInstance:
        session = self._means.sessions.get(owner.session_id)
        return r.DrainedInstance(
            handed_over=moved.handed_over,
            released=moved.released,
            in_flight=0 if session is None else len(session.delivered),
        )

    def _heirs(
        self, owner: OwnerRecord, hand_over_to: str | Sequence[InstanceId]
    ) -> Sequence[InstanceId] | None:
        """Who may get what it owns. None: all other instances of its service."""
        if isinstance(hand_over_to, str):
            return None if hand_over_to == "service" else ()
        check_ids(hand_over_to, "hand_over_to")
        for index, heir_id in enumerate(hand_over_to):
            if heir_id == owner.instance_id:
                raise InvalidParams.at(f"hand_over_to.{index}", "is the instance that drains")
            heir = self._means.log.state.instance(heir_id)
            if heir is None or heir.suspended_until is not None:
                raise InstanceNotFound(heir_id)
            if heir.service is not owner.service:
                raise ServiceMismatch(owner.service.name, instance_id=heir_id)
        return hand_over_to


def _teller(request: Request, token: object, total: int) -> Callable[[Moved], None]:
    """Tells whoever asked for the drain how far it is."""

    def tell(moved: Moved) -> None:
        value = {
            "done": moved.handed_over + moved.released,
            "total": total,
            "handed_over": moved.handed_over,
            "released": moved.released,
        }
        request.tell_progress(token, value)

    return tell
