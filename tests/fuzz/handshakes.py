"""Whatever comes instead of an opening handshake costs whoever sends it, and nobody else."""

import re

import trio
import trio.testing
from hypothesis import strategies as st

from tests.fuzz import hostile, said
from tests.fuzz.arena import open_arena
from tests.fuzz.effort import Target

_STRANGE = (
    *(b"", b"\xff\xfe", b"\x00", b"a" * 300, b" ", b"\t", b"http://[", b"//[x", b"[::1]:8765", b"[", b"*"),
    *(b"localhost:99999", b"localhost:x", b"@", b"http://evil.example", b"null", b"%2e%2e", b"\xc3\xa9"),
)

_GOOD = (
    (b"Host", b"localhost"),
    (b"Upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"Sec-WebSocket-Version", b"13"),
)

_MORE = (
    *(
        (b"Origin", b"http://localhost"),
        (b"Origin", b"http://["),
        (b"Sec-WebSocket-Protocol", b"resroute.v1"),
    ),
    *((b"Sec-WebSocket-Protocol", b"other"), (b"Sec-WebSocket-Protocol", b"bearer.x, resroute.v1")),
    *((b"Sec-WebSocket-Protocol", b",,"), (b"Sec-WebSocket-Extensions", b'permessage-deflate; x="')),
    *((b"Content-Length", b"5"), (b"Content-Length", b"-1"), (b"Transfer-Encoding", b"chunked")),
    *((b"Host", b"evil.example"), (b"Upgrade", b"h2c"), (b"Connection", b"close"), (b" folded", b"x")),
)

_IDS = (b"a", b"doc/7", b"%64oc%3A7", b"%", b"%00", b"%ff", b"a/", b"", b"a" * 257, b"\xc3\xa4", b"%25%32%35")

_OPTIONS = (
    *(b"progress=true", b"progress=false", b"progress", b"owner_changes=true", b"owner_changes=\xff"),
    *(b"timeout_seconds=5", b"timeout_seconds=0", b"timeout_seconds=%35", b"timeout_seconds=1e999", b"no=1"),
    *(b"", b"=", b"%", b"+", b"a=b=c", b";", b"?", b"x" * 300),
)

strange = hostile.one_of(_STRANGE)

bound = st.builds(
    lambda kind, name, options: b"%b%b?%b" % (kind, name, b"&".join(options)),
    st.sampled_from((b"/resources/", b"/services/", b"http://localhost/resources/", b"/resources")),
    hostile.one_of(_IDS),
    st.lists(hostile.one_of(_OPTIONS), max_size=4),
)
"""Paths of bound connections, most of them with a mistake."""


@st.composite
def handshakes(draw: st.DrawFn) -> bytes:
    """Handshakes, most of them with a mistake or two."""
    method = draw(st.sampled_from((b"GET", b"GET", b"GET", b"POST", b"get", b"")))
    path = draw(st.one_of(st.just(b"/"), strange, strange.map(lambda path: b"/" + path), bound))
    version = draw(st.sampled_from((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"")))
    lines = [b"%b %b %b" % (method, path, version)]
    for name, value in (*_GOOD, *draw(st.lists(hostile.one_of(_MORE), max_size=3))):
        fate = draw(st.integers(0, 19))
        if fate == 0:
            continue
        if fate == 1:
            value = draw(strange)
        lines += [b"%b: %b" % (name, value)] * (2 if fate == 2 else 1)
    if draw(st.integers(0, 19)) == 0:
        lines += [b"X-%d: y" % number for number in range(200)]
    end = draw(st.sampled_from((b"\r\n", b"\r\n", b"\r\n", b"\n")))
    return end.join(lines) + end + end


openings = st.tuples(
    st.one_of(
        handshakes(),
        hostile.mutilated(handshakes()),
        st.binary(max_size=60),
        st.just(b"GET / HTTP/1.1\r\n" + b"x" * 100_000),
    ),
    st.sampled_from(((), (), (1,), (5, 2))),
    st.booleans(),
)
"""What is said first, the sizes of the pieces it comes in, and whether more follows or whoever said it leaves."""


def knock(opening: tuple[bytes, tuple[int, ...], bool]) -> None:
    """It is let in, refused with a status, or hung up on in time; and nothing is left of it."""
    trio.run(_knock, *opening, clock=trio.testing.MockClock(autojump_threshold=0))


async def _knock(data: bytes, sizes: tuple[int, ...], stays: bool) -> None:
    async with open_arena() as arena:
        baseline = arena.router.statistics()
        peer = await arena.connect()
        for piece in said.chopped(data, sizes):
            await peer.send(piece)
            if sizes:
                await trio.testing.wait_all_tasks_blocked()
        if stays:
            await trio.sleep(11)  # longer than a handshake may take
            assert peer.over.is_set() or peer.has_opened
        peer.vanish()
        await arena.wait_gone(peer, baseline)
        if peer.refusal is not None:
            assert re.match(rb"HTTP/1.1 (4\d\d|505) ", peer.refusal), peer.refusal


KNOCK = Target(
    check=knock,
    inputs=openings,
    everyday=60,
    corpus=[
        (said.handshake(path="//[x"), (), True),
        (said.handshake(path="http://["), (), True),
        (said.handshake(path="/resources/a?owner_changes=true&progress=true&timeout_seconds=1"), (), True),
        (said.handshake(path="/resources/%ff?é=%ff"), (), True),
        (said.handshake(host="["), (), True),
        (said.handshake(extra=b"Origin: http://[\r\n"), (), True),
        (said.handshake("no.such"), (), True),
        (said.handshake()[:-2], (), True),
        (said.handshake(), (1,), True),
        (said.handshake() + said.text(b"too early"), (), True),
        (said.handshake() + b"too early", (), True),
        (said.handshake().replace(b"Sec-WebSocket-Key", b"X") + b"too early", (), True),
        (b"", (), True),
    ],
)
