"""The records of what is under way in bulk."""

import msgspec

from resroute.core.facts import ItemFailure
from resroute.core.metadata import Metadata, MetadataChange
from resroute.core.records import Grant, OwnerRecord
from resroute.ids import BulkId, ResourceId, SessionId


class Hold(msgspec.Struct, gc=False):
    """That a bulk has set a resource aside, as long as the bulk is open. Grants point to it, and it to none of them."""

    bulk_id: BulkId
    owner: OwnerRecord
    """Whose the resource is to be, or of a release, whose it still is."""
    is_open: bool = True


class Planned(msgspec.Struct, frozen=True, gc=False):
    """What becomes of a resource that has an owner already: the instance itself, or whoever it is taken from."""

    at: float
    """Wall-clock seconds, for what is said of it."""
    change: MetadataChange | None = None
    version: int = 0
    """Of its metadata when that was worked out."""
    after: Metadata | None = None


class Bulk:
    """One registration or release in bulk, from its first step until it is committed or given up, and tidied."""

    __slots__ = (
        "failed",
        "hold",
        "is_awaited",
        "is_partial",
        "leftover",
        "owner",
        "pending",
        "planned",
        "plans",
        "releasing",
        "reserved_count",
        "says_more",
        "session_id",
    )

    def __init__(
        self, bulk_id: BulkId, session_id: SessionId, owner: OwnerRecord, *, is_partial: bool
    ) -> None:
        self.hold = Hold(bulk_id, owner)
        # who asked for it
        self.session_id = session_id
        self.owner = owner
        self.is_partial = is_partial
        # whether who asked does not know yet how it ended
        self.is_awaited = True
        # how many resources more it would bring its owner
        self.reserved_count = 0
        # what nobody owns: grants that are in every table, and not in force
        self.pending: dict[ResourceId, Grant] = {}
        # what has an owner, by whose grant it is told
        self.plans: dict[ResourceId, Planned] = {}
        # of the same resources in the same order, the grants in force
        self.planned: dict[ResourceId, Grant] = {}
        # whether something else may be said of some of it
        self.says_more = False
        # what is to be released: grants in force
        self.releasing: dict[ResourceId, Grant] = {}
        # grants that are in the tables, and will not be in force any more
        self.leftover: dict[ResourceId, Grant] = {}
        # items that were lost since they were set aside: of a bulk in part, or the one that ended it
        self.failed: dict[ResourceId, ItemFailure] = {}

    @property
    def id(self) -> BulkId:
        """Its name."""
        return self.hold.bulk_id
