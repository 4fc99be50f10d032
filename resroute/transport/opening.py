"""Opening handshakes as almost every client sends them, read at a fifth of what the WebSocket library takes.

Only a request that has nothing unusual is read here: all others, and so every refusal, are the library's. Pure.
"""

import re
from base64 import b64encode
from hashlib import sha1
from typing import NamedTuple

from websockets.datastructures import Headers
from websockets.http11 import Request

_MAX_BYTES = 4096
_MAX_LINES = 64
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_TARGET = re.compile(rb"GET ([\x21-\x7e]+) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\x20-\x7e\t]*)")
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # sixteen bytes
_TOKENS = re.compile(rb"[0-9A-Za-z._-]+(?:, ?[0-9A-Za-z._-]+)*")
_KEY_FIELD = b"\r\nSec-WebSocket-Key: "
_KEY_BYTES = 24
_MAX_SEEN = 64
_WITHOUT_SECRETS = re.compile(  # no query, and no field in which there might be one
    rb"GET [^?\r\n]+"
    rb"(?:\r\n(?:host|origin|upgrade|connection|user-agent|accept(?:-encoding|-language)?|cache-control|pragma"
    rb"|sec-fetch-[a-z]+|sec-websocket-(?:key|version|extensions|protocol(?!.*bearer\.))):[^\r\n]*)+\r\n\r\n",
    re.IGNORECASE,
)
_UPGRADES = (b"upgrade", b"keep-alive, upgrade")  # the second is Firefox's


class Opening(NamedTuple):
    """A valid opening handshake.

    Attributes:
        request: of its headers only those that decide whether it is welcome: Host and Origin.
        subprotocols: what the client offers, in its order.
        accept: the proof that it was read.
    """

    request: Request
    subprotocols: list[str]
    accept: bytes

    def answer(self, subprotocol: str | None) -> bytes:
        """The response that makes it a session."""
        chosen = b"" if subprotocol is None else b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode()
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (self.accept, chosen)
        )


# requests that were read, by what stands before and after their key: a program's are alike but for that
_seen: dict[tuple[bytes, bytes], Opening] = {}


def read_opening(data: bytes) -> Opening | None:
    """Read a whole request and nothing after it. None if the library should have a look."""
    at = data.find(_KEY_FIELD) + len(_KEY_FIELD)
    around = data[:at], data[at + _KEY_BYTES :]
    seen = _seen.get(around)
    if seen is not None and _KEY.fullmatch(key := data[at : at + _KEY_BYTES]) is not None:
        return Opening(seen.request, seen.subprotocols, _accept_of(key))
    opening = _read(data)
    if opening is not None and _is_to_be_kept(data, at):
        if len(_seen) >= _MAX_SEEN:
            _seen.clear()
        _seen[around] = opening
    return opening


def _is_to_be_kept(data: bytes, at: int) -> bool:
    """Whether another request may be like this one, which was read, but for the key that begins there and nothing else."""
    ends = at + _KEY_BYTES
    return (
        data.startswith(_KEY_FIELD, at - len(_KEY_FIELD))
        and data.startswith(b"\r\n", ends)
        and _KEY.fullmatch(data, at, ends) is not None
        and _WITHOUT_SECRETS.fullmatch(data) is not None
    )


def _read(data: bytes) -> Opening | None:
    if len(data) > _MAX_BYTES or not data.endswith(b"\r\n\r\n"):
        return None
    first, *lines = data[:-4].split(b"\r\n")
    target = _TARGET.fullmatch(first)
    if target is None or len(lines) > _MAX_LINES:
        return None
    fields: dict[bytes, bytes] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            return None
        fields[field[1].lower()] = field[2].strip(b" \t")
    key = fields.get(b"sec-websocket-key", b"")
    offered = fields.get(b"sec-websocket-protocol")
    is_usual = (
        len(fields) == len(lines)  # none is there twice
        and b"host" in fields
        and fields.get(b"upgrade", b"").lower() == b"websocket"
        and fields.get(b"connection", b"").lower() in _UPGRADES
        and fields.get(b"sec-websocket-version") == b"13"
        and _KEY.fullmatch(key) is not None
        and (offered is None or _TOKENS.fullmatch(offered) is not None)
        and b"content-length" not in fields
        and b"transfer-encoding" not in fields
    )
    if not is_usual:
        return None
    headers = Headers(Host=fields[b"host"].decode())
    if b"origin" in fields:
        headers["Origin"] = fields[b"origin"].decode()
    return Opening(
        Request(target[1].decode(), headers),
        [] if offered is None else [name.strip() for name in offered.decode().split(",")],
        _accept_of(key),
    )


def _accept_of(key: bytes) -> bytes:
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
