"""The opening handshake of WebSocket as a client sees it. No I/O.

What comes back is taken apart here, with patience: proxies write it too. Whether it answers the handshake, the library says.
"""

import re

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from resroute.client.address import Address
from resroute.client.connection import SUBPROTOCOLS
from resroute.client.refusals import Refusal, in_one_line
from resroute.client.tokens import check_token
from resroute.errors import ConnectionFailed
from resroute.transport.framed import LIBRARY_LOG

_MAX_HEAD_BYTES = 16 * 1024
_HTTP = b"HTTP/1."
_STATUS_LINE = re.compile(r"HTTP/1\.[0-9] ([1-5][0-9]{2})(?: (.*))?")
_SWITCHING_PROTOCOLS = 101
_NO_WEBSOCKET = "the peer does not speak WebSocket"
_ONLY_TLS = "what answers there speaks TLS: its URL begins with wss://"
_TLS_ALERT = b"\x15\x03"  # RFC 8446, section 5.1


def client_protocol(
    address: Address, *, state: State = State.CONNECTING, max_message_bytes: int | None = None
) -> ClientProtocol:
    """The library's protocol for a client's end."""
    path, _, query = address.target.partition("?")
    return ClientProtocol(
        WebSocketURI(address.is_secure, address.host, address.port, path, query),
        subprotocols=[Subprotocol(name) for name in SUBPROTOCOLS],
        state=state,
        max_size=max_message_bytes,
        logger=LIBRARY_LOG,
    )


class Opening:
    """One handshake: ``request`` is to be sent, then whatever arrives goes to :meth:`receive` until that is satisfied.

    Args:
        token: to be sent as a bearer token.

    Raises:
        ValueError: the token cannot be one.
    """

    def __init__(self, address: Address, token: str | None) -> None:
        check_token(token)
        self.subprotocol: str | None = None
        """The one that was agreed on."""
        self._url = address.url
        self._gone = "the peer closed the connection without an answer: perhaps it does not speak WebSocket"
        if not address.is_secure:
            self._gone += ", or only over TLS (wss://)"
        self._protocol = client_protocol(address)
        self._said = bytearray()  # what is no head yet
        self._head_bytes = 0  # of heads that were there
        self._refusal: Refusal | None = None
        request = self._protocol.connect()
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        self.request = request.serialize()

    @property
    def is_refused(self) -> bool:
        """Whether all that is missing is the text of a refusal."""
        return self._refusal is not None

    def receive(self, data: bytes) -> bytes | None:
        """Take what has arrived; nothing: the connection has ended.

        Returns:
            What came behind the handshake, once that is done; until then None.

        Raises:
            ConnectionFailed: the peer refuses, or is none that speaks WebSocket.
        """
        if not data:
            raise self.failure(self._gone)
        if self._refusal is not None:
            self._receive_refusal(self._refusal, data)
            return None
        self._said += data
        while ends := _end_of_head(self._said):
            head, behind = bytes(self._said[:ends]), bytes(self._said[ends:])
            self._head_bytes += ends
            status, phrase, headers = self._read_head(head)
            if status == _SWITCHING_PROTOCOLS:
                self._check(phrase, headers)
                return behind
            if status > 199:
                last = {name.lower(): value for name, value in headers}
                self._refusal = Refusal(status, phrase, last)
                self._receive_refusal(self._refusal, behind)
                return None
            self._said[:] = behind  # of more than one response, the last one counts: RFC 9110, section 15.2
        begins = bytes(self._said[: len(_HTTP)])
        if begins.startswith(_TLS_ALERT):
            raise self.failure(_ONLY_TLS)
        if len(self._said) > _MAX_HEAD_BYTES or not (
            _HTTP.startswith(begins) or _TLS_ALERT.startswith(begins)
        ):
            raise self.failure(_NO_WEBSOCKET)
        return None

    def _read_head(self, head: bytes) -> tuple[int, str, list[tuple[str, str]]]:
        """Status, what stands behind it, and headers."""
        line, *lines = head.decode("latin-1").replace("\r\n", "\n").rstrip("\n").split("\n")
        status = _STATUS_LINE.fullmatch(line)
        if status is None or self._head_bytes > _MAX_HEAD_BYTES:
            raise self.failure(_NO_WEBSOCKET)
        headers: list[tuple[str, str]] = []
        for each in lines:
            name, _, value = each.partition(":")
            if each[:1] in (" ", "\t") and headers:  # RFC 9112, section 5.2
                name, value = headers[-1][0], f"{headers.pop()[1]} {each}"
            headers.append((name.strip(), value.strip()))
        return int(status[1]), status[2] or "", headers

    def _check(self, phrase: str, headers: list[tuple[str, str]]) -> None:
        """Have the library look whether this is the answer to what was asked."""
        answer = Headers()
        try:
            for name, value in headers:
                answer[name] = value
            self._protocol.process_response(Response(_SWITCHING_PROTOCOLS, phrase, answer))
        except InvalidHandshake as error:
            raise self.failure(f"{_NO_WEBSOCKET} as a router does: {in_one_line(str(error))}") from error
        self.subprotocol = self._protocol.subprotocol

    def _receive_refusal(self, refusal: Refusal, data: bytes) -> None:
        refusal.receive(data)
        if refusal.is_complete:
            raise refusal.failure(self._url)

    def failure(self, reason: str) -> ConnectionFailed:
        """Why there is no connection: as the peer says, if it says anything, else for ``reason``."""
        return (
            ConnectionFailed(self._url, reason) if self._refusal is None else self._refusal.failure(self._url)
        )


def _end_of_head(said: bytearray) -> int:
    """Behind the empty line that ends the head; 0: there is none yet."""
    ends = [at + len(end) for end in (b"\n\r\n", b"\n\n") if (at := said.find(end)) >= 0]
    return min(ends, default=0)
