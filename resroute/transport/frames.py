"""The outside of WebSocket frames (RFC 6455, section 5.2): where one ends, and the header of one to send. Pure."""

try:
    from websockets.speedups import apply_mask as _apply_mask
except ImportError:  # not every platform has a wheel with it
    from websockets.utils import apply_mask as _apply_mask

apply_mask = _apply_mask
"""Mask or unmask a payload with four bytes."""

WHOLE_TEXT = 0x81
"""First byte of a text message in one frame: FIN, the opcode for text, and no bit of an extension."""

WHOLE_BINARY = 0x82
"""The same of a binary message."""

WHOLE_PONG = 0x8A
"""The same of a Pong."""

PING = b"\x89\x00"
"""A Ping of a server with nothing in it."""

MAX_CONTROL_BYTES = 125
"""The most that a Close, Ping or Pong carries."""

FIN = 0x80
"""Bit of the first byte: the message ends with this frame."""

MASKED = 0x80
"""Bit of the second byte: a mask of four bytes stands before the payload, as in all that clients send."""

CONTROL = 0x08
"""Bit of the first byte: the opcode is that of a Close, Ping or Pong."""

_OPCODES = (0x0, 0x1, 0x2, 0x8, 0x9, 0xA)


def may_be_frame(data: bytes, start: int, masked: int) -> bool:
    """Whether what begins at ``start`` may be a frame, as far as two bytes can tell.

    Args:
        masked: :data:`MASKED` if it must be, as a client's, or 0 if it must not.
    """
    return data[start] & 0x0F in _OPCODES and data[start + 1] & MASKED == masked


def locate(data: bytes, start: int) -> tuple[int, int]:
    """Where the payload of the frame at ``start`` begins and ends; the end may lie beyond the data.

    While even the header is incomplete, both are where the header may end at the earliest, which lies beyond the data.
    """
    at = start + 2
    if at > len(data):
        return at, at
    second = data[start + 1]
    size = second & 0x7F
    if size == 126:
        at += 2
        size = int.from_bytes(data[at - 2 : at])
    elif size == 127:
        at += 8
        size = int.from_bytes(data[at - 8 : at])
    if second & MASKED:
        at += 4
    if at > len(data):
        return at, at
    return at, at + size


def header(first: int, size: int) -> bytes:
    """The header of an unmasked frame. ``first`` holds FIN and the opcode."""
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return b"%c\x7e%b" % (first, size.to_bytes(2))
    return b"%c\x7f%b" % (first, size.to_bytes(8))


def masked_header(first: int, size: int, mask: bytes) -> bytes:
    """The header of a frame whose payload is masked with these four bytes."""
    plain = header(first, size)
    return b"%c%c%b%b" % (plain[0], plain[1] | MASKED, plain[2:], mask)
