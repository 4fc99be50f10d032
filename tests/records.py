"""What the sessions of a test said and heard: words, one JSON-RPC message each, in one order for all sessions.

Read with the standard library's JSON, and MessagePack by hand, so that nothing of what is held against the router comes
from its own code.
"""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import attrs
import trio

INSTANT_SECONDS = 1.0
"""On a clock that stands still while anybody works, nothing takes that long."""


class Object(dict[str, Any]):
    """A JSON object that knows the order of its members and those that are there twice."""

    __hash__ = None  # as for every dictionary

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Object) and self.pairs == other.pairs


def read_json(text: bytes | str) -> Any:
    """JSON in which nothing is lost: equal values were written alike, but for white space and escapes."""
    return json.loads(text, object_pairs_hook=Object, parse_float=Decimal)


def decimal_of(number: float) -> int | Decimal:
    """A number that was no text, so that it equals the same one that was."""
    return number if isinstance(number, int) else Decimal(repr(number))


@attrs.frozen(eq=False)
class Word:
    """One JSON-RPC message that a session said or heard."""

    record: "Record"
    position: int
    """Among all words of all sessions."""
    at: float
    is_said: bool
    is_batched: bool
    """Whether it came with others in one array, so perhaps long after it was decided."""
    message: Object

    @property
    def method(self) -> str | None:
        method = self.message.get("method")
        return method if isinstance(method, str) else None

    @property
    def has_id(self) -> bool:
        return type(self.message.get("id")) in (int, str)

    @property
    def id(self) -> tuple[type, Any]:
        """The id as a key: ``1`` and ``"1"`` differ."""
        return type(self.message["id"]), self.message["id"]

    @property
    def params(self) -> Object:
        params = self.message.get("params")
        return params if isinstance(params, Object) else Object([])

    @property
    def asked(self) -> Object | None:
        """The parameters of the ``route.call`` that this is, or stands for on a bound connection."""
        bound_to, method = self.record.bound_to, self.method
        if not self.is_said or method is None:
            return None
        if bound_to is None:
            return self.params if method == "route.call" else None
        if method.startswith(("rpc.", "$/")) or method in ("session.authenticate", "session.ping"):
            return None
        given = self.message.get("params")
        return Object([("method", method), *([("params", given)] if given is not None else []), bound_to])

    @property
    def meta(self) -> Object:
        meta = self.message.get("meta")
        return meta if isinstance(meta, Object) else Object([])

    @property
    def is_routers_error(self) -> bool:
        return self.is_answer and "error" in self.message and self.meta.get("origin") == "router"

    @property
    def is_answer(self) -> bool:
        return self.method is None and ("result" in self.message or "error" in self.message)

    @property
    def error_data(self) -> Object:
        error = self.message.get("error")
        data = error.get("data") if isinstance(error, Object) else None
        return data if isinstance(data, Object) else Object([])


class Record:
    """What one session said and heard, in order.

    Attributes:
        left_at: when the connection ended, if it has; ``left_position`` is that among all words.
        late_since: among all words, since when it may hear things later than they were said.
        is_deaf: it hears nothing now, and may never.
        wants_progress: it said with its URL that it wants partial results of every call.
        is_lost: it can neither hear nor be heard, and the router cannot know.
    """

    def __init__(
        self,
        name: str,
        all_words: list[Word],
        next_position: Callable[[], int],
        *,
        takes_lines: bool,
        read: Callable[[bytes], Any] = read_json,
    ) -> None:
        self.name = name
        self.words: list[Word] = []
        self._by_method: dict[str, list[Word]] = {}
        self.left_at: float | None = None
        self.left_position: int | None = None
        self.is_deaf = False
        self.is_lost = False
        self.late_since: int | None = None
        self.bound_to: tuple[str, str] | None = None
        self.wants_progress = False
        self._all_words = all_words
        self._next_position = next_position
        self._takes_lines = takes_lines
        self._read = read

    def said(self, text: bytes) -> None:
        """The session is about to send this."""
        self._add(text, is_said=True)

    def heard(self, text: bytes) -> list[Word]:
        """The session has received this. Returns the messages in it."""
        return self._add(text, is_said=False)

    def left(self) -> None:
        """The connection has ended, or is about to."""
        if self.left_at is None:
            self.left_at = trio.current_time()
            self.left_position = self._next_position()

    def becomes_late(self) -> None:
        """From now on the session may hear things later than they were said."""
        if self.late_since is None:
            self.late_since = self._next_position()

    def was_late(self, at: float) -> bool:
        """Whether the session was there at a time, and may have let others wait."""
        has_left = self.left_at is not None and self.left_at < at - INSTANT_SECONDS
        return self.late_since is not None and (self.is_lost or not has_left)

    @property
    def is_instance(self) -> bool:
        """Whether it asked to be one."""
        return any(word.is_said and word.method == "instance.register" for word in self.words)

    @property
    def has_a_line(self) -> bool:
        """Whether calls to it may have to wait for room: it asked for no more than so many at the same time."""
        registrations = (word for word in self.words if word.is_said and word.method == "instance.register")
        return any("max_concurrency" in word.params for word in registrations)

    def _add(self, text: bytes, *, is_said: bool) -> list[Word]:
        words = []
        for line in text.split(b"\n") if self._takes_lines else [text]:
            try:
                value = self._read(line)
            except ValueError:
                assert is_said or not line, f"{self.name} heard what nobody can read: {line!r}"
                continue
            for message in value if isinstance(value, list) else [value]:
                if isinstance(message, Object):
                    position = self._next_position()
                    is_batched = isinstance(value, list)
                    words.append(Word(self, position, trio.current_time(), is_said, is_batched, message))
                else:
                    assert is_said, f"{self.name} heard {message!r}"
        self.words += words
        self._all_words += words
        for word in words:
            if word.method is not None:
                self._by_method.setdefault(word.method, []).append(word)
        return words

    def forget(self) -> None:
        """Keep nothing of what was said and heard so far."""
        self.words.clear()
        self._by_method.clear()

    def words_of(self, method: str) -> Sequence[Word]:
        """The requests and notifications of that method, said and heard, in order."""
        return self._by_method.get(method, ())


@attrs.define(eq=False)
class Request:
    """A request that a session made of the router."""

    said: Word
    answer: Word | None = None
    is_certain: bool = True
    """Whether it is clear which of several requests under one id was answered."""

    @property
    def record(self) -> Record:
        return self.said.record


@attrs.define(eq=False)
class Delivery:
    """A call as its callee heard it, and what it said about it: since then, and before, as a guess."""

    heard: Word
    guesses: list[Word]
    answers: list[Word] = attrs.field(factory=list)
    is_by_resource: bool = False
    """Whether its caller asked for the owner of a resource, of which a plain instance is told nothing."""

    @property
    def is_refused_as_stale(self) -> bool:
        """Whether its callee said that it ran nothing, because its epoch had passed."""
        if not (self.answers and self.is_by_resource):
            return False
        error = self.answers[0].message.get("error")
        is_conflict = isinstance(error, Object) and error.get("code") == 409
        return is_conflict and self.answers[0].error_data.get("type") == "stale_epoch"


@attrs.define(eq=False)
class Call:
    """A ``route.call``, or a request on a bound connection that stands for one, and where it turned up."""

    said: Word
    asked: Object
    request: Request | None
    deliveries: list[Delivery] = attrs.field(factory=list)

    @property
    def wants_progress(self) -> bool:
        """Whether its caller asked for partial results."""
        return self.said.record.wants_progress or self.said.meta.get("progress") is True


def show(word: Word) -> str:
    """A word on one line, cut."""
    arrow = "->" if word.is_said else "<-"
    text = json.dumps(word.message, default=str)
    return f"{word.at:.3f} #{word.position} {word.record.name} {arrow} {text[:400]}"
