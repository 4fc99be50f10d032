"""Saying something else of a resource, from the command line."""

from collections.abc import Mapping
from typing import Any, cast

from resroute.cli.access import RouterAccess, ask
from resroute.cli.exits import DONE, MISTAKE
from resroute.cli.interrupts import Interruption
from resroute.cli.output import complain, one_line, write
from resroute.cli.showing import as_line
from resroute.client import MetadataFields


async def update_metadata(
    url: str,
    resource_id: str,
    metadata: Mapping[str, Any],
    interruption: Interruption,
    *,
    merge: bool,
    expected_version: int | None,
    as_json: bool,
    token: str | None = None,
) -> int:
    """Replace the metadata of a resource, say which version it has now, and return the exit code.

    Raises:
        ResrouteError: the router refuses it, or cannot be asked.
        OutputLost: nobody reads it.
    """

    async def question(router: RouterAccess) -> int:
        fields = cast("MetadataFields", metadata)  # the router says what is wrong with it
        try:
            resource = await router.update_resource(
                resource_id, fields, merge=merge, expected_version=expected_version
            )
        except TypeError as error:
            complain(f"this metadata cannot be sent: {error}")
            return MISTAKE
        version = None if resource.metadata is None else resource.metadata.version
        write(as_line(resource) if as_json else one_line(f"updated {resource_id}: version {version}"))
        return DONE

    return await ask(url, token, interruption, question)
