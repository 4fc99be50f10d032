"""The opening handshake of WebSocket as a client sees it. No I/O.

What a router says for a refusal is told as it says it, also where that ends with the connection, or not at all.
"""

import re

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from resroute.client.address import Address
from resroute.client.connection import SUBPROTOCOLS
from resroute.client.tokens import check_token
from resroute.errors import ConnectionFailed
from resroute.transport.framed import LIBRARY_LOG

_MAX_HEAD_BYTES = 16 * 1024
_HEAD_ENDS = b"\r\n\r\n"
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})\b")
_NO_WEBSOCKET = "the peer does not speak WebSocket"
_GONE = "the peer closed the connection, or does not speak WebSocket"


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
        self._url = address.url
        self._protocol = client_protocol(address)
        self._said = bytearray()  # as much as may be told of it
        self._head_has_ended = False
        request = self._protocol.connect()
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        self._protocol.send_request(request)
        self.request = b"".join(self._protocol.data_to_send())

    @property
    def subprotocol(self) -> str | None:
        """The one that was agreed on."""
        return self._protocol.subprotocol

    def receive(self, data: bytes) -> bytes | None:
        """Take what has arrived; nothing: the connection has ended.

        Returns:
            What came behind the handshake, once that is done; until then None.

        Raises:
            ConnectionFailed: the peer refuses, or is none that speaks WebSocket.
        """
        if not data:
            self._protocol.receive_eof()
            raise self.failure(_GONE)
        before = len(self._said)
        self._said += data[: _MAX_HEAD_BYTES - before]
        behind = b""
        if not self._head_has_ended:
            ends = self._said.find(_HEAD_ENDS, max(0, before - len(_HEAD_ENDS) + 1))
            if ends < 0 and len(self._said) == _MAX_HEAD_BYTES:
                raise self.failure(_NO_WEBSOCKET)
            if ends >= 0:
                self._head_has_ended = True
                at = ends + len(_HEAD_ENDS) - before
                data, behind = data[:at], data[at:]
        self._protocol.receive_data(data)
        if self._protocol.state is State.OPEN:
            return behind
        if behind:  # of a refusal
            self._protocol.receive_data(behind)
        error = self._protocol.handshake_exc
        if error is None or (isinstance(error, InvalidMessage) and self._is_refusal()):
            return None  # to the library HTTP/1.0 is none; a refusal that it does not read ends with the connection
        raise self.failure(_NO_WEBSOCKET)

    def _is_refusal(self) -> bool:
        return _STATUS_LINE.match(self._said) is not None

    def failure(self, reason: str) -> ConnectionFailed:
        """Why there is no connection: as the peer says, if it says anything, else for ``reason``."""
        error = self._protocol.handshake_exc
        if isinstance(error, InvalidStatus):
            response = error.response
            said = response.headers.get_all("Retry-After")
            failure = _refused(
                self._url, response.status_code, said[-1].encode() if said else b"", bytes(response.body)
            )
        else:
            failure = self._refusal_in_pieces() or ConnectionFailed(self._url, reason)
        failure.__cause__ = error
        return failure

    def _refusal_in_pieces(self) -> ConnectionFailed | None:
        """What was said, if it is an HTTP response that has no end of its own, or did not come to it."""
        head, separator, body = bytes(self._said).partition(_HEAD_ENDS)
        line, *lines = head.split(b"\r\n")
        status = _STATUS_LINE.match(line)
        if status is None or not separator:
            return None
        headers = [
            (name.strip(), value.strip()) for name, _, value in (each.partition(b":") for each in lines)
        ]
        retry_after = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
        return _refused(self._url, int(status[1]), retry_after, body)


def _refused(url: str, status: int, retry_after: bytes, body: bytes) -> ConnectionFailed:
    text = body.decode(errors="replace").strip()
    reason = f"refused with HTTP {status}" + (f": {text[:200]}" if text else "")
    # RFC 9110, section 10.2.3. A date is not looked at: clocks differ
    seconds = float(retry_after) if retry_after.isdigit() and len(retry_after) <= 9 else None
    return ConnectionFailed(url, reason, status, seconds)
