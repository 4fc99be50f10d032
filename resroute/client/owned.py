"""What an instance owns, as the router tells it. Every change of that happens in this file, in the reader's order."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from msgspec import Raw

from resroute.client.results import Registered, Released, read_registered, read_released


class _Lost(msgspec.Struct):
    resource_ids: list[str]


class _Grant(msgspec.Struct):
    resource_id: str
    epoch: int


class _Acquired(msgspec.Struct):
    resources: list[_Grant]


_read_lost = msgspec.json.Decoder(_Lost).decode
_read_acquired = msgspec.json.Decoder(_Acquired).decode


MAX_ENDED = 10_000
"""How many grants that have ended are remembered."""


class Owned:
    """Resources and the epochs of their grants."""

    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}
        # resource -> the epoch of its last grant that has ended; the oldest is forgotten when there are too many
        self._ended: dict[str, int] = {}

    @property
    def epochs(self) -> Mapping[str, int]:
        """A live view."""
        return MappingProxyType(self._epochs)

    def take_registered(self, result: Raw) -> Registered:
        """The answer to a registration."""
        registered = read_registered(result)
        self._epochs.update(registered.epochs)
        return registered

    def take_released(self, result: Raw) -> Released:
        """The answer to a release."""
        released = read_released(result)
        self._drop(released.released)
        return released

    def take_lost(self, params: Raw) -> None:
        """A notice that something was taken away."""
        self._drop(_read_lost(params).resource_ids)

    def take_acquired(self, params: Raw) -> None:
        """A notice that something was handed over to this instance."""
        for grant in _read_acquired(params).resources:
            self.take_epoch(grant.resource_id, grant.epoch)

    def take_epoch(self, resource_id: str, epoch: int) -> bool:
        """A call came with this epoch: news, if it is above the one we know.

        That is how the grant of a registration becomes known that was cancelled before its answer came.

        Returns:
            Whether the grant can be in force. Not if a later one is known, or if this one is known to have ended.
        """
        known = self._epochs.get(resource_id, 0)
        if epoch <= known:
            return epoch == known
        if epoch <= self._ended.get(resource_id, 0):
            return False
        self._epochs[resource_id] = epoch
        return True

    def clear(self) -> None:
        """Nothing is owned any more."""
        self._epochs.clear()

    def _drop(self, resource_ids: list[str] | tuple[str, ...]) -> None:
        for resource_id in resource_ids:
            epoch = self._epochs.pop(resource_id, None)
            if epoch is None:
                continue
            self._ended.pop(resource_id, None)  # to the end of the line
            self._ended[resource_id] = epoch
            if len(self._ended) > MAX_ENDED:
                del self._ended[next(iter(self._ended))]
