"""Whether owners do what only owners may: from what they themselves say that they do. No I/O."""

from collections.abc import Iterator
from contextlib import contextmanager

from resroute.errors import StaleEpoch


class Checker:
    """Is told by the services under test what they do, and finds what must not happen.

    ```python
    @service.fenced
    async def save(call: resroute.Call, text: str) -> None:
        with router.checker.working(call.resource_id, call.epoch):
            router.checker.write(call.resource_id, call.epoch)
            ...
    ```

    Both are those of a :class:`resroute.Call`, and TypeError is raised if they are not there: a call by service is of no
    resource.
    """

    def __init__(self) -> None:
        self._faults: list[str] = []
        # resource -> the epochs under which somebody works for it right now
        self._at_work: dict[str, list[int]] = {}
        # resource -> the highest epoch under which something was written
        self._written: dict[str, int] = {}

    @property
    def faults(self) -> tuple[str, ...]:
        """What must not have happened, in order."""
        return tuple(self._faults)

    @contextmanager
    def working(self, resource_id: str | None, epoch: int | None) -> Iterator[None]:
        """Say that work goes on for a resource that only its owner may do, for as long as the block runs.

        Work under one epoch may overlap. That work under two epochs does is a fault: two owners were at it at once.
        """
        resource_id, epoch = _of_a_resource(resource_id, epoch)
        at_work = self._at_work.setdefault(resource_id, [])
        others = sorted(set(at_work) - {epoch})
        if others:
            self._faults.append(
                f"{resource_id!r} was worked on under epoch {epoch} while it was under {', '.join(map(str, others))}"
            )
        at_work.append(epoch)
        try:
            yield
        finally:
            at_work.remove(epoch)
            if not at_work:
                del self._at_work[resource_id]

    def write(self, resource_id: str | None, epoch: int | None) -> None:
        """Stand for a database that looks at epochs.

        Raises:
            StaleEpoch: something was written under a higher epoch already. That is no fault: it is what epochs are for.
        """
        resource_id, epoch = _of_a_resource(resource_id, epoch)
        if epoch < self._written.get(resource_id, 0):
            raise StaleEpoch
        self._written[resource_id] = epoch

    def write_unfenced(self, resource_id: str | None, epoch: int | None) -> None:
        """Stand for a database that does not. A write under a lower epoch than one before is a fault."""
        resource_id, epoch = _of_a_resource(resource_id, epoch)
        highest = self._written.get(resource_id, 0)
        if epoch < highest:
            self._faults.append(
                f"{resource_id!r} was written under epoch {epoch} after it was under {highest}"
            )
        self._written[resource_id] = max(epoch, highest)

    def check(self) -> None:
        """Raise AssertionError, with all faults, if there are any."""
        if self._faults:
            raise AssertionError("\n".join(self._faults))


def _of_a_resource(resource_id: str | None, epoch: int | None) -> tuple[str, int]:
    if resource_id is None or epoch is None:
        raise TypeError("this is no call for a resource under an epoch: only owners can be checked")
    return resource_id, epoch
