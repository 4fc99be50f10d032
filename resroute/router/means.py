"""What the parts of a router have in common."""

import random
from collections.abc import Mapping

import attrs

from resroute.cluster.log import Log
from resroute.ids import ResourceId, SessionId
from resroute.router.auditing import Auditor
from resroute.router.clocks import Clocks
from resroute.router.life import Life
from resroute.router.names import Names
from resroute.router.session import Session
from resroute.router.tally import Tally
from resroute.router.tasks import Tasks
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics


@attrs.frozen(eq=False, kw_only=True)
class Means:
    """What a part needs of the router whatever it does. Nothing in it knows of any part.

    Attributes:
        settings: those that the router began with.
        log: where commands go. Who owns what is read in its state.
        sessions: the sessions that have not ended.
        metrics: what is counted for monitoring.
        tally: what is counted for rankings, too.
        auditor: told of what was done for somebody who asked.
        clocks: Trio's is there anyway.
        names: for what begins.
        randomness: for what is left to chance.
        tasks: for what takes longer than the request that asked for it.
        life: whether the router takes anything new.
    """

    settings: Settings
    log: Log
    sessions: Mapping[SessionId, Session]
    metrics: Metrics
    tally: Tally
    auditor: Auditor
    clocks: Clocks
    names: Names
    randomness: random.Random
    tasks: Tasks
    life: Life

    def session_of(self, resource_id: ResourceId) -> Session | None:
        """The session of whoever owns a resource, if it is here."""
        grant = self.log.state.grant_of(resource_id)
        return None if grant is None else self.sessions.get(grant.owner.session_id)
