"""What systemd, or who else speaks its ``sd_notify`` protocol, is told of how far this process is."""

import socket
import time
from collections.abc import Mapping

import structlog
import trio

_log = structlog.get_logger("resroute")

_PATIENCE_SECONDS = 1.0
"""A manager whose socket is full for longer is not told: nothing here may hang on it."""


class ServiceManager:
    """Who started this process and wants to know; or nobody, who is told nothing.

    Args:
        address: of a Unix datagram socket; ``@`` in front stands for the abstract namespace. Empty for nobody.
    """

    def __init__(self, address: str = "") -> None:
        self._address = address

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "ServiceManager":
        """The one that ``NOTIFY_SOCKET`` names."""
        return cls(environ.get("NOTIFY_SOCKET", ""))

    async def tell_ready(self, where: str) -> None:
        """It does what it is there for, at ``where``."""
        await self._tell("READY=1", f"STATUS=listens on {where}")

    async def tell_reloading(self) -> None:
        """It reads its settings again, and will be ready after."""
        await self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    async def tell_stopping(self) -> None:
        """It was told to stop, and finishes what is there."""
        await self._tell("STOPPING=1", "STATUS=drains")

    async def _tell(self, *facts: str) -> None:
        if not self._address:
            return
        name = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with (
                trio.fail_after(_PATIENCE_SECONDS),
                trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying,
            ):
                await notifying.sendto("\n".join(facts).encode(), name)
        except (OSError, trio.TooSlowError) as error:
            _log.warning("the service manager was not told", facts=facts, reason=str(error) or "no room")
