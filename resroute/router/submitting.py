"""Commands that requests come down to, and the answers that follow once the log has decided."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from resroute.core.commands import AnyCommand
from resroute.core.facts import Applied, Outcome, Refused
from resroute.errors import (
    InstanceConflict,
    InstanceNotFound,
    ResourceConflict,
    RouterError,
    SessionNotFound,
)
from resroute.ids import InstanceId
from resroute.protocol import results as r
from resroute.router.means import Means
from resroute.router.probing import Prober
from resroute.router.request import Request
from resroute.router.session import Session
from resroute.times import rfc3339


class Submitter:
    """Puts commands into the log on behalf of requests."""

    def __init__(self, means: Means, prober: Prober) -> None:
        self._log = means.log
        self._sessions = means.sessions
        self._auditor = means.auditor
        self._prober = prober

    def submit(self, command: AnyCommand, answer: Callable[[Outcome], None]) -> None:
        """Submit a command."""
        self._log.submit(command, answer)

    def submit_after_probing(
        self, rivals: Iterable[Session | None], command: AnyCommand, answer: Callable[[Outcome], None]
    ) -> bool:
        """Submit a command once those rivals that are silent were asked whether they are still there.

        Returns False, and does nothing, if none of them is silent.
        """
        return self._prober.probe(rivals, lambda: self._log.submit(command, answer))

    def when_applied(
        self,
        request: Request,
        then: Callable[[Any], r.Result],
        *,
        on_behalf_of: InstanceId | None = None,
    ) -> Callable[[Outcome], None]:
        """Answer once the log has decided: a refusal as it is, a result as ``then`` says. And have it audited.

        ``on_behalf_of`` is the instance that the request is about. It may have gone before the log came to it.
        """

        def done(applied: Applied) -> r.Result:
            self._auditor.asked(request, applied, on_behalf_of=on_behalf_of)
            return then(applied.result)

        return self.when_done(request, done, on_behalf_of=on_behalf_of)

    def when_done(
        self,
        request: Request,
        then: Callable[[Applied], r.Result],
        *,
        on_behalf_of: InstanceId | None = None,
    ) -> Callable[[Outcome], None]:
        """As :meth:`when_applied`, for those who have the audit log told themselves."""

        def answer(outcome: Outcome) -> None:
            if isinstance(outcome, Refused):
                error = outcome.error
                if isinstance(error, SessionNotFound) and on_behalf_of is not None:
                    error = InstanceNotFound(on_behalf_of)
                request.refuse(self._explained(error))
                return
            request.answer_from(lambda: then(outcome))

        return answer

    def submit_contested(
        self,
        command: AnyCommand,
        answer: Callable[[Outcome], None],
        rivals_in: Callable[[Outcome], Sequence[InstanceId]],
    ) -> None:
        """Submit a command that rivals may stand in the way of, and once more if they turn out to be gone."""

        def answer_or_probe(outcome: Outcome) -> None:
            owners = (self._log.state.instance(rival) for rival in rivals_in(outcome))
            rivals = [self._sessions.get(owner.session_id) for owner in owners if owner is not None]
            if not rivals or not self._prober.probe(rivals, lambda: self._log.submit(command, answer)):
                answer(outcome)

        self._log.submit(command, answer_or_probe)

    def _explained(self, error: RouterError) -> RouterError:
        """A conflict over a single id says all about its owner; and each says how long who is in the way may stay away."""
        state = self._log.state
        if isinstance(error, InstanceConflict):
            instance = state.instance(InstanceId(error.instance_id))
            if instance is not None and instance.suspended_until is not None:
                error.suspended_until = rfc3339(instance.suspended_until)
        if isinstance(error, ResourceConflict) and state.suspended_count:
            grants = filter(None, map(state.grant_of, error.conflicts))
            times = [it.owner.suspended_until for it in grants if it.owner.suspended_until is not None]
            if times:
                error.suspended_until = rfc3339(max(times))
        if isinstance(error, ResourceConflict) and len(error.conflicts) == 1:
            [resource_id] = error.conflicts
            grant = state.grant_of(resource_id)
            if grant is not None:
                error.resource_id = resource_id
                error.owner_instance_id = grant.owner.instance_id
                error.epoch = grant.epoch
                error.since = rfc3339(grant.registered_at)
                owner = self._sessions.get(grant.owner.session_id)
                error.owner_healthy = owner is not None and owner.is_responsive
        return error
