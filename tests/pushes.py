"""What owners pushed to sessions that called them or are bound to their resources: a part of the checker."""

from collections.abc import Callable, Sequence

import attrs

from tests.records import Object, Record, Request, Word


@attrs.define(eq=False)
class Push:
    """A ``session.notify``, and where it was heard."""

    said: Word
    request: Request | None
    heard: Word | None = None

    @property
    def is_taken(self) -> bool:
        """Whether its sender was told that it is on its way."""
        answer = None if self.request is None else self.request.answer
        return answer is not None and "result" in answer.message

    @property
    def is_refused(self) -> bool:
        """Whether its sender was told that it is not."""
        answer = None if self.request is None else self.request.answer
        return answer is not None and "error" in answer.message


class Pushes:
    """What was pushed to whom.

    Limits: that only the last callers count is not decided here; a session whose id no callee was ever told of is not
    followed, nor is a plain instance.

    Args:
        complain: is told what is wrong, and by which words that shows.
    """

    def __init__(
        self,
        records: Sequence[Record],
        requests: dict[Record, list[Request]],
        complain: Callable[..., None],
    ) -> None:
        self._records = records
        self._complain = complain
        answered = {request.said: request for made in requests.values() for request in made}
        self._pushes = [
            Push(word, answered.get(word))
            for record in records
            for word in record.words
            if word.is_said and word.method == "session.notify" and word.asked is None
        ]

    def check(self, deliveries: Sequence[tuple[Word, Word]]) -> None:
        """Find everything that is wrong.

        Args:
            deliveries: of each call that a callee heard, how it was said and how it was heard.
        """
        receivers: dict[object, Record] = {}
        for said, heard in deliveries:
            caller = heard.meta.get("caller")
            if isinstance(caller, Object):
                receivers[caller.get("session_id")] = said.record
        routed = {heard for _, heard in deliveries}
        for session_id, record in receivers.items():
            if not any(_is_plain(word) for word in record.words):
                sent = [push for push in self._pushes if push.said.params.get("session_id") == session_id]
                self._check_receiver(record, sent, routed)
        for record in self._records:
            self._check_owner_changes(record)

    def _check_receiver(self, record: Record, sent: list[Push], routed: set[Word]) -> None:
        last: dict[Record, Push] = {}
        for word in record.words:
            if not _is_push(word) or word in routed:
                continue
            push = next((push for push in sent if _fits(push, word)), None)
            if push is None:
                self._complain(f"{record.name} heard a notification that no owner sent it", word)
                continue
            push.heard = word
            if not _has_to_do_with(record, push, word):
                self._complain("a session was told of a resource that it has nothing to do with", word)
            before = last.get(push.said.record)
            if before is not None and before.said.position > push.said.position:
                self._complain("notifications of one owner were reordered", before.said, push.said)
            last[push.said.record] = push
        if record.left_at is None and not record.is_deaf:
            for push in sent:
                if push.is_taken and push.heard is None:
                    self._complain("a notification that was taken got lost", push.said)

    def _check_owner_changes(self, record: Record) -> None:
        last: Word | None = None
        for word in record.words:
            if word.is_said or word.method != "$/ownerChanged":
                continue
            if record.bound_to != ("resource_id", word.params.get("resource_id")):
                self._complain(f"{record.name} was told of a resource that it is not bound to", word)
            epoch, before = word.params.get("epoch"), None if last is None else last.params.get("epoch")
            if epoch is None and last is not None and before is None:
                self._complain("a resource without an owner lost its owner", last, word)
            if isinstance(epoch, int):
                if isinstance(before, int) and epoch <= before:
                    self._complain("the epochs of a resource went back", last, word)
            last = word


def _is_plain(word: Word) -> bool:
    return word.is_said and word.method == "instance.register" and word.params.get("plain") is True


def _is_push(word: Word) -> bool:
    return (
        not word.is_said
        and word.method is not None
        and not word.has_id
        and not word.method.startswith(("session.", "resource.", "$/"))
        and "service_name" not in word.meta
    )


def _has_to_do_with(record: Record, push: Push, heard: Word) -> bool:
    resource_id = push.said.params.get("resource_id")
    if record.bound_to == ("resource_id", resource_id):
        return True
    asked = (word.asked for word in record.words if word.position < heard.position)
    return any(params is not None and params.get("resource_id") == resource_id for params in asked)


def _fits(push: Push, word: Word) -> bool:
    asked = push.said.params
    return (
        push.heard is None
        and not push.is_refused
        and push.said.position < word.position
        and asked.get("method") == word.method
        and asked.get("params") == word.message.get("params")
    )
