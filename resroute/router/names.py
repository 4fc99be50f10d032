"""The names that a router gives: to itself, and to what begins."""

import itertools
import random
from collections.abc import Callable, Iterator
from typing import cast

from resroute.ids import BulkId, CorrelationId, InstanceId, ServiceName, SessionId

_MAX_SERVICE_CHARACTERS = 200  # of the id of an instance, which is to be no longer than ids may be


class Names:
    """Makes names, each of which it gives once.

    Args:
        randomness: what those are made of that no other router may give either.
        make_token: makes a secret for each instance, by which it can be resumed.

    Attributes:
        router_id: that of this life of the router.
        token: the next secret.
        next_number: the next correlation id and outbox number.
    """

    def __init__(self, randomness: random.Random, make_token: Callable[[], str]) -> None:
        self.router_id = f"router-{randomness.getrandbits(48):012x}"
        self.token = make_token
        self.next_number: Callable[[], CorrelationId] = cast(
            "Iterator[CorrelationId]", itertools.count(1)
        ).__next__
        self._random = randomness
        self._bulks = itertools.count(1)

    def session(self) -> SessionId:
        """A session that begins."""
        return SessionId(f"session-{self._random.getrandbits(64):016x}")

    def instance(self, service_name: ServiceName) -> InstanceId:
        """An instance of a service that says no name of its own."""
        name = service_name[:_MAX_SERVICE_CHARACTERS]
        return InstanceId(f"{name}-{self._random.getrandbits(64):016x}")

    def transfer(self) -> str:
        """A transfer, so that those who hear of it can tell that they speak of the same."""
        return f"transfer-{self._random.getrandbits(64):016x}"

    def bulk(self) -> BulkId:
        """What a bulk is to the state machine."""
        return BulkId(f"bulk-{next(self._bulks)}")
