"""URLs of admin APIs. Pure."""

from resroute.client.address import Address, take_apart

SCHEMES = ("http://", "https://")


def is_admin_url(url: str) -> bool:
    """Whether it leads to a router's admin API, and not to its own port."""
    return url.lower().startswith(SCHEMES)


def parse_admin_url(url: str) -> Address:
    """Take a URL apart. Its ``target`` is what stands before the paths of the API, without a slash at its end.

    Raises:
        ValueError: it is none, or has more than a host and a path.
    """
    address = take_apart(url, "http", "https")
    if "?" in url:
        raise ValueError(f"{url!r} has a query: the admin API is at a host, and perhaps a path")
    return Address(address.url, address.host, address.port, address.target.rstrip("/"), address.is_secure)
