"""From one message to what it means: a call to route, an answer to pass on, a request to the router, or a mistake."""

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec
from msgspec import UNSET, Raw

from resroute.errors import InternalError, InvalidRequest, MethodNotFound, RouterError, TooManyCalls
from resroute.protocol import messagepack
from resroute.protocol.envelope import (
    DECODE_ERRORS,
    Envelope,
    Malformed,
    RequestId,
    decode_envelope,
    diagnose,
    error_message,
    is_null,
    is_scalar,
    may_be_answered,
    read_member,
    split_batch,
)
from resroute.protocol.messagepack import own_payload
from resroute.protocol.methods import METHODS
from resroute.protocol.params import RouteCall
from resroute.protocol.spelling import is_dense, read_in_steps
from resroute.router.call_params import decode_large_call, find_trace_id
from resroute.router.calls import Batch, meta_of_refusal, room_for
from resroute.router.endings import Ending
from resroute.router.operations import Operations
from resroute.router.partial_results import PART_BEGINS, Bundle, read_part
from resroute.router.request import Request
from resroute.router.routing import Routing
from resroute.router.session import Session
from resroute.router.tracing import Tracing
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics

_LARGE_BYTES = 16 * 1024
_PARTS_PER_STEP = 64  # to read as many takes some 20 µs


class _Cancel(msgspec.Struct):
    id: RequestId


_decode_cancel = msgspec.json.Decoder(_Cancel).decode


def _id_of(message: Envelope | Malformed) -> RequestId | None:
    return None if message.id is UNSET else message.id


class Dispatch:
    """Hands each message to the part that it concerns. Whatever goes wrong costs that message alone."""

    def __init__(
        self,
        settings: Settings,
        routing: Routing,
        operations: Operations,
        metrics: Metrics,
        tracing: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self._routing = routing
        self._operations = operations
        self._metrics = metrics
        self._tracing = tracing

    def handle(self, session: Session, message: bytes) -> Iterator[None] | None:
        """See :class:`resroute.router.session_means.MessageHandler`."""
        request_id: RequestId | None = None
        try:
            if session.speaks_msgpack:
                return self._handle_packed(session, message)
            if message.startswith(PART_BEGINS) and self._pass_part_on(session, message):
                return None
            if len(message) > _LARGE_BYTES and (large := self._decode_large(session, message)) is not None:
                request_id = None if large[0].id is UNSET else large[0].id
                if session.confirm is not None:
                    session.confirm()
                self._routing.route(session, large[0], None, large[1])
                return None
            try:
                envelope = decode_envelope(message)
            except DECODE_ERRORS:
                return self._handle_unusual(session, message)
            request_id = None if envelope.id is UNSET else envelope.id
            return self._handle_envelope(session, envelope, len(message), None)
        except Exception:
            self._report_bug(session, request_id, None)
        return None

    def _pass_part_on(self, session: Session, message: bytes) -> bool:
        """Pass a partial result on that has nothing unusual: they come by tens of thousands. Else return False."""
        if session.binding is not None or session.confirm is not None or (part := read_part(message)) is None:
            return False
        self._routing.pass_part_on(session, part.token, part.value)
        return True

    def handle_parts(self, session: Session, messages: Sequence[bytes]) -> Iterator[bool]:
        """See :class:`resroute.router.session_means.MessageHandler`."""
        is_usual = not session.speaks_msgpack and session.binding is None and session.confirm is None
        bundle = Bundle(partial(self._routing.who_wants_parts, session))
        for number, message in enumerate(messages, 1):
            part = read_part(message) if is_usual else None
            if part is not None:
                bundle.add(part)
            else:
                yield from self._pass_parts_on(session, bundle)
                for _ in self.handle(session, message) or ():
                    yield False
            if not number % _PARTS_PER_STEP:
                yield False
        yield from self._pass_parts_on(session, bundle)

    def _pass_parts_on(self, session: Session, bundle: Bundle) -> Iterator[bool]:
        for runs in bundle.take():
            for token, values in runs:
                try:
                    self._routing.pass_parts_on(session, token, values)
                except Exception:
                    self._report_bug(session, None, None)
            yield True

    def _decode_large(self, session: Session, message: bytes) -> tuple[Envelope, RouteCall] | None:
        """A large ``route.call``, of which every look takes its time. None if it is anything else."""
        if session.binding is not None or len(message) > self._settings.max_message_bytes:
            return None
        return decode_large_call(message)

    def _report_bug(self, session: Session, request_id: RequestId | None, batch: Batch | None) -> None:
        """A bug costs the request that met it: its session lives."""
        error = InternalError(trace_id=self._routing.mint_trace_id())
        session.log.exception("a message could not be handled", operation="handle", trace_id=error.trace_id)
        if batch is not None:
            if request_id is None:
                return  # no room was set aside for a notification
            batch.expect(request_id)
        is_taken = request_id is not None and request_id in session.made
        session.answer(
            request_id, error_message(None if is_taken else request_id, error), error.trace_id or "", batch
        )

    def _handle_envelope(
        self, session: Session, envelope: Envelope, size_bytes: int, batch: Batch | None
    ) -> Iterator[None] | None:
        """What takes long is left to the steps that are returned."""
        method = envelope.method
        if method is UNSET:
            self._settle(session, envelope, size_bytes, batch)
            return None
        if session.confirm is not None:
            session.confirm()
        if size_bytes > self._settings.max_message_bytes:
            session.end(Ending(1009, f"a request is larger than {self._settings.max_message_bytes} bytes"))
        elif session.binding is not None and session.binding.covers(method):
            self._route_bound(session, session.binding.call(method, envelope), envelope, batch)
        elif method == "route.call":
            self._routing.route(session, envelope, batch)
        else:
            return self._operate(session, envelope, method, batch)
        return None

    def _route_bound(
        self, session: Session, call: RouteCall, envelope: Envelope, batch: Batch | None
    ) -> None:
        """A request on a bound connection. Its params are the message's own, so wrong ones make it no request at all."""
        if envelope.params is UNSET or not is_scalar(envelope.params):
            self._routing.route(session, envelope, batch, call)
        elif envelope.id is not UNSET:
            error = InvalidRequest("params are an object or an array")
            error.trace_id = find_trace_id(envelope, call)
            self._refuse(session, envelope.id, error, batch, wants_meta=envelope.meta is not UNSET)

    def _settle(self, session: Session, envelope: Envelope, size_bytes: int, batch: Batch | None) -> None:
        """A message without a method: an answer, or a request that lacks one."""
        if envelope.result is not UNSET or envelope.error is not UNSET:
            self._routing.settle(session, envelope, size_bytes)
        elif envelope.id is UNSET or not self._routing.refuse_answer(session, envelope.id):
            request_id = None if envelope.id is UNSET else envelope.id
            self._refuse(session, request_id, InvalidRequest("it has no method"), batch)

    def _operate(
        self, session: Session, envelope: Envelope, name: str, batch: Batch | None
    ) -> Iterator[None] | None:
        """A request to the router itself."""
        request_id = None if envelope.id is UNSET else envelope.id
        if name == "$/cancelRequest" and request_id is None:
            self._cancel(session, envelope)
            return None
        if name == "$/progress" and request_id is None:
            self._routing.progress(session, envelope)
            return None
        method = METHODS.get(name)
        error = self._problem(session, envelope, name, is_known=method is not None)
        if error is not None:
            if request_id is not None:
                error.trace_id = find_trace_id(envelope)
                self._refuse(session, request_id, error, batch, wants_meta=envelope.meta is not UNSET)
            return None
        assert method is not None
        request = Request(
            session,
            request_id,
            method,
            self._metrics,
            trace_id=find_trace_id(envelope) or self._routing.mint_trace_id(),
            wants_meta=envelope.meta is not UNSET,
            batch=batch,
            payload=own_payload(envelope, None),
        )
        if self._tracing is not None:
            self._tracing.request_begins(request, envelope.meta)
        params = envelope.params
        return self._operations.start(request, None if params is UNSET or is_null(params) else params)

    def _problem(
        self, session: Session, envelope: Envelope, name: str, *, is_known: bool
    ) -> RouterError | None:
        """Why a request to the router is refused before anybody looks at what it asks for."""
        if envelope.id is not UNSET and envelope.id in session.made:
            return InvalidRequest("this id is still in flight")
        if envelope.params is not UNSET and is_scalar(envelope.params):
            return InvalidRequest("params are an object or an array")
        if not is_known:
            return MethodNotFound(name[:200])
        if len(session.made) >= self._settings.max_calls_in_flight:
            return TooManyCalls(self._settings.max_calls_in_flight)
        return None

    def _cancel(self, session: Session, envelope: Envelope) -> None:
        if envelope.params is not UNSET:
            try:
                cancelled = _decode_cancel(envelope.params)
            except DECODE_ERRORS:
                return  # a notification has no answer, not even this one
            made = session.made.get(cancelled.id)
            if isinstance(made, Request):
                if made.when_cancelled is not None:
                    made.when_cancelled()
            else:
                self._routing.cancel(session, cancelled.id)

    def session_ended(self, session: Session) -> None:
        """Of its requests to the router, nothing more is done that can be left."""
        for made in list(session.made.values()):
            if isinstance(made, Request) and made.when_cancelled is not None:
                made.when_cancelled()

    def _handle_unusual(self, session: Session, message: bytes) -> Iterator[None] | None:
        """A batch, or what is no message at all."""
        members = split_batch(message, self._settings.max_batch_messages)
        if members is not None:
            return self._handle_batch(session, message, members)
        if not (session.takes_lines and message.isspace()):  # an empty line
            self._handle_malformed(session, diagnose(message), None)
        return None

    def _handle_packed(self, session: Session, message: bytes) -> Iterator[None] | None:
        """A message or a batch as MessagePack."""
        members = messagepack.split_batch(message, self._settings.max_batch_messages)
        if members is not None:
            return self._handle_batch(session, message, members)
        if is_dense(message):
            return self._handle_dense(session, message)
        read = messagepack.read(message, is_bound=session.binding is not None)
        return self._handle_member(session, read, len(message), None)

    def _handle_dense(self, session: Session, message: bytes) -> Iterator[None]:
        """A message of so many values that to read it takes steps."""
        try:
            read = yield from read_in_steps(message, is_bound=session.binding is not None)
        except Exception:
            self._report_bug(session, None, None)
            return
        yield
        yield from self._handle_member(session, read, len(message), None) or ()

    def _handle_batch(
        self, session: Session, message: bytes, members: Sequence[Raw]
    ) -> Iterator[None] | None:
        if len(message) > self._settings.max_message_bytes:
            session.end(Ending(1009, f"a batch is larger than {self._settings.max_message_bytes} bytes"))
        elif not members:
            self._refuse(session, None, InvalidRequest("an empty batch"), None)
        elif len(members) > self._settings.max_batch_messages:
            error = InvalidRequest(f"a batch of more than {self._settings.max_batch_messages} messages")
            self._refuse(session, None, error, None)
        else:
            return self._handle_members(session, members)
        return None

    def _handle_members(self, session: Session, members: Sequence[Raw]) -> Iterator[None]:
        """Read the members of a batch, then handle them, one a step."""
        read: list[Envelope | Malformed] = []
        rooms: list[int] = []
        limit = self._settings.max_message_bytes
        is_bound = session.binding is not None
        for member in members:
            message: Envelope | Malformed
            if not session.speaks_msgpack:
                message = read_member(member)
            elif is_dense(member):
                message = yield from read_in_steps(member, is_bound=is_bound)
            else:
                message = messagepack.read(member, is_bound=is_bound)
            read.append(message)
            rooms.append(room_for(_id_of(message), limit) if may_be_answered(message) else 0)
            yield
        if not Batch.can_answer(rooms, limit):
            error = InvalidRequest(f"the answers to this batch may take more than {limit} bytes: send fewer")
            self._refuse(session, None, error, None)
            return
        batch = Batch(session, rooms)
        try:
            for member, message, room in zip(members, read, rooms, strict=True):
                batch.free(room)
                steps = self._handle_member(session, message, memoryview(member).nbytes, batch)
                if steps is not None:
                    yield from steps
                yield
        finally:
            batch.close()

    def _handle_member(
        self, session: Session, message: Envelope | Malformed, size_bytes: int, batch: Batch | None
    ) -> Iterator[None] | None:
        try:
            if not isinstance(message, Malformed):
                return self._handle_envelope(session, message, size_bytes, batch)
            self._handle_malformed(session, message, batch)
        except Exception:
            self._report_bug(session, _id_of(message), batch)
        return None

    def _handle_malformed(self, session: Session, malformed: Malformed, batch: Batch | None) -> None:
        if malformed.is_answer:
            if malformed.id is None or not self._routing.refuse_answer(session, malformed.id):
                self._metrics.dropped_answers += 1
        else:
            self._refuse(session, malformed.id, malformed.error, batch)

    def _refuse(
        self,
        session: Session,
        request_id: RequestId | None,
        error: RouterError,
        batch: Batch | None,
        *,
        wants_meta: bool = False,
    ) -> None:
        """Answer that a message is none; under an id that is in flight only what it was first used for is answered."""
        if request_id in session.made:
            request_id = None
        error.trace_id = error.trace_id or self._routing.mint_trace_id()
        if batch is not None:
            batch.expect(request_id)
        meta = meta_of_refusal(error.trace_id) if wants_meta else None
        session.answer(request_id, error_message(request_id, error, meta), error.trace_id, batch)
