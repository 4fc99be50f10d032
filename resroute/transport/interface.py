"""What carries messages for a session, whatever is underneath."""

from collections.abc import Collection, Sequence
from typing import Final, Literal, Protocol

from resroute.protocol import messagepack

Subprotocol = Literal["resroute.v1.ndjson", "resroute.v1", "resroute.v1.msgpack"]

NDJSON: Final = "resroute.v1.ndjson"
JSON: Final = "resroute.v1"
MSGPACK: Final = "resroute.v1.msgpack"

SUBPROTOCOLS: tuple[Subprotocol, ...] = (
    (NDJSON, JSON, MSGPACK) if messagepack.IS_AVAILABLE else (NDJSON, JSON)
)
"""Those that this router speaks, in its order of preference. MessagePack needs the extra ``msgpack``."""

LINE_BREAK = ord("\n")
CARRIAGE_RETURN = ord("\r")
"""No message of ndjson has either. To look for a byte in bytes takes a tenth of what it takes to look for bytes by ``in``."""

_SPACES_FOR_BREAKS = bytes.maketrans(b"\r\n", b"  ")


def in_one_line(text: bytes) -> bytes:
    """JSON without raw line breaks, which it allows between tokens only."""
    return text.translate(_SPACES_FOR_BREAKS)


MAX_PACK_BYTES = 64 * 1024
"""The most that several messages in one WebSocket message come to, and the largest frame sent."""

MAX_REASON_BYTES = 123
"""What fits into a Close beside its code."""


def close_reason(reason: str) -> str:
    """As much of a reason as a Close can tell."""
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


class TransportEnded(Exception):
    """The peer has gone, or has broken the protocol so that nothing more can be read.

    Attributes:
        code: the close code, the peer's or the one that its mistake calls for; None if it left without a word.
        reason: the close reason, or what happened.
    """

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason} ({self.code})" if self.code else self.reason


class Transport(Protocol):
    """A connection that carries JSON-RPC messages in order. One task receives, one task sends."""

    subprotocol: Subprotocol
    remote_address: str
    max_message_bytes: int
    """A larger message from the peer ends the connection with 1009. May be changed at any time."""
    pongs: int
    """Pongs received so far."""

    @property
    def progressed_at(self) -> float:
        """On Trio's clock: when a send that had to wait last moved on."""
        ...

    @property
    def held_bytes(self) -> int:
        """What has arrived of messages that are not complete yet."""
        ...

    @property
    def is_urgent(self) -> bool:
        """Whether a Pong, a Ping or a Close waits for the next :meth:`send`."""
        ...

    async def receive(self) -> Sequence[bytes]:
        """Wait for bytes from the peer, and return the messages that are complete now: none, one or many.

        Each is one JSON-RPC message or batch. Cancelling it loses nothing that was not returned.

        Raises:
            TransportEnded: the peer has gone or broken the protocol.
        """
        ...

    async def send(self, messages: Collection[bytes]) -> None:
        """Send messages in order, with whatever is urgent first. Returns when the operating system has them.

        If it is cancelled or raises, the connection is of no use any more and :meth:`aclose` says no goodbye.

        Raises:
            TransportEnded: the peer has gone.
        """
        ...

    def ping(self) -> None:
        """Have the next :meth:`send` begin with a Ping."""
        ...

    def close_if_gone(self) -> bool:
        """Close at once if it is known that nobody is there to say goodbye to. Returns whether it is closed by that."""
        ...

    async def aclose(self, code: int, reason: str) -> None:
        """Say goodbye with a close code and as much of the reason as fits, wait for the peer's, close.

        The caller bounds the time; cancelled, the connection is closed at once. Closing twice does no harm.
        """
        ...
