"""Streams to where a router is, TCP and TLS; and in plain words why there is none."""

import socket
import ssl
from collections.abc import Iterator

import trio

from resroute.client.address import Address
from resroute.errors import ConnectionFailed

OPENING_SECONDS = 10.0
"""How long a router may take to answer: TCP, TLS and the handshake of what is spoken over them, each."""

CLOSING_SECONDS = 2.0
"""How long the router's goodbye may take."""

NO_ANSWER = f"no answer within {OPENING_SECONDS:g} seconds"


async def open_stream(address: Address, ssl_context: ssl.SSLContext | None = None) -> trio.abc.Stream:
    """TCP, and TLS where the URL says so. With its handshake, so that a bad certificate is found here.

    Raises:
        ConnectionFailed: nobody answers in time, or not as the URL says.
    """
    try:
        with trio.fail_after(OPENING_SECONDS):
            stream = await trio.open_tcp_stream(address.host, address.port)
            if not address.is_secure:
                return stream
            return await _secure(stream, address.host, ssl_context or ssl.create_default_context())
    except trio.TooSlowError:
        raise ConnectionFailed(address.url, NO_ANSWER) from None
    except (OSError, trio.BrokenResourceError) as error:
        raise ConnectionFailed(address.url, _why(error)) from error


async def _secure(stream: trio.abc.Stream, host: str, ssl_context: ssl.SSLContext) -> trio.abc.Stream:
    try:
        secure = trio.SSLStream(stream, ssl_context, server_hostname=host, https_compatible=True)
        await secure.do_handshake()
    except BaseException:
        with trio.move_on_after(CLOSING_SECONDS, shield=True):
            await trio.aclose_forcefully(stream)
        raise
    return secure


def _why(error: BaseException) -> str:
    """What is behind an error, once for all the addresses that a name may have."""
    found: dict[str, None] = {}
    for cause in _causes(error):
        match cause:
            case ConnectionRefusedError():
                found["connection refused: nobody listens there (`resroute serve` starts a router)"] = None
            case socket.gaierror():
                found[f"no address for this host: {(cause.strerror or str(cause)).lower()}"] = None
            case ssl.SSLCertVerificationError():
                found[f"no TLS: certificate verify failed: {cause.verify_message}"] = None
            case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "HTTP_REQUEST"):
                found["no TLS: what answers there does not speak it"] = None
            case ssl.SSLEOFError():
                found["no TLS: the peer closed the connection in the middle of its handshake"] = None
            case ssl.SSLError(reason=str(reason)):
                found[f"no TLS: {reason.replace('_', ' ').lower()}"] = None
            case ssl.SSLError():
                found[f"no TLS: {cause}"] = None
            case OSError(strerror=str(text)):
                found[text.lower()] = None
            case _:
                found[str(cause) or type(cause).__name__] = None
    return "; ".join(found)


def _causes(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
    elif error.__cause__ is not None:
        yield from _causes(error.__cause__)
    else:
        yield error
