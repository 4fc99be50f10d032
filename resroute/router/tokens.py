"""Tokens to resume a session with. The router keeps no token, only what it can be told by."""

import hashlib
import secrets

_BYTES = 32


def make_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(_BYTES)


def fingerprint(token: str) -> bytes:
    """By which a token is known once it is shown again. It cannot be had back from that."""
    return hashlib.sha256(token.encode()).digest()
