"""Who waited for what, and whether there was a reason: a part of the checker."""

import bisect
import itertools
import math
from collections.abc import Callable, Sequence

import attrs

from tests.ownership import Ownership
from tests.records import INSTANT_SECONDS, Call, Delivery, Object, Record, Request, Word

EARLY_SECONDS = 0.0101
"""Deadlines are looked at in ticks: one may be held to have passed this much too early, with the rounding."""


@attrs.define(eq=False)
class _Instance:
    """How many calls an instance had at the same time, from word to word, and how many it asked for."""

    record: Record
    room: int
    spans: dict[str, list[tuple[Word, Word | None]]]
    changes: list[tuple[Word, int]]
    """The words after which it had another number of calls, and that number."""
    positions: list[int]

    def load_until(self, position: int) -> tuple[Word | None, int]:
        """The last change before a position, and the number of calls since."""
        index = bisect.bisect_left(self.positions, position) - 1
        return self.changes[index] if index >= 0 else (None, 0)

    def has_had_room(self, resource_id: str, until: Word) -> bool:
        """Whether it had a resource, and room, and read, for longer than an instant before something was heard."""
        record, since = self.record, until.at - INSTANT_SECONDS
        if record.late_since is not None or (record.left_at is not None and record.left_at <= until.at):
            return False
        changed, load = self.load_until(until.position)
        if load >= self.room or (changed is not None and changed.at >= since):
            return False
        return any(
            first.at < since and (last is None or last.position > until.position)
            for first, last in self.spans.get(resource_id, ())
        )


class Waiting:
    """The calls that waited inside the router.

    Limits: who reads late, or not at all, lets others wait; nothing is said of them here. An instance counts as the owner
    only of what it asked for itself.

    Args:
        complain: is told what is wrong, and by which words that shows.
    """

    def __init__(
        self,
        records: Sequence[Record],
        requests: dict[Record, list[Request]],
        calls: Sequence[Call],
        deliveries: Sequence[Delivery],
        ownership: Ownership,
        complain: Callable[..., None],
    ) -> None:
        self._calls = calls
        self._complain = complain
        heard: dict[Record, list[Delivery]] = {}
        for delivery in deliveries:
            heard.setdefault(delivery.heard.record, []).append(delivery)
        self._instances = [
            _instance(record, requests[record], heard.get(record, []), ownership)
            for record in records
            if record.is_instance
        ]

    def check_room(self) -> None:
        """Nobody has more calls at the same time than it asked for."""
        for instance in self._instances:
            for word, count in instance.changes:
                if count > instance.room:
                    self._complain(f"{instance.record.name} has more calls than it has room for", word)

    def check_waits(self) -> None:
        """Nobody waits without a reason, or out of turn, or shorter or longer than it may."""
        for call in self._calls:
            if call.said.record.late_since is None:
                self._check_reason(call)
                self._check_duration(call)
        for instance in self._instances:
            if instance.record.late_since is None:
                self._check_turns(instance)

    def _check_reason(self, call: Call) -> None:
        resource_id, answer = call.asked.get("resource_id"), call.request.answer if call.request else None
        if not isinstance(resource_id, str) or "service_name" in call.asked:
            return
        if call.deliveries:
            end: Word | None = call.deliveries[0].heard
            if call.deliveries[0].heard.record.late_since is not None:
                return
        else:
            end = answer
        if end is None or end.is_batched or end.at - call.said.at <= INSTANT_SECONDS:
            return
        if end is answer and not (end.is_routers_error and end.error_data.get("delivery") != "unknown"):
            return
        if any(instance.has_had_room(resource_id, end) for instance in self._instances):
            self._complain("a call waited though an owner had room for it", call.said, end)

    def _check_duration(self, call: Call) -> None:
        answer = call.request.answer if call.request is not None and call.request.is_certain else None
        if answer is None or answer.is_batched or not answer.is_routers_error:
            return
        kind, wait = answer.error_data.get("type"), call.asked.get("wait_for_owner_seconds")
        if kind == "resource_not_found":
            may_take = min(float(wait or 0), float(call.asked.get("timeout_seconds", 1e9)))
            since, ends = call.said.at, math.inf  # it may have been in line at an owner that has left
        elif kind == "call_timeout":
            may_take = float(answer.error_data["timeout_seconds"])
            parts = [
                word.at
                for word in call.said.record.words
                if not word.is_said
                and word.method == "$/progress"
                and (type(word.params.get("token")), word.params.get("token")) == call.said.id
                and call.said.position < word.position < answer.position
            ]
            since = max([call.said.at, *parts])
            ends = since + may_take + INSTANT_SECONDS
        else:
            return
        if answer.at < since + may_take - EARLY_SECONDS:
            self._complain("a call ended before its time was up", call.said, answer)
        if answer.at > ends:
            self._complain("a call went on after its time was up", call.said, answer)

    def _check_turns(self, instance: _Instance) -> None:
        """Between two calls of one caller, everybody else who waits has a turn."""
        came = sorted(
            (
                (delivery.heard, call)
                for call in self._calls
                for delivery in call.deliveries
                if delivery.heard.record is instance.record
            ),
            key=lambda pair: pair[0].position,
        )
        positions = [heard.position for heard, _ in came]
        latest = list(itertools.accumulate((heard.at for heard, _ in came), max))
        for late, waited in came:
            epoch, resource_id = late.meta.get("epoch"), late.meta.get("resource_id")
            if epoch is None or len(waited.deliveries) != 1 or waited.said.record.late_since is not None:
                continue
            is_settled = any(
                first.at <= waited.said.at and (last is None or last.position > late.position)
                for first, last in instance.spans.get(str(resource_id), ())
            )
            if not is_settled:
                continue
            passed: dict[Record, Word] = {}
            begin = bisect.bisect_right(latest, waited.said.at)
            for heard, call in came[begin : bisect.bisect_left(positions, late.position)]:
                caller = call.said.record
                if heard.at <= waited.said.at:
                    continue
                if caller is waited.said.record:
                    passed.clear()
                elif not call.said.has_id:
                    continue  # it took no room
                elif caller in passed:
                    self._complain("a caller had two turns while another waited", waited.said, heard, late)
                    break
                passed[caller] = heard


def _instance(
    record: Record, requests: list[Request], heard: list[Delivery], ownership: Ownership
) -> _Instance:
    room = 1 << 60
    for request in requests:
        if request.said.method == "instance.register" and request.answer is not None:
            if isinstance(request.answer.message.get("result"), Object):
                room = request.said.params.get("max_concurrency", room)
    steps: list[tuple[Word, int]] = []
    cancels = {
        (type(word.params.get("id")), word.params.get("id")): word
        for word in record.words
        if not word.is_said and word.method == "$/cancelRequest"
    }
    for delivery in heard:
        if not delivery.heard.has_id or delivery.guesses:
            continue
        ends = [*delivery.answers[:1]]
        if (cancel := cancels.get(delivery.heard.id)) is not None:
            ends.append(cancel)
        steps.append((delivery.heard, 1))
        if ends:
            steps.append((min(ends, key=lambda word: word.position), -1))
    steps.sort(key=lambda step: step[0].position)
    counts = itertools.accumulate(change for _, change in steps)
    changes = [(word, count) for (word, _), count in zip(steps, counts, strict=True)]
    return _Instance(record, room, ownership.spans(record), changes, [word.position for word, _ in changes])
