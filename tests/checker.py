"""The checker: from what every session said and heard, whether the router kept its promises.

It reads JSON with the standard library and knows nothing of the router's code, so it works over any transport. It decides:

- each request has exactly one answer; one by a session that left has at most one; there is no answer to anything else;
- a call is handed over at most once, and never if its caller was told ``not_delivered`` or was refused;
- what a caller hears is what the callee said for that call, unchanged, and so is what the callee hears;
- an instance hears calls for a resource only while it owns it, at the epoch that it was told;
- calls of one session for one resource arrive in order; no epoch is granted twice, and epochs only grow;
- nobody is granted what somebody else still owns, unless by force, and who lost it that way is told;
- what expires is not called when its time to live is over, and does not expire before; versions of metadata count changes;
- an error of the router's is one that it says may come of the method;
- what a session is pushed is what an owner sent it, unchanged, once and in order; nothing that was taken for it gets lost;
- cancels are for calls that the callee has, which then have no answer of its; nobody works on a call that has ended
  without being told; no answer that came in time is lost;
- partial results reach who asked for them, unchanged, in order and before the answer, and nobody else;
- no instance has more calls at the same time than it asked for; nobody waits in the router while there is an owner with
  room; callers who wait for the same instance take turns; a call ends when its time is up, neither before nor later;
- a registration that waits is refused for a conflict when its time is up, neither before nor much later.

Limits: a session is excused from what it cannot have noticed (it left, or was stalled), and a call is followed through the
router only if it has a ``tag`` in its params or a trace id of its own.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from tests.lifetimes import Lifetimes
from tests.ownership import Ownership
from tests.partial_results import check_partial_results
from tests.pushes import Pushes
from tests.records import INSTANT_SECONDS, Call, Delivery, Object, Record, Request, Word, read_json, show
from tests.registrations import check_registrations
from tests.waiting import Waiting

_MUST_SAY_DELIVERY = (
    "answer_too_large",
    "call_cancelled",
    "call_timeout",
    "invalid_answer",
    "owner_disconnected",
    "unavailable",
)


class Checker:
    """Keeps the records of a scenario and finds what is wrong with them.

    Args:
        errors_of: the types of errors that the router says may come of each of its methods; None: not looked at.
        keeps_time: whether the clock stands still while anybody works, so that what takes time has waited for something.

    Attributes:
        words: what was said and heard by all, in order.
        ttls: the times to live of resources that expire; see :class:`tests.lifetimes.Lifetimes`.
    """

    def __init__(
        self, errors_of: Mapping[str, Collection[str]] | None = None, *, keeps_time: bool = False
    ) -> None:
        self._errors_of = errors_of
        self._keeps_time = keeps_time
        self.records: list[Record] = []
        self.words: list[Word] = []
        self.ttls: Mapping[str, float] | None = None
        self._next_position = itertools.count().__next__
        self._complaints: list[str] = []
        self._ownership: Ownership | None = None

    def open_record(
        self, name: str, *, takes_lines: bool, read: Callable[[bytes], Any] = read_json
    ) -> Record:
        """The record of one more session, which says and hears what ``read`` can read."""
        record = Record(name, self.words, self._next_position, takes_lines=takes_lines, read=read)
        self.records.append(record)
        return record

    def find_faults(self) -> list[str]:
        """Everything that is wrong, in sentences. To be asked once nothing is under way any more."""
        self._complaints = []
        requests = {record: self._match_answers(record) for record in self.records}
        deliveries = [delivery for record in self.records for delivery in self._match_deliveries(record)]
        for request in itertools.chain.from_iterable(requests.values()):
            self._check_type(request)
        calls = self._match_calls(requests, deliveries)
        for call in calls:
            self._check_call(call)
        self._check_order(calls)
        Pushes(self.records, requests, self._complain).check(
            [(call.said, delivery.heard) for call in calls for delivery in call.deliveries]
        )
        check_partial_results(calls, self.records, self._complain)
        self._ownership = Ownership(requests, self._complain)
        self._ownership.check()
        if self.ttls is not None:
            Lifetimes(requests, self.ttls, self._complain).check()
        waiting = Waiting(self.records, requests, calls, deliveries, self._ownership, self._complain)
        waiting.check_room()
        if self._keeps_time:
            waiting.check_waits()
            check_registrations(itertools.chain.from_iterable(requests.values()), self._complain)
        return self._complaints

    def owned_at_the_end(self, record: Record) -> dict[str, int] | None:
        """Which resources a session believes to own, and since when; None if it cannot know. Ask for faults first."""
        assert self._ownership is not None
        return self._ownership.held_by(record)

    def _complain(self, sentence: str, *words: Word | None) -> None:
        told = "".join(f"\n      {show(word)}" for word in words if word is not None)
        self._complaints.append(sentence + told)

    # --- requests and their answers -------------------------------------------------------------------------------

    def _match_answers(self, record: Record) -> list[Request]:
        requests: list[Request] = []
        waiting: dict[tuple[type, Any], list[Request]] = {}
        answers_to_nobody = 0
        for word in record.words:
            if word.is_said and word.method is not None and word.has_id:
                request = Request(word)
                requests.append(request)
                waiting.setdefault(word.id, []).append(request)
            elif not word.is_said and word.is_answer:
                self._check_form(word)
                if not word.has_id:
                    answers_to_nobody += 1
                elif not waiting.get(word.id):
                    if not (word.is_routers_error and word.error_data.get("type") == "invalid_request"):
                        self._complain(f"{record.name} heard an answer that nobody waits for", word)
                else:
                    _settle(waiting[word.id], word)
        missing = [request for request in requests if request.answer is None]
        is_excused = record.left_at is not None or record.is_deaf
        if not is_excused and len(missing) > answers_to_nobody:
            self._complain(f"{record.name} never heard an answer to", *(request.said for request in missing))
        return requests

    def _check_form(self, word: Word) -> None:
        message = word.message
        if ("result" in message) == ("error" in message) or message.get("jsonrpc") != "2.0":
            self._complain("an answer is malformed", word)
        if word.is_routers_error:
            data = word.error_data
            if not (isinstance(data.get("type"), str) and isinstance(data.get("trace_id"), str)):
                self._complain("an error of the router's lacks its type or trace id", word)

    def _check_type(self, request: Request) -> None:
        """A method that the router does not know may be answered anything."""
        answer = request.answer
        if answer is None or not answer.is_routers_error or self._errors_of is None:
            return
        method = request.said.method if request.said.asked is None else "route.call"
        known = self._errors_of.get(method or "")
        if request.is_certain and known is not None and answer.error_data.get("type") not in known:
            self._complain("an error is none of those that the method may have", request.said, answer)

    # --- calls ----------------------------------------------------------------------------------------------------

    def _match_deliveries(self, record: Record) -> Iterator[Delivery]:
        delivered: dict[tuple[type, Any], Delivery] = {}
        guesses: dict[tuple[type, Any], list[Word]] = {}
        cancelled: Counter[tuple[type, Any]] = Counter()
        for word in record.words:
            if not word.is_said and word.method is not None:
                if word.method == "$/cancelRequest":
                    cancelled_id = (type(word.params.get("id")), word.params.get("id"))
                    cancelled[cancelled_id] += 1
                    if cancelled_id not in delivered or cancelled[cancelled_id] > 1:
                        self._complain(f"{record.name} heard a cancel for a call that it has not", word)
                elif word.has_id or not word.method.startswith(("session.", "resource.", "$/")):
                    delivery = Delivery(word, guesses.get(word.id, []) if word.has_id else [])
                    if word.has_id:
                        if word.id in delivered:
                            self._complain(f"{record.name} heard one correlation id twice", word)
                        delivered[word.id] = delivery
                    yield delivery
            elif word.is_said and word.method is None and word.has_id:
                if word.id in delivered:
                    delivered[word.id].answers.append(word)
                else:
                    guesses.setdefault(word.id, []).append(word)
        if record.left_at is None and not record.is_deaf:
            for call_id, delivery in delivered.items():
                if not (delivery.answers or delivery.guesses or cancelled[call_id]):
                    self._complain(f"{record.name} works for nobody and was not told", delivery.heard)

    def _match_calls(self, requests: dict[Record, list[Request]], deliveries: list[Delivery]) -> list[Call]:
        answered = {request.said: request for made in requests.values() for request in made}
        by_tag: dict[str, list[Call]] = {}
        calls: list[Call] = []
        for record in self.records:
            for word in record.words:
                if (asked := word.asked) is not None:
                    call = Call(word, asked, answered.get(word))
                    calls.append(call)
                    by_tag.setdefault(_tag(asked.get("params"), asked.get("trace_id")), []).append(call)
        for delivery in sorted(deliveries, key=lambda delivery: delivery.heard.position):
            word = delivery.heard
            found = by_tag.get(_tag(word.message.get("params"), word.meta.get("trace_id")), [])
            if len(found) == 1:
                delivery.is_by_resource = isinstance(found[0].asked.get("resource_id"), str)
                found[0].deliveries.append(delivery)
        return calls

    def _check_call(self, call: Call) -> None:
        answer = call.request.answer if call.request is not None else None
        refused = [delivery for delivery in call.deliveries if delivery.is_refused_as_stale]
        if len(call.deliveries) > 1 + len(refused[:1]):
            heard = [delivery.heard for delivery in call.deliveries]
            self._complain("a call was handed over twice", call.said, *heard)
        for delivery in call.deliveries:
            self._check_delivery(call, delivery)
        if answer is None or call.request is None or not call.request.is_certain:
            return
        wants_meta = isinstance(call.said.message.get("meta"), Object)
        if ("meta" in answer.message) != (wants_meta or answer.is_routers_error):
            self._complain("an answer has meta that nobody asked for, or lacks it", call.said, answer)
        if answer.is_routers_error:
            self._check_refusal(call, answer)
        elif call.deliveries:
            self._check_callees_answer(call, call.deliveries[-1], answer)

    def _check_delivery(self, call: Call, delivery: Delivery) -> None:
        heard = delivery.heard
        asked = call.asked
        given = asked.get("params")
        if heard.message.get("method") != asked.get("method") or heard.message.get("params") != given:
            self._complain("a call was changed on its way", call.said, heard)
        if heard.has_id != call.said.has_id:
            self._complain("a request was delivered as a notification, or the other way round", heard)
        meta = heard.meta
        if meta and (
            meta.get("resource_id") != asked.get("resource_id")
            or (asked.get("trace_id") or meta.get("trace_id")) != meta.get("trace_id")
            or not all(name in meta for name in ("service_name", "caller", "timeout_seconds", "trace_id"))
            or (meta.get("progress") is True) != call.wants_progress
        ):
            self._complain("a delivered call has the wrong meta", call.said, heard)

    def _check_refusal(self, call: Call, answer: Word) -> None:
        data = answer.error_data
        delivery = data.get("delivery")
        if data.get("type") in _MUST_SAY_DELIVERY and delivery not in ("unknown", "not_delivered"):
            self._complain("an error does not say whether the call may have run", call.said, answer)
        run = [given.heard for given in call.deliveries if not given.is_refused_as_stale]
        if run and delivery != "unknown":
            self._complain("what was not delivered was delivered", answer, *run)
        if delivery == "not_delivered" and data.get("type") == "call_timeout":
            concerned = (record for record in self.records if record.is_instance or record is answer.record)
            may_wait = "wait_for_owner_seconds" in call.asked
            if not may_wait and not any(
                record.was_late(answer.at) or record.has_a_line for record in concerned
            ):
                self._complain("a call waited in the router though everybody was reading", call.said, answer)
        if delivery == "unknown" and not call.deliveries:
            instances = [record for record in self.records if record.is_instance]
            if all(record.late_since is None and record.left_at is None for record in instances):
                self._complain("a call may have run that nobody has heard", call.said, answer)
        if data.get("type") in ("call_timeout", "call_cancelled", "owner_disconnected"):
            for said in (said for given in call.deliveries for said in given.answers[:1]):
                is_instant = answer.is_batched or answer.at - said.at <= INSTANT_SECONDS
                is_excused = call.said.record.late_since is not None or said.record.late_since is not None
                if not (is_instant or is_excused):
                    self._complain("an answer that was said in time got lost", said, answer)

    def _check_callees_answer(self, call: Call, delivery: Delivery, answer: Word) -> None:
        kind = "result" if "result" in answer.message else "error"
        said = delivery.answers[0] if delivery.answers else None
        if any(guess.message.get(kind) == answer.message[kind] for guess in delivery.guesses):
            pass  # the router had handed the call over, and the callee answered it unread
        elif said is None or said.position > answer.position:
            self._complain("an answer was heard that no callee has said", delivery.heard, answer)
        elif said.message.get(kind) != answer.message[kind]:
            self._complain("an answer was changed on its way, or is not the first", said, answer)
        if any(
            word.params.get("id") == delivery.heard.message["id"]
            for word in delivery.heard.record.words_of("$/cancelRequest")
            if not word.is_said
        ):
            self._complain(
                "a call was cancelled at its callee and answered by it too", delivery.heard, answer
            )
        heard_meta = delivery.heard.meta
        if heard_meta and "meta" in answer.message:
            for name in ("resource_id", "epoch", "trace_id"):
                if heard_meta.get(name) != answer.meta.get(name):
                    self._complain(f"{name} differs between call and answer", delivery.heard, answer)

    def _check_order(self, calls: list[Call]) -> None:
        """Calls of one session for one resource arrive in the order said, and at epochs that do not go back."""
        last_at: dict[tuple[Record, str, Record], Word] = {}
        last_epoch: dict[tuple[Record, str], tuple[int, Word]] = {}
        for call in calls:
            resource_id = call.asked.get("resource_id")
            if not isinstance(resource_id, str) or len(call.deliveries) != 1:
                continue
            heard = call.deliveries[0].heard
            before = last_at.get((call.said.record, resource_id, heard.record))
            if before is not None and before.position > heard.position:
                self._complain("calls were reordered", heard, before)
            last_at[call.said.record, resource_id, heard.record] = heard
            epoch = heard.meta.get("epoch")
            if isinstance(epoch, int) and call.said.has_id:
                highest, where = last_epoch.get((call.said.record, resource_id), (0, heard))
                if epoch < highest:
                    self._complain("a later call went to an earlier owner", heard, where)
                last_epoch[call.said.record, resource_id] = max(highest, epoch), heard


def _settle(waiting: list[Request], answer: Word) -> None:
    """Of several requests under one id, all but one were refused; which, only a trace id can tell."""
    told = {answer.meta.get("trace_id"), answer.error_data.get("trace_id")} - {None}
    found = [request for request in waiting if request.said.params.get("trace_id") in told]
    if len(waiting) > 1 and len(found) != 1:
        for request in waiting:
            request.is_certain = False
    request = found[0] if len(found) == 1 else waiting[0]
    waiting.remove(request)
    request.answer = answer


def _tag(params: Any, trace_id: Any) -> str:
    tag = params.get("tag") if isinstance(params, Object) else None
    return str(tag if tag is not None else trace_id)
