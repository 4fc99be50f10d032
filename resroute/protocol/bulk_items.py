"""The items of a request in bulk: each is read by itself, so that ten thousand can be read a few at a time."""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute.errors import InvalidParams, RouterError
from resroute.ids import ResourceId, is_id
from resroute.protocol.compact import Wrong, name_of
from resroute.protocol.converting import converter, errors_in
from resroute.protocol.params import BulkResource, MetadataParams
from resroute.protocol.structure import Bounds, finish_struct, structure_params


class ReadItem(msgspec.Struct, frozen=True, gc=False):
    """One item as it was read."""

    resource_id: ResourceId
    metadata: MetadataParams | None = None
    force: bool = False


class _Item(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    resource_id: ResourceId
    metadata: MetadataParams | UnsetType | None = UNSET
    force: bool = False


_decode_item = msgspec.json.Decoder(_Item).decode
_decode_id = msgspec.json.Decoder(str).decode
_FAULTS = (Wrong, InvalidParams, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_resource(value: Raw, path: str, *, max_object_bytes: int | None) -> ReadItem:
    """One item of ``resources``.

    Raises:
        InvalidParams: naming what is wrong with it, below ``path``.
    """
    try:
        item = _decode_item(value)
        if not is_id(item.resource_id):
            raise Wrong("no id")
        metadata = item.metadata
        if not metadata:
            return ReadItem(item.resource_id, None, item.force)
        text = bytes(value)
        if max_object_bytes is not None and len(text) > max_object_bytes:
            raise Wrong("perhaps too large")
        if metadata.attributes is not UNSET or metadata.priority is not UNSET or text.find(b"\\u0") >= 0:
            metadata = finish_struct(metadata, text, max_object_bytes)
        return ReadItem(item.resource_id, metadata, item.force)
    except _FAULTS:
        pass
    try:  # once more, to say what is wrong
        if memoryview(value)[0] != ord("{"):
            raise Wrong(f"must be an object, not {name_of(value)}")
        slow = structure_params(value, BulkResource, Bounds(max_object_bytes=max_object_bytes))
    except (Wrong, RouterError) as error:
        raise InvalidParams(list(errors_in(error, path))) from None
    return ReadItem(slow.resource_id, slow.metadata, slow.force)


def read_id(value: Raw, path: str) -> ReadItem:
    """One item of ``resource_ids``.

    Raises:
        InvalidParams: it is no id.
    """
    if memoryview(value)[0] != ord('"'):
        raise InvalidParams.at(path, f"must be a string, not {name_of(value)}")
    try:
        resource_id: ResourceId = converter.structure(_decode_id(value), ResourceId)
    except _FAULTS as error:
        raise InvalidParams(list(errors_in(error, path))) from None
    return ReadItem(resource_id)
