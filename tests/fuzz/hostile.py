"""What hostile peers say: strategies for bytes that are almost JSON, almost JSON-RPC or almost allowed."""

from collections.abc import Sequence

import attrs
from hypothesis import strategies as st

from resroute.protocol.methods import METHODS
from resroute.protocol.params import RouteCall

_JSON_SPACE = (b"", b"", b"", b"", b" ", b"\n", b"\r\n", b"\t  ")

VALID_ATOMS = (
    *(b"null", b"true", b"false", b"0", b"1", b"-1", b"-0", b"5", b"1.0", b"0.25", b"1e2", b"100"),
    *(b'""', b'"a"', b'"good:1"', b'"bad:1"', b'"good"', b'"\xc3\xa9"', b'"1"', b'"\\u0041"'),
    *(b"[]", b"{}", b'["bad:1"]', b'["good:1"]', b'{"a":1,"a":2}', b'["a","a"]'),
)

STRANGE_ATOMS = (
    # numbers that do not fit, and what is none
    *(b"18446744073709551616", b"-9223372036854775809", b"1e400", b"-1e400", b"1e-400", b"9" * 5000),
    *(b"NaN", b"Infinity", b"01", b"+1", b"1.", b"0x10", b"--1", b"9007199254740993"),
    # strings that are none, or that JSON cannot say
    *(b'"\\u0000"', b'"a\\u0000b"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff"', b'"\xed\xa0\x80"'),
    *(b'"\x00"', b'"\n"', b'"\\q"', b'"', b"'a'", b'"\x7f\xc2\x80"', b'"\\ud83d\\ude00"'),
    # names that nobody may have
    *(b'"/a"', b'"a/"', b'"a b"', b'"a\\nb"', b'"%b"' % (b"x" * 257), b'"%b"' % (b"y" * 256), b'"\xc3\xb6"'),
    *(b'"rpc.x"', b'"$/x"', b'"session.x"', b'"resource.x"'),
    # nesting
    *(b"[" * depth + b"]" * depth for depth in (100, 260, 990, 1000, 1100, 3000)),
    b"[" * 20_000,
    b'{"a":' * 990 + b"1" + b"}" * 990,
    b'{"a":' * 300,
    # long
    b"[%b]" % b",".join([b"1"] * 3000),
    b"[%b]" % b",".join(b'"i%d"' % number for number in range(300)),
    b'"%b"' % (b"z" * 4000),
    b'"%b"' % (b"\x7f" * 700),
    b"{%b}" % b",".join(b'"m%d":1' % number for number in range(400)),
)


def one_of[T](choices: Sequence[T]) -> st.SearchStrategy[T]:
    """One of them. Hypothesis would print them all where it names a strategy."""
    return st.integers(0, len(choices) - 1).map(choices.__getitem__)


atoms = one_of(VALID_ATOMS * 2 + STRANGE_ATOMS)
spaces = st.sampled_from(_JSON_SPACE)


def _object(members: list[tuple[bytes, bytes]], space: bytes) -> bytes:
    return b"{%b}" % b",".join(
        b'%b"%b":%b%b' % (space, name, space, value) for name, value in members if value
    )


def _array(items: list[bytes], space: bytes) -> bytes:
    return b"[%b]" % b",".join(space + item for item in items)


names = st.sampled_from(
    (b"a", b"b", b"", b"jsonrpc", b"id", b"method", b"params", b"\\u0061", b"\xff", b"\\ud800")
)

values: st.SearchStrategy[bytes] = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(_array, st.lists(inner, max_size=4), spaces),
        st.builds(_object, st.lists(st.tuples(names, inner), max_size=4), spaces),
    ),
    max_leaves=6,
)
"""Almost JSON."""

ids = st.one_of(
    st.sampled_from((b"1", b"2", b"3", b'"1"', b'"x"')),
    st.sampled_from((b"0", b"-1", b"", b"null", b"true", b"1.5", b"1.0", b"[]", b"{}", b'""')),
    atoms,
)
"""Half of them valid, and few of those, so that they meet."""

PARAMS = {
    name: tuple(field.name for field in attrs.fields(method.params)) for name, method in METHODS.items()
} | {"route.call": RouteCall.__struct_fields__}

_LIKELY = {
    "service_name": (b'"good"', b'"bad"'),
    "instance_id": (b'"good-1"', b'"bad-1"'),
    "resource_ids": (b'["bad:1"]', b'["good:1"]', b'["bad:1","bad:2","good:1"]', b'["bad:1","bad:1"]', b"[]"),
    "resource_id": (b'"good:1"', b'"bad:1"', b'"bad:2"'),
    "method": (b'"echo"', b'"keep"'),
    "session_id": (b'"session-1"', b'""'),
    "limit": (b"1", b"1000", b"0"),
    "timeout_seconds": (b"1", b"0.001", b"600", b"0", b"601"),
    "metadata": (b"{}", b'{"a":1}'),
    "max_concurrency": (b"1", b"0"),
    "partial": (b"true", b"false"),
    "what": (b'"busiest"', b'"unowned"', b'"conflicts"', b'"most"'),
}


@st.composite
def params_of(draw: st.DrawFn, method: str) -> bytes:
    """Parameters of one of the router's methods, each likely right."""
    members: list[tuple[bytes, bytes]] = []
    for name in PARAMS[method]:
        likely = _LIKELY.get(name)
        fate = draw(st.integers(0, 9))
        if likely is not None and fate < 7:
            members.append((name.encode(), draw(st.sampled_from(likely))))
        elif fate == 9:
            members.append((name.encode(), draw(values)))
    if draw(st.integers(0, 9)) == 0:
        members.append((draw(names), draw(values)))
    return _object(members, draw(spaces))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Requests and notifications that are mostly what the router takes."""
    method = draw(
        st.sampled_from((*METHODS, "route.call", "route.call", "route.call", "no.such", "$/cancelRequest"))
    )
    members = [(b"jsonrpc", b'"2.0"'), (b"id", draw(ids)), (b"method", b'"%b"' % method.encode())]
    if method in PARAMS:
        members.append((b"params", draw(st.one_of(params_of(method), params_of(method), values))))
    elif draw(st.booleans()):
        members.append((b"params", draw(st.one_of(st.sampled_from((b'{"id":1}', b'{"id":"x"}')), values))))
    if draw(st.integers(0, 3)) == 0:
        members.append((b"meta", draw(st.one_of(st.just(b"{}"), values))))
    return _object(draw(st.permutations(members)), draw(spaces))


answers = st.builds(
    lambda request_id, kind, value, space: _object(
        [(b"jsonrpc", b'"2.0"'), (b"id", request_id), (kind, value)], space
    ),
    st.one_of(ids, st.integers(1, 40).map(lambda number: b"%d" % number)),
    st.sampled_from((b"result", b"error")),
    st.one_of(values, st.just(b'{"code":1,"message":"m"}')),
    spaces,
)
"""Answers, to what somebody may have asked."""

envelopes = st.builds(
    _object,
    st.lists(
        st.tuples(
            st.sampled_from((b"jsonrpc", b"id", b"method", b"params", b"result", b"error", b"meta")),
            st.one_of(st.sampled_from((b'"2.0"', b'"session.ping"', b'"route.call"')), ids, values),
        ),
        max_size=7,
    ),
    spaces,
)
"""Members in any company, some of them twice."""


@st.composite
def mutilated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """The same with a piece missing, there twice, or replaced."""
    data = draw(whole)
    start = draw(st.integers(0, max(0, min(len(data), 400) - 1)))
    stop = min(len(data), start + draw(st.integers(0, 6)))
    return draw(
        st.sampled_from(
            (
                data[:start],
                data[:start] + data[stop:],
                data[:stop] + data[start:],
                data[:start] + draw(st.binary(max_size=4)) + data[stop:],
            )
        )
    )


one_message = st.one_of(
    requests(), requests(), answers, envelopes, values, mutilated(requests()), st.binary(max_size=40)
)
"""What may stand for one JSON-RPC message."""

batches = st.builds(_array, st.lists(one_message, max_size=6), spaces)

messages = st.one_of(one_message, one_message, one_message, batches, mutilated(batches))
"""What may stand for one JSON-RPC message or batch."""
