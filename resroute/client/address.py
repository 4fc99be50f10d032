"""Where a router is: its URL, taken apart. Pure."""

from urllib.parse import urlsplit

import attrs


@attrs.frozen
class Address:
    """Where a router is."""

    url: str
    host: str
    port: int
    target: str
    is_secure: bool

    @property
    def host_header(self) -> str:
        """As RFC 9110, section 7.2, wants it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"


def parse_url(url: str) -> Address:
    """Take a ``ws:`` or ``wss:`` URL apart.

    Raises:
        ValueError: it is none, or has a user, a fragment, or characters that a URL has not.
    """
    return take_apart(url, "ws", "wss")


def take_apart(url: str, plain: str, secure: str) -> Address:
    """Take a URL apart that has one of these schemes: without TLS, and with it.

    Raises:
        ValueError: as for :func:`parse_url`.
    """
    parts = urlsplit(url)
    if parts.scheme not in (plain, secure) or not parts.hostname:
        raise ValueError(
            f"{url!r} is no URL of a router: it begins with {plain}:// or {secure}:// and a host"
        )
    if parts.fragment or parts.username is not None:
        raise ValueError("a router's URL has no user and no fragment; a token is given separately")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{url!r} has characters that must be percent-encoded")
    try:
        parts.hostname.encode("idna")  # as a look-up would
    except UnicodeError:
        raise ValueError(f"{parts.hostname!r} in {url!r} is no name of a host") from None
    is_secure = parts.scheme == secure
    port = parts.port if parts.port is not None else 443 if is_secure else 80
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(url, parts.hostname, port, target, is_secure)
