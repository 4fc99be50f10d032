"""Why sessions end."""

import msgspec

from resroute.core.commands import Cause
from resroute.transport.interface import TransportEnded

_ON_PURPOSE = (1000, 1001, 1005, 4009, 4010)  # 1005: a Close that says no code


class Ending(msgspec.Struct, frozen=True):
    """Why a session ends, and what its peer is told."""

    code: int
    reason: str
    cause: Cause = "session_ended"

    @property
    def is_unclean(self) -> bool:
        """Whether the instance was cut off: neither it nor an administrator has ended the session on purpose."""
        return self.code not in _ON_PURPOSE

    @property
    def close_code(self) -> int:
        """The code to close with: 1006 stands for a peer that left without a word, and is never on the wire."""
        return self.code if self.code != 1006 else 1000


def ending_of(ended: TransportEnded) -> Ending:
    """The peer has gone. A close code of 1000 is answered in kind."""
    return Ending(ended.code or 1006, ended.reason)
