"""Who a session is: what the audit log and callees are told, and what it may do."""

from collections.abc import Iterable
from typing import Self

import attrs

from resroute.settings import Role


@attrs.frozen
class Identity:
    """The subject of a session, and its roles."""

    subject: str
    roles: frozenset[Role]

    @classmethod
    def anonymous(cls, roles: Iterable[Role]) -> Self:
        """Whoever has not said who it is."""
        return cls("anonymous", frozenset(roles))
