"""Who owned what, as far as the owners were told: the part of the checker that decides about ownership."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

from tests.grants import Grant, Unclear, acquired, asked_for, find_grants, may_have_run
from tests.records import INSTANT_SECONDS, Object, Record, Request, Word

_GIVING_UP = ("resource.release", "resource.bulk_release", "resource.transfer")
_BULKS = ("resource.bulk_register", "resource.bulk_release")


@attrs.define(eq=False)
class _Held:
    """What a session has, as far as it can know.

    A bulk is worked off beside what is asked for after it, so of an id that both are about it is not always clear which
    was last.
    """

    sure: dict[str, int] = attrs.field(factory=dict)
    perhaps: dict[str, set[int]] = attrs.field(factory=dict)
    """What it has been told that it was granted, and may have no more."""
    touched: set[str] = attrs.field(factory=set)
    """What any of this was about, until somebody empties it."""

    def take(self, epochs: Mapping[str, int]) -> None:
        """It has these since now."""
        self.touched |= epochs.keys()
        for resource_id in epochs:
            self.perhaps.pop(resource_id, None)
        self.sure |= epochs

    def lose(self, resource_ids: Iterable[str]) -> None:
        """It has these no more."""
        for resource_id in resource_ids:
            self.touched.add(resource_id)
            self.sure.pop(resource_id, None)
            self.perhaps.pop(resource_id, None)

    def doubt(self, resource_ids: Iterable[str], told: Mapping[str, int]) -> None:
        """It may have these, at an epoch told now or before, or have them no more."""
        for resource_id in resource_ids:
            self.touched.add(resource_id)
            epochs = self.perhaps.setdefault(resource_id, set())
            epochs |= {at[resource_id] for at in (self.sure, told) if resource_id in at}
            self.sure.pop(resource_id, None)
            if not epochs:
                del self.perhaps[resource_id]

    def has(self, resource_id: str, epoch: int) -> bool:
        """Whether it may hear a call."""
        return self.sure.get(resource_id) == epoch or epoch in self.perhaps.get(resource_id, ())


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
        self._unclear: Unclear = {}
        # answers that do not say again what was given up
        self._released: dict[Word, list[str]] = {
            request.answer: request.said.params["resource_ids"]
            for made in requests.values()
            for request in made
            if request.said.method == "resource.bulk_release"
            and request.answer is not None
            and isinstance(result := request.answer.message.get("result"), Object)
            and result["complete"]
        }
        self._owners_at: dict[tuple[str, int], set[Record]] = {}
        for grant in find_grants(requests, self._unclear):
            self._by_resource.setdefault(grant.resource_id, []).append(grant)
            self._by_owner.setdefault(grant.owner, []).append(grant)
            self._by_word.setdefault(grant.told, []).append(grant)
            self._owners_at.setdefault((grant.resource_id, grant.epoch), set()).add(grant.owner)
        self._answers = {
            request.answer: request
            for made in requests.values()
            for request in made
            if request.answer is not None
        }
        self._requests = {request.said: request for made in requests.values() for request in made}
        # of each session and id, the words by which it may have been given up or lost
        self._partings: dict[tuple[Record, str], list[Word]] = {}
        for record in requests:
            for method in (*_GIVING_UP, "resource.lost"):
                for word in record.words_of(method):
                    names = word.params.get("resource_ids")
                    for name in names if isinstance(names, list) else ():
                        self._partings.setdefault((record, str(name)), []).append(word)
        # answers after which their sessions do not know whether they have some ids, for other requests were about these too
        self._doubtful: dict[Word, set[str]] = {}
        for record, made in requests.items():
            for request in made:
                if request.said.method in _BULKS:
                    self._find_doubtful(record, request)

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
        if any(_has_resumed_more(word) for word in record.words):
            return None
        held = _Held()
        for word in record.words:
            self._follow(word, held)
        return None if held.perhaps else held.sure

    def spans(self, record: Record) -> dict[str, list[tuple[Word, Word | None]]]:
        """From which word to which a session surely owned what it asked for itself: until it gives it up, or hears of it."""
        spans: dict[str, list[tuple[Word, Word | None]]] = {}
        held = _Held()
        since: dict[str, Word] = {}  # of what it surely owns
        for word in record.words:
            held.touched.clear()
            if word.is_said and word.method in _GIVING_UP:
                held.lose(word.params.get("resource_ids", ()))
            self._follow(word, held)
            for resource_id in held.touched:
                if resource_id not in held.sure and resource_id in since:
                    spans[resource_id][-1] = (since.pop(resource_id), word)
                elif resource_id in held.sure and resource_id not in since:
                    since[resource_id] = word
                    spans.setdefault(resource_id, []).append((word, None))
        return spans

    def _check_pair(self, resource_id: str, earlier: Grant, later: Grant) -> None:
        if later.asked is not None:
            is_known = earlier.told.position < later.asked.position
        else:
            is_known = earlier.owner is later.owner and earlier.told.position < later.told.position
        is_another = earlier.owner is not later.owner and earlier.epoch < later.epoch and later.is_new
        is_another = is_another and earlier.owner not in later.resumed_from
        if earlier.epoch == later.epoch and earlier.owner is not later.owner:
            self._complain(f"{resource_id} has two owners at one epoch", earlier.told, later.told)
        if is_known and earlier.epoch > later.epoch:
            self._complain(f"the epoch of {resource_id} went back", earlier.told, later.told)
        if is_known and is_another and not later.is_taken and not self._gave_up(earlier, later.told):
            self._complain(f"{resource_id} was granted though somebody owns it", earlier.told, later.told)
        if is_another and later.is_taken and not _can_have_noticed_nothing(earlier):
            if not any(self._farewells(earlier)):
                loser = earlier.owner.name
                self._complain(f"{loser} was not told that it lost something", earlier.told, later.told)

    def _check_calls(self, record: Record) -> None:
        """Calls for a resource come only while it is owned, at the epoch that was told."""
        granted_by_others = {
            (grant.resource_id, grant.epoch)
            for grant in self._by_owner.get(record, ())
            if not grant.is_own or grant.comes_early
        }
        held = _Held()
        for word in record.words:
            if not word.is_said and word.method is not None and "epoch" in word.meta:
                resource_id, epoch = word.meta["resource_id"], word.meta["epoch"]
                is_unclear = any(record in self._unclear.get((resource_id, at), ()) for at in (epoch, None))
                is_unclear = is_unclear and record in self._owners_at.get((resource_id, epoch), {record})
                is_granted = is_unclear or (resource_id, epoch) in granted_by_others
                if not held.has(resource_id, epoch) and not is_granted:
                    owned = f"{record.name} owns {resource_id} at {held.sure.get(resource_id)}"
                    self._complain(f"{owned} and heard a call at {epoch}", word)
            self._follow(word, held)

    def _gave_up(self, grant: Grant, until: Word) -> bool:
        """Whether the owner can have lost the resource before that word."""
        owner = grant.owner
        if owner.left_at is not None and owner.left_at <= until.at + 3 * INSTANT_SECONDS:
            return True
        if owner.late_since is not None and owner.late_since < until.position:
            return True
        # who waited for it may hear of its grant in the same instant in which the owner hears of the loss
        return any(
            word.position < until.position or (not word.is_said and word.at <= until.at + INSTANT_SECONDS)
            for word in self._farewells(grant)
        )

    def _farewells(self, grant: Grant) -> Iterator[Word]:
        """The words by which an owner can have given a resource up, or learned that it has lost it."""
        asked = grant.asked or grant.told
        for word in self._partings.get((grant.owner, grant.resource_id), ()):
            if word.is_said and word.method in _GIVING_UP:
                if self._may_give_up(word, grant, asked):
                    yield word
            elif word.method == "resource.lost":
                is_told_others = grant.comes_early or not grant.is_own  # and may lose it before they are told
                if word.position > (asked if is_told_others else grant.told).position:
                    yield word

    def _may_give_up(self, said: Word, grant: Grant, asked: Word) -> bool:
        """Whether a request can have given up what was granted. One in bulk may do so until it is answered."""
        if said.method != "resource.bulk_release":
            return said.position > asked.position
        request = self._requests.get(said)
        if request is None or request.answer is None or not request.is_certain:
            return True
        if request.answer.position < asked.position:
            return False
        result = request.answer.message.get("result")
        is_cut = isinstance(result, Object) and result.get("has_more") is True
        is_known = not (is_cut or may_have_run(request.answer))
        return not is_known or grant.resource_id in self._given_up_by(request.answer)

    def _follow(self, word: Word, held: _Held) -> None:
        """What a session owns after a word that it heard."""
        if word.is_said:
            return
        if word.method == "resource.lost":
            held.lose(word.params["resource_ids"])
        elif word.method == "resource.acquired":
            held.take(acquired(word))
        elif word.is_answer:
            doubtful = self._doubtful.get(word, set())
            told = {grant.resource_id: grant.epoch for grant in self._by_word.get(word, ()) if grant.is_own}
            held.take({name: epoch for name, epoch in told.items() if name not in doubtful})
            held.lose(name for name in self._given_up_by(word) if name not in doubtful)
            held.doubt(doubtful, told)

    def _given_up_by(self, answer: Word) -> Sequence[str]:
        """What an answer says was released."""
        if (complete := self._released.get(answer)) is not None:
            return complete
        result = answer.message.get("result")
        released = result.get("released") if isinstance(result, Object) else None
        # a drain says how many, and each is told by a notice
        return [str(name) for name in released] if isinstance(released, list) else ()

    def _touched_by(self, word: Word) -> set[str]:
        """The ids of which a session owns more or less after a word that it heard."""
        if word.is_said:
            return set()
        touched = {grant.resource_id for grant in self._by_word.get(word, ())}
        if word.method == "resource.lost":
            touched |= {*word.params["resource_ids"]}
        return touched | {*self._given_up_by(word)}

    def _find_doubtful(self, record: Record, bulk: Request) -> None:
        """Find what was told of the ids of a bulk while it was worked off: it may have been before or after its part."""
        said, answer = bulk.said, bulk.answer
        if answer is None:
            return
        is_cancelled = may_have_run(answer)
        is_one_step = said.params.get("continue_on_error") is not True
        if said.method == "resource.bulk_register" and (is_one_step or is_cancelled):
            return  # it takes effect with its answer; or nothing is known of it, see find_grants
        asked = {*asked_for(said)}
        doubtful: set[str] = asked if is_cancelled else set()
        since = (word for word in record.words if word.position > said.position and word is not answer)
        for word in since:
            touched = self._touched_by(word) & asked
            if word.position < answer.position:
                doubtful |= touched
            elif is_cancelled and (other := self._answers.get(word)) is not None:
                if other.said.position < answer.position:  # the last batch may have been behind it
                    self._doubtful.setdefault(word, set()).update(touched)
        if not is_cancelled:
            doubtful &= self._touched_by(answer)
        self._doubtful.setdefault(answer, set()).update(doubtful)


def _has_resumed_more(word: Word) -> bool:
    """Whether an answer leaves out some of what a session has taken over."""
    result = word.message.get("result") if not word.is_said else None
    return isinstance(result, Object) and result.get("resumed_count", 0) > len(result.get("resumed", ()))


def _can_have_noticed_nothing(grant: Grant) -> bool:
    return grant.owner.left_at is not None or grant.owner.is_deaf or not grant.is_own
