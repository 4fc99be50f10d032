"""Opaque positions in a list of resources."""

import base64
import binascii
import hashlib
import hmac

import msgspec

from resroute.core.filters import Filter
from resroute.errors import InvalidParams

_MAC_BYTES = 12


class Cursors:
    """Where the next page begins: the last id seen, sealed together with the filters it belongs to.

    An id, and not a number of things to leave out: whatever comes or goes between two pages, nothing that stays is left out
    or told twice.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, after: str, wanted: Filter) -> str:
        """The cursor that continues after ``after``."""
        return base64.urlsafe_b64encode(self._mac(after, wanted) + after.encode()).decode()

    def open(self, cursor: str, wanted: Filter) -> str:
        """The id to continue after.

        Raises:
            InvalidParams: the cursor is not from here, or of other filters.
        """
        given = cursor.encode(errors="replace")
        try:
            after = base64.urlsafe_b64decode(given)[_MAC_BYTES:].decode()
        except (binascii.Error, ValueError):
            after = ""
        # The whole text is compared, since Base64 has many spellings of the same bytes and only one of them is from here.
        if not hmac.compare_digest(given, self.seal(after, wanted).encode()):
            raise InvalidParams.at(
                "cursor", "not a cursor of this router and these filters: query again without it"
            )
        return after

    def _mac(self, after: str, wanted: Filter) -> bytes:
        sealed = msgspec.json.encode([after, wanted])
        return hashlib.blake2b(sealed, key=self._key, digest_size=_MAC_BYTES).digest()
