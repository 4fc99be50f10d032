"""What expires, and which change of metadata makes which version: the part of the checker that decides about these."""

import math
from collections.abc import Callable, Iterator, Mapping

import attrs

from tests.records import Object, Record, Request, Word

LATE_SECONDS = 0.1
"""Later than this after its time to live is over nothing is owned any more."""
LAG_SECONDS = 0.25
"""What a log may take for each command that answers late."""
_EARLY_SECONDS = 0.001


@attrs.frozen(eq=False)
class _Touch:
    """A request that lets a time to live begin anew, if it is granted."""

    request: Request
    ttl_seconds: float

    @property
    def at_latest(self) -> float:
        """When it took effect, if it did."""
        answer, record = self.request.answer, self.request.said.record
        if answer is not None:
            return answer.at
        return math.inf if record.left_at is None else record.left_at + LAG_SECONDS

    def is_granted(self, resource_id: str) -> bool:
        """Whether its answer says so."""
        answer = self.request.answer
        result = None if answer is None else answer.message.get("result")
        if not isinstance(result, Object):
            return False
        return resource_id in result.get("registered", result.get("renewed", ()))


class Lifetimes:
    """Holds what was said about metadata against what followed.

    Args:
        ttls: the time to live of the resources that expire. Every registration of one names it, and nothing changes it.
        complain: is told what is wrong, and by which words that shows.
    """

    def __init__(
        self,
        requests: Mapping[Record, list[Request]],
        ttls: Mapping[str, float],
        complain: Callable[..., None],
    ) -> None:
        self._requests = requests
        self._ttls = ttls
        self._complain = complain
        # resource -> the requests that may have let its time begin anew, in the order said
        self._touches: dict[str, list[_Touch]] = {resource_id: [] for resource_id in ttls}
        for request in self._said("resource.register", "resource.renew"):
            given = request.said.params.get("ttl_seconds")
            for resource_id in request.said.params.get("resource_ids", ()):
                if resource_id in ttls:
                    ttl_seconds = ttls[resource_id] if given is None else float(given)
                    self._touches[resource_id].append(_Touch(request, ttl_seconds))

    def check(self) -> None:
        """Find everything that is wrong."""
        for record in self._requests:
            if record.late_since is None and not record.is_deaf:
                for word in record.words:
                    if not word.is_said and word.method is not None:
                        self._check_heard(word)
        self._check_versions()

    def _said(self, *methods: str) -> Iterator[Request]:
        found = (request for made in self._requests.values() for request in made)
        yield from sorted(
            (request for request in found if request.said.method in methods),
            key=lambda request: request.said.position,
        )

    def _check_heard(self, word: Word) -> None:
        resource_id = word.meta.get("resource_id")
        if isinstance(resource_id, str) and resource_id in self._ttls and "epoch" in word.meta:
            self._check_alive(resource_id, word)
        elif word.method == "resource.lost" and word.params["cause"] == "expired":
            for lost in word.params["resource_ids"]:
                if lost not in self._ttls:
                    self._complain(f"{lost} has expired, and had no time to live", word)
                else:
                    self._check_over(lost, word)

    def _check_alive(self, resource_id: str, heard: Word) -> None:
        """A call comes while the time to live of its resource can last."""
        began = max(
            (
                touch.at_latest
                for touch in self._touches[resource_id]
                if touch.request.said.position < heard.position
            ),
            default=-math.inf,
        )
        if heard.at > began + self._ttls[resource_id] + LATE_SECONDS + LAG_SECONDS:
            self._complain(f"{heard.record.name} heard a call for {resource_id}, which was over", heard)

    def _check_over(self, resource_id: str, lost: Word) -> None:
        """What is told to have expired was not renewed in time."""
        own = [
            touch
            for touch in self._touches[resource_id]
            if touch.request.said.record is lost.record and touch.request.said.position < lost.position
        ]
        if any(
            touch.request.answer is None or touch.request.answer.position > lost.position for touch in own
        ):
            return  # it may have taken effect, for a shorter time
        granted = [touch for touch in own if touch.is_granted(resource_id)]
        if granted and lost.at < granted[-1].request.said.at + granted[-1].ttl_seconds - _EARLY_SECONDS:
            self._complain(f"{resource_id} has expired too early", granted[-1].request.said, lost)

    def _check_versions(self) -> None:
        """No two changes make the same version, later ones make higher ones, and none is made against its will."""
        changes: dict[tuple[str, int], list[tuple[int, Request]]] = {}
        for request in self._said("resource.update"):
            expected, answer = request.said.params.get("expected_version"), request.answer
            if answer is None or not request.is_certain:
                continue
            if answer.error_data.get("type") == "version_conflict":
                if answer.error_data["current_version"] == expected:
                    self._complain("the version was the one that was expected", request.said, answer)
                continue
            if not isinstance(result := answer.message.get("result"), Object):
                continue
            resource = result["resource"]
            version = resource["metadata"]["version"]
            if expected is not None and version != expected + 1:
                self._complain("a version was changed that was not the one expected", request.said, answer)
            grant = changes.setdefault((resource["resource_id"], resource["epoch"]), [])
            for other, earlier in grant:
                was_before = earlier.answer is not None and earlier.answer.position < request.said.position
                if version == other or (was_before and version < other):
                    self._complain("a version does not follow from the one before", earlier.said, answer)
            grant.append((version, request))
