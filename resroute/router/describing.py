"""What clients say of their resources, as the state takes it."""

from msgspec import UNSET

from resroute.core.metadata import MetadataChange
from resroute.errors import InvalidParams
from resroute.protocol import params as p

MAX_TTL_SECONDS = 10 * 365 * 24 * 3600
"""Ten years: what is to live longer needs no time to live."""


def change_of(given: p.MetadataParams, path: str) -> MetadataChange:
    """The change that a client gives.

    Raises:
        InvalidParams: a time to live, below ``path``, that is none.
    """
    if given.ttl_seconds is not UNSET:
        check_ttl(given.ttl_seconds, f"{path}.ttl_seconds")
    return MetadataChange(
        given.resource_type,
        UNSET if given.tags is UNSET else tuple(given.tags),
        UNSET if given.attributes is UNSET else bytes(given.attributes),
        given.priority,
        given.ttl_seconds,
    )


def check_ttl(ttl_seconds: float | None, path: str) -> None:
    """Whether a time to live is one.

    Raises:
        InvalidParams: no.
    """
    if ttl_seconds is not None and not 0 < ttl_seconds <= MAX_TTL_SECONDS:
        raise InvalidParams.at(path, f"must be above 0 and at most {MAX_TTL_SECONDS}")
