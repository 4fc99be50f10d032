"""From a stream that has just opened to a session: handshakes, and how many connections there may be."""

import errno
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio
from trio import TaskStatus
from websockets.http11 import Request

from resroute.protocol.binding import Binding, read_target
from resroute.router.tasks import Tasks
from resroute.router.turnstile import Turnstile
from resroute.settings import Settings
from resroute.transport.interface import TransportEnded
from resroute.transport.websocket import Refusal, WebSocketTransport

_log = structlog.get_logger("resroute.router")

CONNECTIONS_BEYOND_SESSIONS = 64
"""How many more connections than ``max_sessions`` there may be: in their handshake, or about to close. What the process
can open beside its sessions must be enough for them and for all else."""

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_NO_ROOM_SECONDS = 0.1  # until it may be better


class Acceptor:
    """Takes connections.

    Args:
        turnstile: for those who connect at once.
        refuse: why a handshake is refused, if it is.
        serve: serves the session that a handshake has led to, and never raises.
    """

    def __init__(
        self,
        settings: Settings,
        tasks: Tasks,
        turnstile: Turnstile,
        refuse: Callable[[Request], Refusal | None],
        serve: Callable[[WebSocketTransport, Binding | None], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._tasks = tasks
        self._turnstile = turnstile
        self._refuse = refuse
        self._serve = serve
        self._connections = 0  # from before the handshake to after the goodbye

    async def serve_listener(
        self, listener: trio.abc.Listener[trio.abc.Stream], task_status: TaskStatus[None]
    ) -> None:
        """Accept connections until cancelled."""
        async with listener:
            task_status.started()
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno not in _NO_ROOM:
                        raise
                    _log.error("connections cannot be accepted", reason=error.strerror)
                    await trio.sleep(_NO_ROOM_SECONDS)
                else:
                    self._tasks.start(partial(self.serve_stream, stream))
                    await self._turnstile.wait_turn(behind_all=True)

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until it ends. Closes the stream; never raises."""
        if self._connections >= self._settings.max_sessions + CONNECTIONS_BEYOND_SESSIONS:
            await trio.aclose_forcefully(stream)
            return
        self._connections += 1
        transport = WebSocketTransport(stream, max_message_bytes=self._settings.max_message_bytes)
        try:
            # who connects speaks first: what it says is there as a rule
            target = transport.open_at_once(self._refuse)
            if target is None:
                with trio.move_on_after(self._settings.handshake_timeout_seconds):
                    target = await transport.handshake(self._refuse)
            if target is not None:
                binding = read_target(target, self._settings.max_timeout_seconds)
                await self._turnstile.wait_turn()
                await self._serve(transport, binding)
        except* TransportEnded:
            pass
        except* Exception:
            _log.exception("a handshake failed", remote_address=transport.remote_address)
        finally:
            self._connections -= 1
            await transport.aclose_forcefully()  # noqa: ASYNC102  # it waits for nothing
