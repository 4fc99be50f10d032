"""What a resource says of itself: values that clients give, and what the state machine adds to them.

``attributes`` stay JSON: they are kept for whoever asks, and nothing here looks into them but a merge.
"""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute.ids import InstanceId


class MetadataChange(msgspec.Struct, frozen=True, gc=False):
    """What a client gives of the metadata of one resource. What it does not mention is ``UNSET``."""

    resource_type: str | UnsetType | None = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    attributes: bytes | UnsetType = UNSET
    """Compact JSON of an object."""
    priority: int | UnsetType = UNSET
    ttl_seconds: float | UnsetType | None = UNSET
    """None: it expires no more."""


class Metadata(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The metadata of one resource. ``version`` begins at 1 and grows by one with each change."""

    version: int
    created_by: InstanceId
    last_modified: float
    """Wall-clock seconds of the last change."""
    resource_type: str | None = None
    tags: tuple[str, ...] = ()
    attributes: bytes = b"{}"
    """Compact JSON of an object."""
    priority: int = 0
    ttl_seconds: float | None = None

    @property
    def memory_bytes(self) -> int:
        """About what it takes in memory. Quick, unlike :attr:`size_bytes`."""
        strings = len(self.attributes) + len(self.resource_type or "")
        for tag in self.tags:
            strings += _STRING_BYTES + len(tag)
        return _METADATA_BYTES + strings

    def fits(self, max_bytes: int) -> bool:
        """Whether :attr:`size_bytes` is at most so much. Of what is far smaller that is quickly said."""
        at_most = _MAX_FRAME_BYTES + len(self.attributes)
        if self.resource_type is not None:
            at_most += _MAX_CHARACTER_BYTES * len(self.resource_type)
        for tag in self.tags:
            at_most += _MAX_TAG_BYTES + _MAX_CHARACTER_BYTES * len(tag)
        return at_most <= max_bytes or self.size_bytes <= max_bytes

    @property
    def size_bytes(self) -> int:
        """How long compact JSON of what clients have given is."""
        attributes = UNSET if self.attributes == b"{}" else Raw(self.attributes)
        return len(
            _encode(_Given(self.resource_type, self.tags, attributes, self.priority, self.ttl_seconds))
        )


class _Given(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    resource_type: str | None = None
    tags: tuple[str, ...] = ()
    attributes: Raw | UnsetType = UNSET
    priority: int = 0
    ttl_seconds: float | None = None


_METADATA_BYTES = 330  # the struct, its numbers, and its strings and tuple but for what is in them
_STRING_BYTES = 60  # one of ASCII, and its place in a tuple

_MAX_FRAME_BYTES = (
    200  # compact JSON of metadata with the longest numbers, but for its strings and attributes
)
_MAX_TAG_BYTES = len('"",')
_MAX_CHARACTER_BYTES = len(r"\u001f")

_encode = msgspec.json.encode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode


def replaced(before: Metadata | None, change: MetadataChange, owner: InstanceId, at: float) -> Metadata:
    """The metadata after a change that stands for the whole of it. A time to live that it does not mention stays."""
    return Metadata(
        1 if before is None else before.version + 1,
        owner if before is None else before.created_by,
        at,
        None if change.resource_type is UNSET else change.resource_type,
        () if change.tags is UNSET else change.tags,
        b"{}" if change.attributes is UNSET else change.attributes,
        0 if change.priority is UNSET else change.priority,
        _ttl_after(before, change),
    )


def merged(before: Metadata | None, change: MetadataChange, owner: InstanceId, at: float) -> Metadata:
    """The metadata after a change of what it mentions. Members of ``attributes`` are set, or removed by null."""
    if before is None:
        before = Metadata(0, owner, at)
    return Metadata(
        before.version + 1,
        before.created_by,
        at,
        before.resource_type if change.resource_type is UNSET else change.resource_type,
        before.tags if change.tags is UNSET else change.tags,
        _merged_attributes(before.attributes, b"{}" if change.attributes is UNSET else change.attributes),
        before.priority if change.priority is UNSET else change.priority,
        _ttl_after(before, change),
    )


def _ttl_after(before: Metadata | None, change: MetadataChange) -> float | None:
    if change.ttl_seconds is UNSET:
        return None if before is None else before.ttl_seconds
    return change.ttl_seconds


def _merged_attributes(before: bytes, change: bytes) -> bytes:
    """Values are taken as they are: of objects inside them nothing is merged."""
    if change == b"{}":
        return before
    attributes = _decode_members(before)
    for name, value in _decode_members(change).items():
        if bytes(value) == b"null":
            attributes.pop(name, None)
        else:
            attributes[name] = value
    return _encode(attributes)
