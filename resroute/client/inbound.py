"""The seam between a session and the instance that it may be."""

from typing import Protocol

from resroute.client.messages import Message


class Inbound(Protocol):
    """Who takes what the router sends on its own account. Called by the reader, in the order of arrival."""

    def receive(self, message: Message) -> None:
        """Take a request or a notification. May raise what decoding it raises."""
        ...

    @property
    def calls_serving(self) -> int:
        """Calls that are being worked on."""
        ...

    def refuse(self) -> None:
        """Take no more calls. Those at work go on."""
        ...

    def connection_ended(self) -> None:
        """Know that nothing more can be received or answered."""
        ...
