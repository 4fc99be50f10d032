"""The settings that a router runs with, on the command line."""

from resroute.cli.access import ask_admin
from resroute.cli.exits import DONE
from resroute.cli.interrupts import Interruption
from resroute.cli.output import Table, to_json, write
from resroute.cli.remote.api import AdminApi
from resroute.cli.showing import setting

_COLUMNS = ("SETTING", "VALUE", "CHANGES")


async def print_settings(
    url: str, interruption: Interruption, *, as_json: bool, token: str | None = None
) -> int:
    """Print each setting, and return the exit code.

    Raises:
        ResrouteError: the router cannot be asked, or refuses it.
        OutputLost: nobody reads it.
    """

    async def question(router: AdminApi) -> int:
        told = await router.settings()
        if as_json:
            described = {
                name: {"value": value, "changeable": name in told.changeable}
                for name, value in told.settings.items()
            }
            write(to_json(described, pretty=True))
        else:
            rows = (
                (name, setting(value), "at SIGHUP" if name in told.changeable else "at a restart")
                for name, value in told.settings.items()
            )
            write(Table(_COLUMNS).lines(rows))
        return DONE

    return await ask_admin(url, token, interruption, question)
