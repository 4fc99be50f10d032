"""Calls of one session, and what became of them."""

from collections import Counter
from typing import Any

from tests.processes.independent import Pending, Refused, Session


class Accounts:
    """The calls of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.calls: list[Pending] = []

    async def start(self, method: str, *, size: int = 0, **target: Any) -> Pending:
        """Make a call of about so many bytes."""
        call = await self._session.start_call(method, {"filling": "x" * size}, **target)
        self.calls.append(call)
        return call

    async def wait_settled(self) -> None:
        """Wait until every call has its answer."""
        for call in self.calls:
            await call.wait_settled()

    @property
    def answered(self) -> list[Any]:
        """The results there are so far."""
        messages = [call.message for call in self.calls if call.message is not None]
        return [message["result"] for message in messages if "result" in message]

    @property
    def refused(self) -> list[Refused]:
        """The errors there are so far."""
        return [refused for call in self.calls if (refused := call.refused) is not None]

    def refusals(self) -> dict[tuple[str | None, str | None], int]:
        """How many errors of each type, and what they say about delivery."""
        return Counter((refused.type, refused.data.get("delivery")) for refused in self.refused)

    @property
    def last_answer_at(self) -> float:
        """When the last answer came; infinity if one is missing."""
        return max(call.answered_at for call in self.calls)
