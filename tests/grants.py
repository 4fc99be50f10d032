"""What was granted, as its owners or whoever asked for it were told: the part of the checker that reads this off."""

import itertools
import math
from collections.abc import Iterable, Iterator

import attrs

from tests.records import Object, Record, Request, Word


@attrs.frozen(eq=False)
class Grant:
    """That somebody was told to own a resource."""

    resource_id: str
    epoch: int
    owner: Record
    asked: Word | None
    """Its request. None for what it was given unasked, and heard of some time later."""
    told: Word
    is_own: bool
    """Whether the owner asked for it itself, or was told itself that it was given it."""
    is_new: bool
    """Whether nobody was told of it before."""
    is_taken: bool
    """Whether whoever had it before may still have it: by force, or because it was handed over."""
    resumed_from: frozenset[Record] = frozenset()
    """Those from which it may have been taken over: earlier sessions of the same instance."""

    @property
    def comes_early(self) -> bool:
        """Whether it can be called before its owner is told."""
        if self.asked is None:
            return False
        return self.told.is_batched or self.asked.params.get("continue_on_error") is True


Unclear = dict[tuple[str, int | None], list[Record]]
"""What was registered for another: for one of several sessions of a name, or without anybody having heard whether and at
which epoch it was granted (None). And all who may have got it."""


def find_grants(requests: dict[Record, list[Request]], unclear: Unclear) -> Iterator[Grant]:
    """Read off what was granted.

    Args:
        unclear: is filled with what may have been granted.
    """
    finder = _Finder(requests, unclear)
    for record in requests:
        yield from finder.given(record)
    for record, made in requests.items():
        for request in made:
            match request.said.method:
                case "instance.register":
                    yield from finder.resumed(record, request)
                case "resource.register" | "resource.bulk_register":
                    yield from finder.registered(record, request)


class _Finder:
    """Finds what was granted by one message after the other."""

    def __init__(self, requests: dict[Record, list[Request]], unclear: Unclear) -> None:
        self._unclear = unclear
        self._known: set[tuple[str, int]] = set()
        # sessions that asked to be instances, as which, and where they did
        self._instances: list[tuple[str, Record, int]] = []
        # as which instance each was answered first, and where that was
        self._became: dict[Record, tuple[str | None, float]] = {}
        for record, made in requests.items():
            self._became[record] = _became(made)
            for request in made:
                if request.said.method == "instance.register" and request.answer is not None:
                    result = request.answer.message.get("result")
                    if isinstance(result, Object):
                        self._instances.append((result["instance_id"], record, request.said.position))

    def _is_new(self, resource_id: str, epoch: int) -> bool:
        """Whether this was not found before."""
        count = len(self._known)
        self._known.add((resource_id, epoch))
        return len(self._known) > count

    def given(self, record: Record) -> Iterator[Grant]:
        """What a session was given unasked."""
        for word in record.words:
            if not word.is_said and word.method == "resource.acquired":
                for resource_id, epoch in acquired(word).items():
                    self._is_new(resource_id, epoch)
                    yield Grant(
                        resource_id, epoch, record, None, word, is_own=True, is_new=True, is_taken=True
                    )

    def resumed(self, record: Record, request: Request) -> Iterator[Grant]:
        """What an instance has taken over from its earlier session."""
        if request.answer is None:
            return
        name, _ = self._became[record]
        earlier = frozenset(other for instance_id, other, _ in self._instances if instance_id == name)
        for resource_id, epoch in resumed(request.answer).items():
            yield Grant(
                resource_id,
                epoch,
                record,
                request.said,
                request.answer,
                is_own=True,
                is_new=self._is_new(resource_id, epoch),
                is_taken=False,
                resumed_from=earlier,
            )

    def registered(self, record: Record, request: Request) -> Iterator[Grant]:
        """What was registered, as far as that is clear: what may have been is noted."""
        said, answer = request.said, request.answer
        until = math.inf if answer is None else answer.position
        name, became = self._became[record]
        own = name if became < until else None  # before, one of that name was another
        named = said.params.get("instance_id", own)
        candidates = [
            owner
            for instance_id, owner, since in self._instances
            if instance_id == named
            and (named == own or owner is not record)
            and since < until
            and (owner.left_position is None or owner.left_position > said.position)
        ]
        is_partial = said.params.get("continue_on_error") is True
        result = None if answer is None else answer.message.get("result")
        if answer is None or not isinstance(result, Object):
            # some batches may be in force, or what is another's; what is its own in one step is its own to know
            if is_partial and may_have_run(answer) if answer is not None else is_partial or named != own:
                self._note_unclear(((resource_id, None) for resource_id in asked_for(said)), candidates)
            return
        epochs = _epochs(said, result)
        if named != own and len(candidates) != 1:
            self._note_unclear(epochs.items(), candidates)
            return
        owner = record if named == own else candidates[0]
        for resource_id, epoch in epochs.items():
            yield Grant(
                resource_id,
                epoch,
                owner,
                said,
                answer,
                is_own=owner is record,
                is_new=self._is_new(resource_id, epoch),
                is_taken=_is_forced(said, resource_id),
            )

    def _note_unclear(self, grants: Iterable[tuple[str, int | None]], candidates: Iterable[Record]) -> None:
        for granted in grants:
            self._unclear.setdefault(granted, []).extend(candidates)


def _became(made: Iterable[Request]) -> tuple[str | None, float]:
    """As which instance a session was answered, and at which of its words."""
    for request in made:
        if request.said.method == "instance.register" and request.answer is not None:
            result = request.answer.message.get("result")
            if isinstance(result, Object):
                return result["instance_id"], request.answer.position
    return None, math.inf


def may_have_run(answer: Word) -> bool:
    """Whether a refusal leaves open what has been done."""
    return answer.is_routers_error and answer.error_data.get("delivery") == "unknown"


def acquired(notice: Word) -> dict[str, int]:
    """What a ``resource.acquired`` gives, and the epochs."""
    return {resource["resource_id"]: resource["epoch"] for resource in notice.params["resources"]}


def resumed(answer: Word) -> dict[str, int]:
    """What the answer to ``instance.register`` says was taken over, and the epochs; of very much only the first."""
    result = answer.message.get("result")
    return dict(result.get("resumed", ())) if isinstance(result, Object) else {}


def _is_forced(said: Word, resource_id: str) -> bool:
    items = (item for item in said.params.get("resources", ()) if item["resource_id"] == resource_id)
    return said.params.get("force") is True or any(item.get("force") is True for item in items)


def asked_for(said: Word) -> list[str]:
    """What somebody wanted to register."""
    return [
        *said.params.get("resource_ids", ()),
        *(i["resource_id"] for i in said.params.get("resources", ())),
    ]


def _epochs(said: Word, result: Object) -> dict[str, int]:
    """The epochs that an answer tells: those of a bulk that is complete stand with its batches, unless they differ."""
    epochs: dict[str, int] = dict(result["epochs"])
    if result.get("complete") is True:
        size = said.params.get("batch_size", 100)
        for batch, asked in zip(
            result["batch_results"], itertools.batched(asked_for(said), size, strict=False), strict=True
        ):
            epochs = dict.fromkeys(asked, batch["epoch"]) | epochs
    return epochs
