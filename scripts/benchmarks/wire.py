"""A WebSocket client on a blocking socket, which costs less than the router it measures.

Its frames are masked with zeros, so that nothing has to be masked. It joins fragments, answers pings and sets
notifications aside. For nothing but benchmarks: it trusts its peer.
"""

import os
import select
import socket
import struct
from base64 import b64encode
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Self

import orjson

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_TIMEOUT_SECONDS = 60.0


class RequestFailed(Exception):
    """The router, or a callee, answered with an error."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(error)
        self.code: int = error["code"]


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole frame as a client sends it."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BBI", 0x80 | opcode, 0x80 | size, 0) + payload
    if size < 65536:
        return struct.pack("!BBHI", 0x80 | opcode, 0xFE, size, 0) + payload
    return struct.pack("!BBQI", 0x80 | opcode, 0xFF, size, 0) + payload


def text_frame(message: bytes) -> bytes:
    """A text message in one frame."""
    return frame(_TEXT, message)


def request(identifier: int, method: str, params: object) -> bytes:
    """A JSON-RPC request."""
    return orjson.dumps({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params})


def handshake(port: int, subprotocol: str) -> bytes:
    """The opening handshake."""
    key = b64encode(os.urandom(16)).decode()
    return (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    ).encode()


class Client:
    """One connection to a router on 127.0.0.1.

    Attributes:
        notifications: what came while an answer was awaited, oldest first.
    """

    def __init__(self, port: int, subprotocol: str = "resroute.v1", *, wait: bool = True) -> None:
        """Connect; without ``wait`` the handshake is under way, and :meth:`wait_open` sees its end."""
        self.notifications: deque[dict[str, Any]] = deque()
        self._last_id = 0
        self._pongs = 0
        self._buffer = bytearray()
        self._parts: list[bytes] = []  # of a message whose last fragment has not come
        self._socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(handshake(port, subprotocol))
        if wait:
            self.wait_open()

    def wait_open(self) -> None:
        """Wait for the end of the handshake.

        Raises:
            ConnectionError: if it is refused.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._fill()
        head = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 4]
        if " 101 " not in head.splitlines()[0]:
            raise ConnectionError(head.splitlines()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def fileno(self) -> int:
        """For :mod:`select`."""
        return self._socket.fileno()

    def drop(self) -> None:
        """End the connection without a goodbye, as the system does for a process that is killed."""
        self._socket.close()

    def send(self, *messages: bytes) -> None:
        """Send text messages, each in its own frame, in one system call."""
        self.send_frames(b"".join([text_frame(message) for message in messages]))

    def send_frames(self, frames: bytes) -> None:
        """Send frames that were made before."""
        self._socket.sendall(frames)

    def receive(self) -> bytes:
        """Wait for the next text message."""
        while (message := self._next_message()) is None:
            self._fill()
        return message

    def receive_ready(self) -> list[bytes]:
        """Read once, and return the text messages that are complete."""
        self._fill()
        return self.messages_of(b"")

    def read_ready(self) -> bytes:
        """Bytes that are there, without looking at them; none if there are none. For :meth:`messages_of`.

        Raises:
            ConnectionError: if the router hung up.
        """
        try:
            data = os.read(self.fileno(), 1 << 18)  # which does not block, for it has a time-out
        except BlockingIOError:
            return b""
        if not data:
            raise ConnectionError("the router hung up")
        return data

    def messages_of(self, data: bytes) -> list[bytes]:
        """The text messages that are complete with bytes that were read before."""
        self._buffer += data
        messages = []
        while (message := self._next_message()) is not None:
            messages.append(message)
        return messages

    def ping(self) -> None:
        """Send a Ping and wait for its Pong."""
        self._socket.sendall(frame(_PING, b"bench"))
        awaited = self._pongs + 1
        while True:
            message = self._next_message()
            if message is not None:
                self.notifications.append(orjson.loads(message))
            elif self._pongs == awaited:
                return
            else:
                self._fill()

    def request(self, method: str, params: Mapping[str, object]) -> Any:
        """Make a request and wait for its result.

        Raises:
            RequestFailed: if the answer is an error.
        """
        self._last_id += 1
        self.send(request(self._last_id, method, params))
        return self.wait_answer(self._last_id)

    def wait_answer(self, identifier: int) -> Any:
        """Wait for the answer to one request; only notifications may come before it."""
        while True:
            message = orjson.loads(self.receive())
            if message.get("id") == identifier and "method" not in message:
                break
            self.notifications.append(message)
        if "error" in message:
            raise RequestFailed(message["error"])
        return message["result"]

    def _fill(self) -> None:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the router hung up")
        self._buffer += data

    def _next_message(self) -> bytes | None:
        """The next whole text message of the buffer, or None; a Pong counts as a reason to return too."""
        buffer = self._buffer
        while len(buffer) >= 2:
            first, size = buffer[0], buffer[1]
            start = 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(buffer[2:start])
            end = start + size
            if len(buffer) < end:
                return None
            payload = bytes(memoryview(buffer)[start:end])
            del buffer[:end]
            opcode = first & 15
            if opcode < _CLOSE:
                self._parts.append(payload)
                if first & 0x80:
                    message = payload if len(self._parts) == 1 else b"".join(self._parts)
                    self._parts.clear()
                    return message
            elif opcode == _PING:
                self._socket.sendall(frame(_PONG, payload))
            elif opcode == _PONG:
                self._pongs += 1
                return None
            else:
                raise ConnectionError(f"closed by the router: {payload[2:].decode(errors='replace')}")
        return None


def wait_ready(poll: select.epoll) -> list[tuple[int, int]]:
    """Wait until something can be read.

    Raises:
        TimeoutError: if nothing comes.
    """
    ready = poll.poll(_TIMEOUT_SECONDS)
    if not ready:
        raise TimeoutError("the router has fallen silent")
    return ready


def pipeline(requests: Mapping[Client, Sequence[bytes]], in_flight: int) -> None:
    """Send each client's requests, so many in flight, until all are answered.

    Raises:
        RequestFailed: if an answer is an error.
        TimeoutError: if none comes any more.
    """
    sent = dict.fromkeys(requests, 0)
    answered = dict.fromkeys(requests, 0)
    missing = sum(map(len, requests.values()))
    with select.epoll() as poll:
        by_descriptor = {client.fileno(): client for client in requests}
        for descriptor, client in by_descriptor.items():
            poll.register(descriptor, select.EPOLLIN)
            client.send(*requests[client][:in_flight])
            sent[client] = min(in_flight, len(requests[client]))
        while missing:
            for descriptor, _ in wait_ready(poll):
                client = by_descriptor[descriptor]
                for message in client.receive_ready():
                    answer = orjson.loads(message)
                    if "error" in answer:
                        raise RequestFailed(answer["error"])
                    answered[client] += "id" in answer
                    missing -= "id" in answer
                more = min(answered[client] + in_flight, len(requests[client]))
                if more > sent[client]:
                    client.send(*requests[client][sent[client] : more])
                    sent[client] = more
