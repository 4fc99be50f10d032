"""Who is behind a proxy: believed of those that are trusted, and of nobody else."""

import ipaddress
from collections.abc import Iterable, Sequence

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """Those that are trusted to say for whom they ask.

    Args:
        networks: their addresses, or networks of which each address is one.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def asker(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """Who asks, as far as it can be believed.

        Each proxy adds at the end of the header whom it has been asked by. So it is read from there: what a trusted one
        says is true, what somebody else says before that is not. Who says nothing that is an address asks for itself.

        Args:
            peer: whom the connection is from.
            forwarded_for: each ``X-Forwarded-For`` that came with the request.
        """
        asker = _parse(peer)
        if asker is None:
            return peer
        said = [text for header in forwarded_for for text in header.split(",")]
        while said and self._trusts(asker):
            address = _parse(_without_port(said.pop().strip()))
            if address is None:
                break
            asker = address
        return str(asker)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _without_port(text: str) -> str:
    """As some proxies have it: ``192.0.2.1:4711`` or ``[2001:db8::1]:4711``."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    address, colon, _ = text.partition(":")
    return address if colon and "." in address else text
