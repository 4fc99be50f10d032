"""What a peer can put on the stream: handshakes and frames, right and wrong (RFC 6455, section 5.2)."""

from collections.abc import Sequence
from itertools import batched, cycle, islice

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 0x1, 0x2, 0x8, 0x9, 0xA, 0x0

MASK = b"\x37\xfa\x21\x3d"


def handshake(*subprotocols: str, path: str = "/", host: str = "localhost", extra: bytes = b"") -> bytes:
    """An opening handshake. ``extra`` is further header lines."""
    if subprotocols:
        extra += b"Sec-WebSocket-Protocol: %b\r\n" % ", ".join(subprotocols).encode()
    return (
        b"GET %b HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%b\r\n"
        % (path.encode(), host.encode(), extra)
    )


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = MASK,
    size: int | None = None,
    size_bytes: int | None = None,
) -> bytes:
    """A frame.

    Args:
        opcode: four bits.
        payload: before it is masked.
        fin: whether it is the last of its message.
        reserved: the three reserved bits.
        mask: four bytes, or None for a frame that is not masked, as no client may send it.
        size: what it says of its size, if that is not true.
        size_bytes: how many bytes that takes: 0, 2 or 8; by default as few as it can.
    """
    size = len(payload) if size is None else size
    if size_bytes is None:
        size_bytes = 0 if size < 126 else 2 if size < 65536 else 8
    short = {0: size, 2: 126, 8: 127}[size_bytes]
    head = bytes(((0x80 if fin else 0) | reserved << 4 | opcode, (0x80 if mask is not None else 0) | short))
    head += size.to_bytes(size_bytes) if size_bytes else b""
    return head + payload if mask is None else head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask."""
    repeated = mask * (len(payload) // 4 + 1)
    number = int.from_bytes(payload) ^ int.from_bytes(repeated[: len(payload)])
    return number.to_bytes(len(payload))


def text(payload: bytes, mask: bytes | None = MASK) -> bytes:
    """A whole text message."""
    return frame(TEXT, payload, mask=mask)


def fragments(payload: bytes, size: int, opcode: int = TEXT, mask: bytes | None = MASK) -> bytes:
    """A message in frames of that size."""
    parts = [bytes(part) for part in batched(payload, size, strict=False)] or [b""]
    return b"".join(
        frame(CONTINUATION if index else opcode, part, fin=index == len(parts) - 1, mask=mask)
        for index, part in enumerate(parts)
    )


def close(code: int = 1000, reason: bytes = b"", mask: bytes | None = MASK) -> bytes:
    """A Close."""
    return frame(CLOSE, code.to_bytes(2) + reason, mask=mask)


def chopped(data: bytes, sizes: Sequence[int], at_most: int = 200) -> list[bytes]:
    """Data in pieces of those sizes, again and again, and after so many of them the rest; without sizes in one."""
    pieces: list[bytes] = []
    for size in islice(cycle(sizes), at_most):
        if not data:
            return pieces
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data] if data else pieces
