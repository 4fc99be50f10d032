"""What carries a client's messages: the seam between the SDK and whatever is below it."""

from typing import Final, Protocol

NDJSON: Final = "resroute.v1.ndjson"
"""The subprotocol in which one text message may hold several lines, each a JSON-RPC message."""

JSON: Final = "resroute.v1"

SUBPROTOCOLS: Final = (NDJSON, JSON)
"""What a client offers, in its order of preference."""


class Connection(Protocol):
    """An open connection to a router: text messages, whole and in order, both ways, until it ends.

    One task sends, one receives, and any may close. Once either raises :class:`resroute.ConnectionLost`, so do all that
    follow; what had arrived before the end is received first.
    """

    @property
    def subprotocol(self) -> str | None:
        """The one that was agreed on. None: as :data:`JSON`."""
        ...

    @property
    def heard_at(self) -> float:
        """When something last arrived, on Trio's clock: Pings too. Infinity: this connection has an end that shows."""
        ...

    async def send(self, text: str) -> None:
        """Send one message. If it is cancelled, the connection may be of no use any more: then the next one raises.

        Raises:
            ConnectionLost: the connection has ended.
        """
        ...

    async def receive(self) -> str:
        """Wait for the next message.

        Raises:
            ConnectionLost: the connection has ended; with the close code, if it was the router that closed it with one.
        """
        ...

    async def aclose(self) -> None:
        """Say goodbye, wait for the peer's, close.

        The caller bounds the time; cancelled, the connection is closed at once. Closing twice does no harm.
        """
        ...
