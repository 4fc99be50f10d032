"""Many sessions that come at a steady rate; each registers as an instance and five resources, and drops.

A process of its own, so that what it costs is not held against the calls that :mod:`benchmarks.sessions` makes
meanwhile. They come evenly, not in waves, and all they send is made before the first comes, so that it keeps the pace on
a core that it shares. Prints one JSON object.
"""

import argparse
import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

import orjson

from benchmarks.accounting import cpu_seconds
from benchmarks.crowd import make_room_for_connections
from benchmarks.wire import handshake, request, text_frame

RESOURCES = 5
_AT_ONCE = 1_000  # sessions that are under way; as many again would wait in the router's backlog
_GIVE_UP_SECONDS = 30.0  # without a sign of life
_ANSWERED = b'"result":'


class _Visit:
    """One session, from its first byte to the answers to what it asks for."""

    __slots__ = ("_asks", "_heard", "_is_open", "_socket")

    def __init__(self, address: tuple[str, int], hello: bytes, asks: bytes) -> None:
        self._asks = asks
        self._heard = b""
        self._is_open = False
        self._socket = socket.socket()
        self._socket.connect(address)
        self._socket.send(hello)

    def fileno(self) -> int:
        """For :mod:`select`."""
        return self._socket.fileno()

    def read(self) -> bool | None:
        """Something has arrived: whether it has got all it asked for, or None as long as that is open."""
        with suppress(ConnectionError):
            data = self._socket.recv(1 << 16)
            self._heard += data
            if not self._is_open:
                if (end := self._heard.find(b"\r\n\r\n")) >= 0 and b" 101 " in self._heard[:16]:
                    self._is_open = True
                    self._heard = self._heard[end + 4 :]
                    self._socket.send(self._asks)
                    return None
            elif self._heard.count(_ANSWERED) == 2:
                return True
            elif b'"error":' not in self._heard and data:
                return None
        return False

    def drop(self) -> None:
        """Leave without a goodbye."""
        self._socket.close()


class Storm:
    """Visits that begin at even intervals.

    Attributes:
        refused: how many did not get what they asked for.
    """

    def __init__(self, port: int, asks: Sequence[bytes], rate: float) -> None:
        self.refused = 0
        self._address = ("127.0.0.1", port)
        self._hello = handshake(port, "resroute.v1")
        self._asks = asks
        self._rate = rate
        self._poll = select.epoll()
        self._visits: dict[int, _Visit] = {}

    def run(self) -> None:
        """Let them come, and wait until the last has gone."""
        began = heard = time.perf_counter()
        came = 0
        while came < len(self._asks) or self._visits:
            now = time.perf_counter()
            if came < len(self._asks) and now >= began + came / self._rate and len(self._visits) < _AT_ONCE:
                self._begin(self._asks[came])
                came += 1
                heard = max(heard, now if len(self._visits) == 1 else heard)
            due = began + came / self._rate - now if came < len(self._asks) else _GIVE_UP_SECONDS
            ready = self._poll.poll(max(0.0, due) if len(self._visits) < _AT_ONCE else 0.1)
            for descriptor, _ in ready:
                self._read(descriptor)
            if ready:
                heard = now
            elif now > heard + _GIVE_UP_SECONDS:
                break
        self.refused += len(self._visits)
        for descriptor in list(self._visits):
            self._end(descriptor)
        self._poll.close()

    def _begin(self, asks: bytes) -> None:
        try:
            visit = _Visit(self._address, self._hello, asks)
        except OSError:
            self.refused += 1
            return
        self._visits[visit.fileno()] = visit
        self._poll.register(visit.fileno(), select.EPOLLIN)

    def _read(self, descriptor: int) -> None:
        has_all = self._visits[descriptor].read()
        if has_all is not None:
            self.refused += not has_all
            self._end(descriptor)

    def _end(self, descriptor: int) -> None:
        self._visits.pop(descriptor).drop()  # which takes it out of the poll as well


def frames(number: int) -> bytes:
    """All that one session asks for."""
    ids = [f"storm:{number}:{each}" for each in range(RESOURCES)]
    return text_frame(request(1, "instance.register", {"service_name": "storm"})) + text_frame(
        request(2, "resource.register", {"resource_ids": ids})
    )


def main() -> None:
    """Let them come."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    make_room_for_connections()
    sessions = round(args.rate * args.seconds)
    storm = Storm(args.port, list(map(frames, range(sessions))), args.rate)
    cpu_before, own_before, began = cpu_seconds(args.pid), time.process_time(), time.perf_counter()
    storm.run()
    figures = {
        "sessions": sessions,
        "refused": storm.refused,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": cpu_seconds(args.pid) - cpu_before,
        "own_cpu_seconds": time.process_time() - own_before,
    }
    print(orjson.dumps(figures).decode())


if __name__ == "__main__":
    main()
