"""What happens when all that waits in a router's memory is too much."""

from collections.abc import Mapping

from resroute.ids import SessionId
from resroute.router.endings import Ending
from resroute.router.outbox import Memory
from resroute.router.session import Session


def make_memory(max_bytes: int, sessions: Mapping[SessionId, Session]) -> Memory:
    """The memory of these sessions. Above ``max_bytes`` those that take most end, until what the others take fits."""

    def relieve() -> None:
        excess = memory.total_bytes - memory.max_bytes
        excess -= sum(session.memory_bytes for session in sessions.values() if session.ending is not None)
        while excess > 0:
            staying = (session for session in sessions.values() if session.ending is None)
            largest = max(staying, key=lambda session: session.memory_bytes, default=None)
            if largest is None:
                return
            largest.end(Ending(4008, "slow consumer: the router is over max_outbox_total_bytes"))
            excess -= largest.memory_bytes
        # what they held is freed when they have closed: until then, do not look again for every message
        memory.max_bytes = memory.total_bytes + max_bytes // 64

    memory = Memory(max_bytes, relieve)
    return memory
