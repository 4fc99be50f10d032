"""Long registrations: what they ask for is set aside first, a few resources at a time, then registered by one command.

So it is in every table beforehand, and nobody waits for thousands to be put there. Who else may have what, and all else, is
decided by the registration: whatever could not be set aside is left to it.
"""

from collections.abc import Callable, Iterator

import msgspec

from resroute.core.commands import Abandon, BulkItem, Register, Reserve
from resroute.core.facts import Applied, Outcome, Reserved
from resroute.router.means import Means

LONG = 2000
"""To register so many resources at once takes some milliseconds. To set them aside first takes half as long again, in all."""

_DESCRIBED = 3  # times as long as another resource takes one of which something is said
_MANY_GRANTS = 100_000
_MISSED = 5  # times as long takes one whose places in the tables are in no cache of the processor's
_IN_A_STEP = 64


def is_long(command: Register, grant_count: int) -> bool:
    """Whether it is better to have what a registration asks for set aside first. By force nothing is, and in line neither.

    Args:
        grant_count: how many grants there are.
    """
    work = len(command.resource_ids) + _DESCRIBED * len(command.metadata or ())
    if grant_count > _MANY_GRANTS:
        work *= _MISSED
    return work >= LONG and not command.force and command.wait is None


class SettingAside:
    """Has resources set aside for registrations.

    Args:
        tidy: called when something of that may be left behind.
    """

    def __init__(self, means: Means, tidy: Callable[[], None]) -> None:
        self._log = means.log
        self._names = means.names
        self._tidy = tidy

    def register(self, command: Register, submit: Callable[[Register], None]) -> Iterator[None]:
        """Submit a registration, in steps. If these are not all taken, nothing is registered."""
        bulk_id = self._names.bulk()
        command = msgspec.structs.replace(command, bulk_id=bulk_id)
        try:
            yield from self._set_aside(command)
            submit(command)
        finally:
            # the log comes to this after the registration, unless that waits for somebody to be probed, or is none
            self._log.submit(Abandon(command.session_id, bulk_id, command.at), lambda _: self._tidy())

    def _set_aside(self, command: Register) -> Iterator[None]:
        state, session_id, bulk_id = self._log.state, command.session_id, command.bulk_id
        assert bulk_id is not None
        changes = command.metadata or {}
        in_a_step = _IN_A_STEP // (1 + _DESCRIBED) if changes else _IN_A_STEP
        is_over = goes_on = False

        def note(outcome: Outcome) -> None:
            nonlocal is_over
            result = outcome.result if isinstance(outcome, Applied) else None
            is_over = not isinstance(result, Reserved) or bool(result.failed)

        for start in range(0, len(command.resource_ids), in_a_step):
            items = tuple(
                [
                    BulkItem(resource_id, changes.get(resource_id))
                    for resource_id in command.resource_ids[start : start + in_a_step]
                    if state.grant_of(resource_id) is None
                ]
            )
            if items:
                reserve = Reserve(
                    session_id,
                    bulk_id,
                    session_id,
                    items,
                    command.at,
                    command.limit,
                    command.max_metadata_bytes,
                    goes_on=goes_on,
                )
                self._log.submit(reserve, note)
                goes_on = True
            if is_over:  # somebody is in the way: there is nothing to be gained
                return
            yield
