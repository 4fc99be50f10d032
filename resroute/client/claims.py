"""That a block owns a resource: from before it asks for it until nothing of that is left."""

import attrs
import trio

from resroute.errors import ResourceLost


@attrs.define(eq=False)
class Claim:
    """One block of :meth:`resroute.Instance.own`.

    Attributes:
        epoch: of the grant, once there is one.
        lost: how it was lost, once it was.
        is_leaving: the block gives it up: that it is released is no loss.
        scope: of the block's body. It is cancelled when the resource is lost.
    """

    resource_id: str
    epoch: int | None = None
    lost: ResourceLost | None = None
    is_leaving: bool = False
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def begin(self, epoch: int) -> None:
        """The grant is in force."""
        self.epoch = epoch

    def lose(self, lost: ResourceLost) -> None:
        """The grant is over, if there was one. The first loss stands."""
        if self.epoch is not None and self.lost is None:
            self.lost = lost
            self.scope.cancel()
