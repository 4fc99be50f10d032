"""What an action has done, said on the page that is shown after it."""

import secrets

import attrs

MAX_NOTICES = 500
"""The oldest that nobody has seen is forgotten for another."""


@attrs.frozen
class Notice:
    """What is said. ``is_good``: it was done."""

    text: str
    is_good: bool = True


class Notices:
    """Notices that wait to be seen, each by who has its key."""

    def __init__(self) -> None:
        # key -> the notice, oldest first
        self._waiting: dict[str, Notice] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, notice: Notice) -> str:
        """One more. Returns its key."""
        key = secrets.token_urlsafe(16)
        self._waiting[key] = notice
        if len(self._waiting) > MAX_NOTICES:
            del self._waiting[next(iter(self._waiting))]
        return key

    def take(self, key: str) -> Notice | None:
        """The notice of a key, once."""
        return self._waiting.pop(key, None)
