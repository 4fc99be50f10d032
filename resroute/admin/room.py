"""Who has a connection, and who loses it to a newcomer when there are as many as there may be."""

from collections import Counter
from typing import Protocol


class Guest(Protocol):
    """Somebody who has a connection."""

    @property
    def network(self) -> str:
        """Where it comes from."""

    @property
    def waited_for_since(self) -> float | None:
        """Since when this peer has kept us waiting: for a request, for the rest of one, or by reading nothing. None: it does
        not, but waits for us.
        """

    def drop(self) -> None:
        """Close its connection at once."""


class Room:
    """So many connections, and no more.

    When it is full, a newcomer takes the place of one that keeps us waiting: of the network that has most of those the one
    that has done so the longest. So a crowd costs its own, whatever it sends or does not send.
    """

    def __init__(self, max_guests: int) -> None:
        self._max_guests = max_guests
        self._guests: dict[Guest, None] = {}

    def enter(self, guest: Guest) -> bool:
        """Whether there is a place; it is kept until it leaves."""
        if len(self._guests) >= self._max_guests:
            slowest = self._slowest()
            if slowest is None:
                return False
            self.leave(slowest)
            slowest.drop()
        self._guests[guest] = None
        return True

    def leave(self, guest: Guest) -> None:
        """Its connection is over. Does nothing if it has lost its place before."""
        self._guests.pop(guest, None)

    def _slowest(self) -> Guest | None:
        waited_for = [
            (since, guest) for guest in self._guests if (since := guest.waited_for_since) is not None
        ]
        crowds = Counter(guest.network for _, guest in waited_for)
        worst = max(crowds.values(), default=0)
        of_the_worst = [it for it in waited_for if crowds[it[1].network] == worst]
        return min(of_the_worst, key=lambda it: it[0])[1] if of_the_worst else None
