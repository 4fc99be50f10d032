"""What commands restrict the resources to that they ask for."""

from collections.abc import Sequence
from typing import TypedDict


class ResourceFilters(TypedDict, total=False):
    """As :meth:`resroute.Client.query_resources` takes them. What is None, or is not there, does not restrict."""

    service_name: str | None
    instance_id: str | None
    resource_ids: Sequence[str] | None
    resource_type: str | None
    tags: Sequence[str] | None
    prefix: str | None
