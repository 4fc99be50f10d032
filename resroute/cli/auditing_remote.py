"""The audit log of a router, at its admin API."""

from typing import Literal

from resroute.cli.access import ask_admin
from resroute.cli.auditing import Form, Lister
from resroute.cli.exits import DONE
from resroute.cli.interrupts import Interruption
from resroute.cli.output import to_json, write, write_text
from resroute.cli.remote.api import AdminApi
from resroute.cli.remote.results import AuditFilters, AuditRecord

_AT_A_TIME = 500


async def show_remote_audit_log(
    url: str,
    filters: AuditFilters,
    interruption: Interruption,
    *,
    limit: int | None,
    form: Form,
    token: str | None = None,
) -> int:
    """Print the records of a router that match, oldest first, and return the exit code.

    Args:
        limit: only so many, the newest.

    Raises:
        ResrouteError: the router cannot be asked, or refuses it.
        OutputLost: nobody reads it.
    """

    async def question(router: AdminApi) -> int:
        if form == "table":
            await _list(router, filters, limit)
        else:
            await _pass_rows_on(router, filters, limit, form)
        return DONE

    return await ask_admin(url, token, interruption, question)


async def _list(router: AdminApi, filters: AuditFilters, limit: int | None) -> None:
    lister = Lister()
    newest: list[AuditRecord] = []
    cursor = None
    while True:
        wanted = _AT_A_TIME if limit is None else min(_AT_A_TIME, limit - len(newest))
        page = await router.audit(filters, limit=wanted, cursor=cursor, newest_first=limit is not None)
        cursor = page.next_cursor
        if limit is None:
            lister.print(page.records)
        else:
            newest += page.records
        if cursor is None or len(newest) == limit:
            break
    lister.print(reversed(newest))
    lister.end()


async def _pass_rows_on(
    router: AdminApi, filters: AuditFilters, limit: int | None, form: Literal["json", "csv"]
) -> None:
    kind: Literal["jsonl", "csv"] = "csv" if form == "csv" else "jsonl"
    async with router.open_audit_export(filters, format=kind, limit=limit) as lines:
        while text := await lines.receive():
            if form == "csv":
                write_text(text.decode(errors="replace"))
            else:
                write("\n".join(to_json(row, pretty=False) for row in lines.objects(text)))
