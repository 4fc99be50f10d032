"""Bearer tokens: one for good, or a fresh one for each connection."""

import logging
from collections.abc import Awaitable, Callable

import trio

from resroute.client.session import Session
from resroute.errors import ConnectionFailed, ConnectionLost, ResrouteError

TOKEN_SECONDS = 10.0
"""How long it may take to get one."""

Token = str | Callable[[], str | Awaitable[str]]
"""A token, or a function, async or not, that gives a fresh one."""

_log = logging.getLogger("resroute.client")


def check_token(token: str | None) -> None:
    """Raise ValueError for what cannot be a token, and TypeError for what is no text."""
    if token is None:
        return
    if not isinstance(token, str):
        raise TypeError(f"a token is text, not of type {type(token).__name__}")
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise ValueError("a token is visible ASCII characters without spaces")


class Tokens:
    """Where a client has its tokens from.

    Raises:
        ValueError: what is given cannot be a token.
        TypeError: it is neither text nor a function.
    """

    def __init__(self, token: Token | None) -> None:
        if not callable(token):
            check_token(token)
        self._token = token

    @property
    def are_fresh(self) -> bool:
        """Whether each is another one."""
        return callable(self._token)

    async def get(self, url: str) -> str | None:
        """A token for a connection to this URL; None: there is none.

        Raises:
            ConnectionFailed: it cannot be had. That is what whoever gives tokens has raised, or that it took too long.
        """
        if not callable(self._token):
            return self._token
        try:
            with trio.move_on_after(TOKEN_SECONDS):
                given = self._token()
                token = await given if isinstance(given, Awaitable) else given
                if token is None:
                    raise TypeError("the function for it gave None")
                check_token(token)
                return token
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise ConnectionFailed(url, f"there is no token: {reason}") from error
        raise ConnectionFailed(url, f"there was no token within {TOKEN_SECONDS:g} seconds")

    async def renew(self, session: Session, url: str) -> None:
        """Show a session a fresh token each time that the router says that the last one ends soon."""
        while self.are_fresh:
            await session.wait_expiring()
            try:
                token = await self.get(url)
                await session.request("session.authenticate", {"token": token}, bytes)
            except ConnectionLost:
                return
            except ResrouteError as error:
                # the router ends the session when the old one does, and then there is another attempt with a fresh one
                _log.warning("token_not_renewed reason=%r", str(error))
