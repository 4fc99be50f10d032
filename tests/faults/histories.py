"""What watchers have been told in a schedule: for each a history without a gap, and the same one for all."""

from tests.party import Json
from tests.watching import Told


class Histories:
    """What any watcher has been told, by revision."""

    def __init__(self) -> None:
        self._told: dict[int, list[tuple[object, ...]]] = {}

    def check(self, revision: int, events: list[Json]) -> None:
        """Somebody has been told all of a revision. Whoever else has been must have been told the same."""
        brief = [_brief(event) for event in events]
        assert self._told.setdefault(revision, brief) == brief, f"revision {revision} was told in two ways"

    def check_complete(self, after: int, up_to: int, revisions: set[int]) -> None:
        """Who began after one revision and has been told up to another has been told all that anybody was."""
        missing = {revision for revision in self._told if after < revision <= up_to} - revisions
        assert not missing, f"a watcher was never told of {sorted(missing)}"


def _brief(event: Json) -> tuple[object, ...]:
    info = event["resource"]
    version = info["metadata"]["version"] if "metadata" in info else 0
    return (
        event["event"],
        event["cause"],
        info["resource_id"],
        info["owner_instance_id"],
        info["epoch"],
        version,
        event.get("previous_owner"),
    )


class Follower:
    """One watcher through all its sessions: it goes on where it was, or takes a new snapshot if it must.

    Attributes:
        revision: up to which it has been told everything; None: it needs a snapshot.
        resumed: how often it went on.
    """

    def __init__(self, histories: Histories) -> None:
        self.revision: int | None = None
        self.resumed = 0
        self._histories = histories
        self._began = 0
        self._revisions: set[int] = set()
        # resource -> owner and epoch, as it has been told
        self._owners: dict[str, tuple[str, int]] = {}
        self._told: Told | None = None
        self._count = 0

    def ask(self) -> Json:
        """What to begin a watch with."""
        return {"snapshot": True} if self.revision is None else {"from_revision": self.revision}

    def begin(self, started: Json) -> None:
        """The watch has begun."""
        self._told = Told(started)
        self._count = 0
        if "resources" in started:
            self._began = self.revision = started["revision"]
            self._revisions = set()
            self._owners = {
                info["resource_id"]: (info["owner_instance_id"], info["epoch"])
                for info in started["resources"]
            }
        else:
            assert started["revision"] == self.revision
            self.resumed += 1

    def lose(self) -> None:
        """It cannot go on: what it needs is gone."""
        self.check()
        self.revision = self._told = None

    def take(self, notification: Json) -> bool:
        """One more message of the watch. Returns whether the watch goes on."""
        told = self._told
        assert told is not None, "nothing is told before the answer"
        told.take(notification)
        if told.oldest is not None:
            assert self.revision is not None and told.oldest > self.revision
            self.lose()
            return False
        if told.revision != self.revision and len(told.events) > self._count:
            new = told.events[self._count :]
            self._count = len(told.events)
            self.revision = told.revision
            self._revisions.add(told.revision)
            self._histories.check(told.revision, [event for _, event in new])
            for revision, event in new:
                self._follow(revision, event)
        return True

    def _follow(self, revision: int, event: Json) -> None:
        """Every event fits what was told before."""
        info = event["resource"]
        resource_id, now = info["resource_id"], (info["owner_instance_id"], info["epoch"])
        before = self._owners.get(resource_id)
        match event["event"]:
            case "registered":
                assert before is None and info["epoch"] == revision, event
                self._owners[resource_id] = now
            case "transferred":
                assert before is not None and info["epoch"] == revision > before[1], event
                assert before[0] == event["previous_owner"], event
                self._owners[resource_id] = now
            case "updated":
                assert before == now, event
            case "released" | "expired":
                # what a dead owner had is told late: a snapshot in between no longer has it
                assert before in (now, None) and (before == now or info["epoch"] <= self._began), event
                self._owners.pop(resource_id, None)

    def check(self) -> None:
        """Nothing was left out so far."""
        if self.revision is not None:
            self._histories.check_complete(self._began, self.revision, self._revisions)
