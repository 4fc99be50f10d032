"""What a peer may do wrong, and what it is told for it: said in memory and over sockets."""

from collections.abc import Sequence

from tests.fuzz import said
from tests.fuzz.talking import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, PING, request

# after the handshake -> the router's Close
FRAMES = (
    (said.frame(said.BINARY, b"a"), 1003),
    (said.text(b"\xff"), 1007),
    (said.text(b"\xed\xa0\x80"), 1007),
    (said.text(PING.encode() % b"1" + b"\xc3"), 1007),
    (said.frame(said.CONTINUATION, b"a"), 1002),
    (said.frame(said.TEXT, b"a", mask=None), 1002),
    (said.frame(said.TEXT, b"a", reserved=4), 1002),
    (said.frame(3, b"a"), 1002),
    (said.frame(said.PING, b"a" * 126), 1002),
    (said.frame(said.PING, b"a", fin=False), 1002),
    (said.frame(said.TEXT, b"a", fin=False) + said.text(b"b"), 1002),
    (said.close(1005), 1002),
    (said.frame(said.CLOSE, b"\x03"), 1002),
    (said.close(1000, b"\xff"), 1007),
    (said.close(1000), 1000),
    (said.close(4321), 4321),
    (said.frame(said.TEXT, b"a", fin=False) + said.close(4321), 4321),
    (b"GET / HTTP/1.1\r\n\r\n", 1002),
)

# instead of a handshake -> the HTTP status
HANDSHAKES = (
    (said.handshake("no.such"), 400),
    (said.handshake(path="/no/such"), 404),
    (said.handshake(path="//[x"), 404),
    (said.handshake(path="http://["), 400),
    (said.handshake(path="/resources/"), 400),
    (said.handshake(path="/resources/a%"), 400),
    (said.handshake(path="/resources/a?b"), 400),
    (said.handshake(path="/resources/a?timeout_seconds=" + "9" * 1000), 400),
    (said.handshake(path="/services/" + "a/" * 200), 400),
    (said.handshake(path="/services/a?" + "&" * 1000 + "owner_changes=true"), 400),
    (said.handshake(host="evil.example"), 403),
    (said.handshake(host="["), 400),
    (said.handshake(extra=b"Origin: http://evil.example\r\n"), 403),
    (said.handshake(extra=b"Origin: http://[\r\n"), 400),
    (said.handshake(extra=b"Host: localhost\r\n"), 400),
    (said.handshake(extra=b"Sec-WebSocket-Version: 8\r\n"), 400),
    (said.handshake().replace(b"Upgrade: websocket\r\n", b""), 426),
    (said.handshake().replace(b"Sec-WebSocket-Key", b"X"), 400),
    (said.handshake().replace(b"GET", b"POST"), 405),
    (said.handshake(host="localhost", extra=b"Origin: null\r\n"), 403),
    (said.handshake(host="localhost:1", extra=b"Origin: http://localhost:2\r\n"), 403),
    (said.handshake(host="192.0.2.1"), 403),
    (said.handshake(extra=b"X: y\r\n" * 200), 431),
    (said.handshake(extra=b"X: %b\r\n" % (b"y" * 6000) * 4), 431),
    (said.handshake().replace(b"Host: localhost\r\n", b""), 403),
    (said.handshake(extra=b"X\r\n"), 400),
    (said.handshake(extra=b"X: a\0b\r\n"), 400),
    (said.handshake(extra=b"X: a\r\n b\r\n"), 400),
    (said.handshake(extra=b"Content-Length: 2\r\n"), 400),
    (said.handshake(extra=b"Transfer-Encoding: chunked\r\n"), 400),
    (said.handshake().replace(b"\r\n", b"\n"), 400),
    (said.handshake() + said.text(b"{}"), 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"\r\n", 400),
)

GOOD_HANDSHAKES = (
    said.handshake(host="127.0.0.1:8765"),
    said.handshake(host="[::1]:8765"),
    said.handshake(host="LOCALHOST"),
    said.handshake(host="localhost:8765", extra=b"Origin: http://localhost:8765\r\n"),
    said.handshake("no.such", "resroute.v1", "bearer.secret"),
    said.handshake(path="/resources/a%2Fb?progress=true"),
)

# one message -> the answers to it, each as its id, code and type
MESSAGES: Sequence[tuple[str, Sequence[tuple[int | None, int, str]]]] = (
    ("{", [(None, PARSE_ERROR, "parse_error")]),
    ('{"jsonrpc":"2.0","id":1,"method":"session.ping"}}', [(None, PARSE_ERROR, "parse_error")]),
    ("[" * 100_000, [(None, PARSE_ERROR, "parse_error")]),
    ('{"a":' * 100_000 + "1" + "}" * 100_000, [(None, PARSE_ERROR, "parse_error")]),
    (request("session.ping", '{"trace_id":"\\ud800"}'), [(None, PARSE_ERROR, "parse_error")]),
    ("1", [(None, INVALID_REQUEST, "invalid_request")]),
    ("{}", [(None, INVALID_REQUEST, "invalid_request")]),
    ('{"id":7,"method":"session.ping"}', [(7, INVALID_REQUEST, "invalid_request")]),
    *(
        (PING % wrong_id, [(None, INVALID_REQUEST, "invalid_request")])
        for wrong_id in ("true", "null", "1.5", "[]", "{}")
    ),
    (request("session.ping", "5"), [(1, INVALID_REQUEST, "invalid_request")]),
    ("[]", [(None, INVALID_REQUEST, "invalid_request")]),
    (f"[{','.join(['1'] * 1001)}]", [(None, INVALID_REQUEST, "invalid_request")]),
    (request("no.such"), [(1, METHOD_NOT_FOUND, "method_not_found")]),
    (request("session.ping", "[]"), [(1, INVALID_PARAMS, "invalid_params")]),
    (request("session.ping", '{"a":1,"b":2}'), [(1, INVALID_PARAMS, "invalid_params")]),
    (request("resource.query", '{"limit":18446744073709551616}'), [(1, INVALID_PARAMS, "invalid_params")]),
    (request("resource.query", '{"limit":1e400}'), [(1, INVALID_PARAMS, "invalid_params")]),
    (request("resource.query", '{"cursor":"\\u0000"}'), [(1, INVALID_PARAMS, "invalid_params")]),
    (
        request("resource.query", '{"resource_ids":["%s"]}' % ("x" * 257)),
        [(1, INVALID_PARAMS, "invalid_params")],
    ),
    (request("resource.query", '{"resource_ids":["a b"]}'), [(1, INVALID_PARAMS, "invalid_params")]),
    (request("route.call", '{"method":"x","resource_id":"no"}'), [(1, 404, "resource_not_found")]),
    (request("resource.register", '{"resource_ids":["a"]}'), [(1, 403, "forbidden")]),
    ('{"jsonrpc":"2.0","id":1,"result":1}', []),
    ('{"jsonrpc":"2.0","id":1,"error":5}', []),
    ('{"jsonrpc":"2.0","method":"no.such"}', []),
)
