"""What a watch has been told, held against what it must be told whatever the history."""

from typing import Any

from tests.party import Json, Party


class Told:
    """The events of one watch, put together from its messages.

    Attributes:
        events: all of whole revisions, each with the revision it belongs to.
        oldest: what ``resource.watch_lost`` said, once it has.
    """

    def __init__(self, started: Json) -> None:
        self.watch_id: str = started["watch_id"]
        self.after: int = started["revision"]
        self.events: list[tuple[int, Json]] = []
        self.oldest: int | None = None
        self.messages = 0
        # of the revision that is not whole yet
        self._part: list[Json] = []
        self._next_index = 0

    def take(self, notification: Json) -> None:
        """One more message. Objects to what cannot follow what came before."""
        params = notification["params"]
        assert params["watch_id"] == self.watch_id and self.oldest is None
        if notification["method"] == "resource.watch_lost":
            self.oldest = params["oldest_revision"]
            return
        assert notification["method"] == "resource.events"
        self.messages += 1
        revision, index, count = params["revision"], params["index"], params["count"]
        assert revision > self.revision, "each revision is told once, in order"
        assert index == self._next_index < count and params["events"]
        self._part += params["events"]
        self._next_index += 1
        if self._next_index == count:
            self.events += [(revision, event) for event in self._part]
            self._part, self._next_index = [], 0

    @property
    def revision(self) -> int:
        """Up to which everything has been told."""
        return self.events[-1][0] if self.events else self.after

    @property
    def brief(self) -> list[tuple[str, str, str]]:
        """What happened to which resource, and why."""
        return [
            (event["event"], event["resource"]["resource_id"], event["cause"]) for _, event in self.events
        ]


async def start_watch(party: Party, **params: Any) -> Told:
    """Begin a watch."""
    return Told(await party.ask("resource.watch", **params))


def take_all(party: Party, *watches: Told) -> None:
    """Hand out what has arrived, which must be for these watches."""
    by_id = {told.watch_id: told for told in watches}
    for message in party.take_news():
        by_id[message["params"]["watch_id"]].take(message)


async def wait_told(party: Party, told: Told, count: int) -> None:
    """Wait until a watch has been told so many events in all."""
    while len(told.events) < count:
        told.take(await party.next())
