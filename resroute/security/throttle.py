"""Slows down those who guess: after a few failures an address has to wait, longer each time."""

import ipaddress
from collections.abc import Callable

import attrs

FREE_FAILURES = 5
"""As many as anybody may need who mistypes."""

MAX_WAIT_SECONDS = 30.0
FORGET_SECONDS = 900.0
"""A failure counts for so long."""

MAX_ADDRESSES = 4096
"""The one that has failed least lately is forgotten for another."""


@attrs.define
class _Failures:
    count: int = 0
    last_at: float = 0.0
    until: float = 0.0


class Throttle:
    """Counts failures by address.

    Args:
        clock: seconds on any clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # network -> its failures, the latest last
        self._failures: dict[str, _Failures] = {}

    def __len__(self) -> int:
        return len(self._failures)

    def wait_seconds(self, address: str) -> float:
        """How long this address has to wait until it may try again. 0: it may now."""
        failures = self._failures.get(network_of(address))
        return 0.0 if failures is None else max(0.0, failures.until - self._clock())

    def failed(self, address: str) -> None:
        """One more failure."""
        network, now = network_of(address), self._clock()
        failures = self._failures.pop(network, None)
        if failures is None or now - failures.last_at > FORGET_SECONDS:
            failures = _Failures()
        failures.count += 1
        failures.last_at = now
        if failures.count > FREE_FAILURES:
            doublings = min(failures.count - FREE_FAILURES - 1, 10)
            failures.until = now + min(MAX_WAIT_SECONDS, 2.0**doublings)
        self._failures[network] = failures
        if len(self._failures) > MAX_ADDRESSES:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, address: str) -> None:
        """It knows what it was guessing."""
        self._failures.pop(network_of(address), None)


def network_of(address: str) -> str:
    """The address; of IPv6 the network that one customer has, within which changing addresses costs nothing."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return address
