"""Handing resources over: the method ``resource.transfer``."""

from collections import Counter
from collections.abc import Mapping

from resroute.core.commands import Transfer
from resroute.core.facts import Outcome, Refused, Transferred
from resroute.errors import Forbidden, InvalidParams
from resroute.ids import InstanceId, ServiceName
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.router.means import Means
from resroute.router.queries import check_ids
from resroute.router.request import Handler, Request
from resroute.router.resource_operations import check_known
from resroute.router.session import Session
from resroute.router.submitting import Submitter

MAX_REASON_LENGTH = 1000
"""Characters of the reason that is given for a transfer."""


class TransferOperations:
    """What the method ``resource.transfer`` does."""

    def __init__(self, means: Means, submitter: Submitter) -> None:
        self._settings = means.settings
        self._state = means.log.state
        self._sessions = means.sessions
        self._metrics = means.metrics
        self._clocks = means.clocks
        self._names = means.names
        self._submitter = submitter
        self.handlers: Mapping[str, Handler] = {"resource.transfer": self._transfer}

    def _transfer(self, request: Request, params: p.TransferResourcesParams) -> None:
        session = request.session
        check_ids(params.resource_ids)
        check_known("state", params.state or {}, params.resource_ids)
        if not params.reason or len(params.reason) > MAX_REASON_LENGTH:
            raise InvalidParams.at("reason", f"must be 1 to {MAX_REASON_LENGTH} characters")
        self._check_may(session, params)
        command = Transfer(
            session.id,
            tuple(params.resource_ids),
            params.from_instance_id,
            params.to_instance_id,
            at=self._clocks.wall(),
            limit=self._settings.max_resources_per_instance,
            transfer_id=self._names.transfer(),
            reason=params.reason,
            service_name=params.service_name,
            partial=params.partial,
            as_admin=session.may("admin"),
            verify_ownership=params.verify_ownership,
            across_services=self._settings.transfer_across_services,
            state={name: bytes(value) for name, value in params.state.items()} if params.state else None,
        )

        from_service, to_service = map(self._service_of, (params.from_instance_id, params.to_instance_id))

        def transferred(result: Transferred) -> r.Result:
            for error_type, count in Counter(result.failed.values()).items():
                self._metrics.count_transfers(from_service, to_service, error_type, count)
            return r.TransferredResources(
                success=not result.failed,
                transferred=result.transferred,
                failed=result.failed,
                epochs=dict.fromkeys(result.transferred, result.epoch),
                transfer_id=command.transfer_id,
            )

        when_applied = self._submitter.when_applied(request, transferred)

        def answer(outcome: Outcome) -> None:
            if isinstance(outcome, Refused):
                count = len(params.resource_ids)
                self._metrics.count_transfers(from_service, to_service, outcome.error.type, count)
            when_applied(outcome)

        # nothing is handed to somebody who has gone without a word
        if not self._submitter.submit_after_probing([self._target_of(params)], command, answer):
            self._submitter.submit(command, answer)

    @staticmethod
    def _check_may(session: Session, params: p.TransferResourcesParams) -> None:
        if session.may("admin"):
            return
        if session.owner is None:
            raise Forbidden("instance.register")
        if not params.verify_ownership or params.service_name not in (None, session.owner.service.name):
            raise Forbidden("admin")

    def _service_of(self, instance_id: InstanceId) -> ServiceName | None:
        owner = self._state.instance(instance_id)
        return None if owner is None else owner.service.name

    def _target_of(self, params: p.TransferResourcesParams) -> Session | None:
        target = self._state.instance(params.to_instance_id)
        return None if target is None else self._sessions.get(target.session_id)
