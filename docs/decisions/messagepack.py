"""What it takes to see that MessagePack says only what JSON can say: ``python docs/decisions/messagepack.py``."""

import time
from collections.abc import Callable

import msgspec
import ormsgpack

from resroute.protocol.messagepack import build, from_json, to_json

MEBIBYTE = 1024 * 1024
ROUNDS = 7


def array(count: int, item: bytes) -> bytes:
    """An array of so many times the same."""
    return b"\xdd" + count.to_bytes(4) + item * count


def objects() -> bytes:
    """A mebibyte of small objects."""
    item = {"id": 1_000_000, "name": "object 1", "on": True, "size": 0.5}
    return ormsgpack.packb([item] * (MEBIBYTE // len(ormsgpack.packb(item))))


MESSAGES = {
    "a string": ormsgpack.packb("x" * MEBIBYTE),
    "floats": ormsgpack.packb([0.37] * (MEBIBYTE // 9)),
    "small integers": array(MEBIBYTE, b"\x01"),
    "objects of four members": objects(),
    "arrays of one integer": array(MEBIBYTE // 2, b"\x91\x01"),
    "empty arrays": array(MEBIBYTE, b"\x90"),
}


def milliseconds(what: Callable[[bytes], object], message: bytes) -> float:
    """The CPU time that something takes at its quickest, with freeing what it returns."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time()
        what(message)
        best = min(best, time.thread_time() - began)
    return best * 1000


def main() -> None:
    """Measure, and print a table."""
    skip = msgspec.msgpack.Decoder(msgspec.Raw).decode
    print("ms for a mebibyte of           skip      check    to JSON  from JSON")
    for name, message in MESSAGES.items():
        text = to_json(message)
        times = (
            milliseconds(what, given)
            for what, given in ((skip, message), (build, message), (to_json, message), (from_json, text))
        )
        print(f"{name:24}" + "".join(f"{taken:11.1f}" for taken in times))


if __name__ == "__main__":
    main()
