"""How messages stand in a text message: one alone, or with ndjson several in lines. Pure."""

from collections.abc import Collection

from resroute.transport.interface import MAX_PACK_BYTES


def pack(messages: Collection[bytes]) -> list[bytes]:
    """Join messages into lines, up to :data:`MAX_PACK_BYTES` a text; a larger message stays alone."""
    if sum(map(len, messages)) + len(messages) <= MAX_PACK_BYTES:
        return [b"\n".join(messages)]
    packs: list[bytes] = []
    waiting: list[bytes] = []
    size = 0
    for message in messages:
        if waiting and size + len(message) >= MAX_PACK_BYTES:
            packs.append(b"\n".join(waiting))
            waiting, size = [], 0
        waiting.append(message)
        size += len(message) + 1
    packs.append(b"\n".join(waiting))
    return packs


def unpack(text: bytes) -> list[bytes]:
    """The lines of a text that are not empty."""
    return list(filter(None, text.split(b"\n")))


def is_utf8(text: bytes) -> bool:
    """Whether a text is one at all."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
