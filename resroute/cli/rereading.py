"""SIGHUP: settings that change while the router runs, and those that wait for the next one."""

from collections.abc import Callable
from typing import get_args

import attrs
import structlog

from resroute.admin.access import Access, CannotChange
from resroute.cli.sources import SettingsMistake
from resroute.router import Router
from resroute.router.router import CHANGEABLE
from resroute.security.certificates import CannotReadCertificate
from resroute.security.tokens import CannotReadTokens
from resroute.settings import LogLevel, Settings, flatten
from resroute.telemetry.logs import set_log_level

_log = structlog.get_logger("resroute")

_LEVELS = get_args(LogLevel)  # the most talkative first


class Rereader:
    """Keeps a router's settings those of their sources, as far as they can change while it runs.

    Args:
        router: whose settings they are.
        settings: as they were read when it began.
        read: reads them again; raises SettingsMistake.
        access: lets administrators in, by the tokens that there are then.
    """

    def __init__(
        self, router: Router, settings: Settings, read: Callable[[], Settings], access: Access
    ) -> None:
        self._router = router
        self._access = access
        self._in_force = settings
        self._read = read

    def reread(self) -> None:
        """Read the settings again, and say in the log what has changed. A mistake changes nothing."""
        try:
            settings = self._read()
            self._access.read_again(settings)
        except (SettingsMistake, CannotReadTokens, CannotReadCertificate, CannotChange) as mistake:
            _log.error("the settings were not read again: those in force stay", reason=str(mistake))
            return
        before, after = flatten(self._in_force), flatten(settings)
        differing = [path for path in after if after[path] != before[path]]
        changed = {path: after[path] for path in differing if path in CHANGEABLE}
        waiting = [path for path in differing if path not in changed]
        previous_level = self._in_force.log_level
        self._in_force = attrs.evolve(self._in_force, **{path: getattr(settings, path) for path in changed})
        self._router.change_settings(settings)
        # the line about a change of level is to be seen at either of the two
        set_log_level(min(previous_level, settings.log_level, key=_LEVELS.index))
        if differing:
            _log.info("settings read again", changed=changed, needs_restart=waiting)
        else:
            _log.info("settings read again: nothing has changed")
        set_log_level(settings.log_level)
