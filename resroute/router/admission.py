"""Which opening handshakes the router refuses before there is a session. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from websockets.datastructures import MultipleValuesError
from websockets.http11 import Request

from resroute.protocol.binding import BadTarget, read_target
from resroute.settings import Settings, is_loopback
from resroute.transport.websocket import Refusal


def refusal_of(request: Request, settings: Settings, admin_port: int | None = None) -> Refusal | None:
    """What to refuse a handshake with, or None.

    A browser sends the ``Origin`` of the page that connects: pages of other sites may not use a session of their visitor's
    network position. Those of the router's own admin server, at ``admin_port`` of the same host, may. While the router
    listens on loopback only, a foreign ``Host`` means that a name of somebody else's was made to point here (DNS rebinding).
    """
    try:
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        read_target(request.path, settings.max_timeout_seconds)
    except MultipleValuesError:
        return 400, "Host and Origin may be given once only.\n"
    except BadTarget as bad:
        return bad.status, f"{bad.sentence}.\n"
    return _refusal_of(host, origin, settings.host, settings.allowed_origins, admin_port)


@lru_cache(maxsize=64)  # of one program, all are alike; a target may have a secret in it, and is not kept
def _refusal_of(
    host: str,
    origin: str | None,
    own_host: str,
    allowed_origins: Sequence[str],
    admin_port: int | None,
) -> Refusal | None:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        page = urlsplit(origin or "")
        origin_host = page.netloc or None  # "null" is nobody's
        is_admin_page = admin_port is not None and (page.hostname, page.port) == (name, admin_port)
    except ValueError:
        return 400, "Host or Origin is no address.\n"
    if is_loopback(own_host) and not is_loopback(name):
        return 403, f"This router listens on this machine only, and knows no host {host[:80]!r}.\n"
    is_own = origin_host == host or is_admin_page
    if origin is not None and origin not in allowed_origins and not is_own:
        return (
            403,
            f"Pages from {origin[:80]!r} may not connect; the setting allowed_origins can allow them.\n",
        )
    return None
