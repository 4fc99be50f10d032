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
                for resource_id, epoch in acquired(word).items():
                    known.add((resource_id, epoch))
                    yield Grant(
                        resource_id, epoch, record, None, word, is_own=True, is_new=True, is_taken=True
                    )
    for record, made in requests.items():
        name, became = _became(made)
        for request in made:
            if request.said.method == "instance.register" and request.answer is not None:
                for resource_id, epoch in resumed(request.answer).items():
                    is_new = (resource_id, epoch) not in known
                    known.add((resource_id, epoch))
                    yield Grant(
                        resource_id,
                        epoch,
                        record,
                        request.said,
                        request.answer,
                        is_own=True,
                        is_new=is_new,
                        is_taken=False,
                        resumed_from=frozenset(
                            other for instance_id, other, _ in instances if instance_id == name
                        ),
                    )
            if request.said.method not in ("resource.register", "resource.bulk_register"):
                continue
            until = math.inf if request.answer is None else request.answer.position
            own = name if became < until else None  # before, one of that name was another
            named = request.said.params.get("instance_id", own)
            candidates = [
                owner
                for instance_id, owner, since in instances
                if instance_id == named
                and (named == own or owner is not record)
                and since < until
                and (owner.left_position is None or owner.left_position > request.said.position)
            ]
            is_partial = request.said.params.get("continue_on_error") is True
            if request.answer is None:
                if named != own or is_partial:
                    _note_unclear(unclear, ((name, None) for name in asked_for(request.said)), candidates)
                continue
            result = request.answer.message.get("result")
            if not isinstance(result, Object):
                if is_partial and may_have_run(request.answer):  # some batches may be in force
                    _note_unclear(unclear, ((name, None) for name in asked_for(request.said)), candidates)
                continue
            epochs = _epochs(request.said, result)
            if named != own and len(candidates) != 1:
                _note_unclear(unclear, epochs.items(), candidates)
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


def _became(made: Iterable[Request]) -> tuple[str | None, float]:
    """As which instance a session was answered, and at which of its words."""
    for request in made:
        if request.said.method == "instance.register" and request.answer is not None:
            result = request.answer.message.get("result")
            if isinstance(result, Object):
                return result["instance_id"], request.answer.position
    return None, math.inf


def _note_unclear(
    unclear: Unclear, grants: Iterable[tuple[str, int | None]], candidates: Iterable[Record]
) -> None:
    for granted in grants:
        unclear.setdefault(granted, []).extend(candidates)


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
