"""Who owned what, as far as the owners were told: the part of the checker that decides about ownership."""

import itertools
import math
from collections.abc import Callable, Iterator

import attrs

from tests.records import INSTANT_SECONDS, Object, Record, Request, Word


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

    @property
    def comes_early(self) -> bool:
        """Whether it can be called before its owner is told."""
        return self.asked is not None and self.asked.params.get("continue_on_error") is True


_GIVING_UP = ("resource.release", "resource.bulk_release", "resource.transfer")

_Unclear = dict[tuple[str, int | None], list[Record]]
"""What was registered for another: for one of several sessions of a name, or without anybody having heard whether and at
which epoch it was granted (None). And all who may have got it."""


class Ownership:
    """What was granted to whom.

    Args:
        complain: is told what is wrong, and by which words that shows.
    """

    def __init__(self, requests: dict[Record, list[Request]], complain: Callable[..., None]) -> None:
        self._records = list(requests)
        self._complain = complain
        self._by_resource: dict[str, list[Grant]] = {}
        self._by_owner: dict[Record, list[Grant]] = {}
        self._by_word: dict[Word, list[Grant]] = {}
        self._unclear: _Unclear = {}
        # answers that do not say again what was given up
        self._released = {
            request.answer: request.said.params["resource_ids"]
            for made in requests.values()
            for request in made
            if request.said.method == "resource.bulk_release"
            and request.answer is not None
            and isinstance(result := request.answer.message.get("result"), Object)
            and result["complete"]
        }
        for grant in _find_grants(requests, self._unclear):
            self._by_resource.setdefault(grant.resource_id, []).append(grant)
            self._by_owner.setdefault(grant.owner, []).append(grant)
            self._by_word.setdefault(grant.told, []).append(grant)

    def check(self) -> None:
        """Find everything that is wrong."""
        for resource_id, grants in self._by_resource.items():
            for earlier, later in itertools.permutations(grants, 2):
                self._check_pair(resource_id, earlier, later)
        for record in self._records:
            self._check_calls(record)

    def held_by(self, record: Record) -> dict[str, int] | None:
        """What a session believes to own at the end, and since which epoch; None if it cannot know."""
        if record.left_at is not None or record.is_deaf:
            return None
        if any(not grant.is_own for grant in self._by_owner.get(record, ())):
            return None
        if any(record in candidates for candidates in self._unclear.values()):
            return None
        held: dict[str, int] = {}
        for word in record.words:
            self._follow(word, held)
        return held

    def spans(self, record: Record) -> dict[str, list[tuple[Word, Word | None]]]:
        """From which word to which a session surely owned what it asked for itself: until it gives it up, or hears of it."""
        spans: dict[str, list[tuple[Word, Word | None]]] = {}
        held: dict[str, int] = {}
        for word in record.words:
            before = dict(held)
            if word.is_said and word.method in _GIVING_UP:
                for resource_id in word.params.get("resource_ids", ()):
                    held.pop(resource_id, None)
            self._follow(word, held)
            for resource_id in before.keys() - held.keys():
                since, _ = spans[resource_id].pop()
                spans[resource_id].append((since, word))
            for resource_id in held.keys() - before.keys():
                spans.setdefault(resource_id, []).append((word, None))
        return spans

    def _check_pair(self, resource_id: str, earlier: Grant, later: Grant) -> None:
        if later.asked is not None:
            is_known = earlier.told.position < later.asked.position
        else:
            is_known = earlier.owner is later.owner and earlier.told.position < later.told.position
        is_another = earlier.owner is not later.owner and earlier.epoch < later.epoch and later.is_new
        if earlier.epoch == later.epoch and earlier.owner is not later.owner:
            self._complain(f"{resource_id} has two owners at one epoch", earlier.told, later.told)
        if is_known and earlier.epoch > later.epoch:
            self._complain(f"the epoch of {resource_id} went back", earlier.told, later.told)
        if is_known and is_another and not later.is_taken and not _gave_up(earlier, later.told):
            self._complain(f"{resource_id} was granted though somebody owns it", earlier.told, later.told)
        if is_another and later.is_taken and not _can_have_noticed_nothing(earlier):
            if not any(_farewells(earlier)):
                loser = earlier.owner.name
                self._complain(f"{loser} was not told that it lost something", earlier.told, later.told)

    def _check_calls(self, record: Record) -> None:
        """Calls for a resource come only while it is owned, at the epoch that was told."""
        granted_by_others = {
            (grant.resource_id, grant.epoch)
            for grant in self._by_owner.get(record, ())
            if not grant.is_own or grant.comes_early
        }
        held: dict[str, int] = {}
        for word in record.words:
            if not word.is_said and word.method is not None and "epoch" in word.meta:
                resource_id, epoch = word.meta["resource_id"], word.meta["epoch"]
                is_unclear = any(record in self._unclear.get((resource_id, at), ()) for at in (epoch, None))
                is_granted = is_unclear or (resource_id, epoch) in granted_by_others
                if held.get(resource_id) != epoch and not is_granted:
                    owned = f"{record.name} owns {resource_id} at {held.get(resource_id)}"
                    self._complain(f"{owned} and heard a call at {epoch}", word)
            self._follow(word, held)

    def _follow(self, word: Word, held: dict[str, int]) -> None:
        """What a session owns after a word that it heard."""
        if word.is_said:
            return
        if word.method == "resource.lost":
            for resource_id in word.params["resource_ids"]:
                held.pop(resource_id, None)
        elif word.method == "resource.acquired":
            held |= _acquired(word)
        elif word.is_answer and isinstance(result := word.message.get("result"), Object):
            for grant in self._by_word.get(word, ()):
                if grant.is_own:
                    held[grant.resource_id] = grant.epoch
            released = result.get("released")  # of a drain how many, and each is told by a notice
            for resource_id in self._released.get(word, released if isinstance(released, list) else ()):
                held.pop(resource_id, None)


def _find_grants(requests: dict[Record, list[Request]], unclear: _Unclear) -> Iterator[Grant]:
    instances: list[tuple[str, Record, int]] = []
    for record, made in requests.items():
        for request in made:
            if request.said.method == "instance.register" and request.answer is not None:
                result = request.answer.message.get("result")
                if isinstance(result, Object):
                    instances.append((result["instance_id"], record, request.said.position))
    known: set[tuple[str, int]] = set()
    for record in requests:
        for word in record.words:
            if not word.is_said and word.method == "resource.acquired":
                for resource_id, epoch in _acquired(word).items():
                    known.add((resource_id, epoch))
                    yield Grant(
                        resource_id, epoch, record, None, word, is_own=True, is_new=True, is_taken=True
                    )
    for record, made in requests.items():
        own = next((name for name, owner, _ in instances if owner is record), None)
        for request in made:
            if request.said.method not in ("resource.register", "resource.bulk_register"):
                continue
            named = request.said.params.get("instance_id", own)
            until = math.inf if request.answer is None else request.answer.position
            candidates = [
                owner
                for name, owner, since in instances
                if name == named
                and since < until
                and (owner.left_position is None or owner.left_position > request.said.position)
            ]
            if request.answer is None:
                if named != own or request.said.params.get("continue_on_error") is True:
                    unclear |= {(resource_id, None): candidates for resource_id in _asked(request.said)}
                continue
            result = request.answer.message.get("result")
            if not isinstance(result, Object):
                if request.said.params.get("continue_on_error") is True:  # batches before may be in force
                    unclear |= {(resource_id, None): candidates for resource_id in _asked(request.said)}
                continue
            epochs = _epochs(request.said, result)
            if named != own and len(candidates) != 1:
                unclear |= {granted: candidates for granted in epochs.items()}
                continue
            owner = record if named == own else candidates[0]
            for resource_id, epoch in epochs.items():
                is_new = (resource_id, epoch) not in known
                known.add((resource_id, epoch))
                is_forced = _is_forced(request.said, resource_id)
                yield Grant(
                    resource_id,
                    epoch,
                    owner,
                    request.said,
                    request.answer,
                    is_own=owner is record,
                    is_new=is_new,
                    is_taken=is_forced,
                )


def _acquired(notice: Word) -> dict[str, int]:
    """What a ``resource.acquired`` gives, and the epochs."""
    return {resource["resource_id"]: resource["epoch"] for resource in notice.params["resources"]}


def _is_forced(said: Word, resource_id: str) -> bool:
    items = (item for item in said.params.get("resources", ()) if item["resource_id"] == resource_id)
    return said.params.get("force") is True or any(item.get("force") is True for item in items)


def _asked(said: Word) -> list[str]:
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
            result["batch_results"], itertools.batched(_asked(said), size, strict=False), strict=True
        ):
            epochs = dict.fromkeys(asked, batch["epoch"]) | epochs
    return epochs


def _gave_up(grant: Grant, until: Word) -> bool:
    """Whether the owner can have lost the resource before that word."""
    owner = grant.owner
    if owner.left_at is not None and owner.left_at <= until.at + 3 * INSTANT_SECONDS:
        return True
    if owner.late_since is not None and owner.late_since < until.position:
        return True
    # who waited for it may hear of its grant in the same instant in which the owner hears of the loss
    return any(
        word.position < until.position or (not word.is_said and word.at <= until.at + INSTANT_SECONDS)
        for word in _farewells(grant)
    )


def _can_have_noticed_nothing(grant: Grant) -> bool:
    return grant.owner.left_at is not None or grant.owner.is_deaf or not grant.is_own


def _farewells(grant: Grant) -> Iterator[Word]:
    """The words by which an owner can have given a resource up, or learned that it has lost it."""
    for word in grant.owner.words:
        if grant.resource_id in word.params.get("resource_ids", ()):
            if word.is_said and word.method in _GIVING_UP:
                if word.position > (grant.asked or grant.told).position:
                    yield word
            elif word.method == "resource.lost" and word.position > grant.told.position:
                yield word
