"""What can be set, with every default and every bound. Durations are seconds, sizes bytes.

The names are the protocol's: a client reads most of them in ``session.info`` as its ``limits``. Where values
come from (file, environment, options) is the command line's business; here they are complete, checked, frozen
and passed in.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

import attrs

Role = Literal["caller", "instance", "admin"]
LogLevel = Literal["debug", "info", "warning", "error"]

_HTTP_URL = re.compile(r"https?://[^/\s]+(/\S*)?")
_SECRETS_OF_URLS = re.compile(r"(?<=://)[^/?#\s]*(?=@)|(?<=[?#])\S+")
"""The name and the password in a URL, and what stands behind its path."""
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")


class InvalidSetting(ValueError):
    """A setting has a value that it may not have, or two of them do not go together.

    Attributes:
        name: the setting; its last part where settings are nested.
        problem: the rest of a sentence that begins with the name.
        beside: the setting it does not go together with, if that is what is wrong.
    """

    def __init__(self, name: str, problem: str, beside: str | None = None) -> None:
        super().__init__(name, problem, beside)
        self.name = name
        self.problem = problem
        self.beside = beside

    def __str__(self) -> str:
        return f"{self.name} {self.problem}"


@lru_cache(maxsize=64)  # asked at each handshake
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``, a name or an address without brackets and port."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


type _Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _between(least: int, most: int) -> _Validator:
    def check(_: Any, attribute: "attrs.Attribute[Any]", value: int) -> None:
        if not least <= value <= most:
            raise InvalidSetting(attribute.name, f"must be between {least} and {most}, not {value}")

    return check


def _at_least(least: int) -> _Validator:
    def check(_: Any, attribute: "attrs.Attribute[Any]", value: float) -> None:
        if not (value >= least and math.isfinite(value)):
            raise InvalidSetting(attribute.name, f"must be at least {least}, not {value}")

    return check


def _positive(_: Any, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise InvalidSetting(attribute.name, f"must be more than 0, not {value}")


def _not_empty(_: Any, attribute: "attrs.Attribute[Any]", value: str | None) -> None:
    if value is not None and not value.strip():
        raise InvalidSetting(attribute.name, "must not be empty")


def _share(_: Any, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if not 0 <= value <= 1:
        raise InvalidSetting(attribute.name, f"must be between 0 and 1, not {value}")


def _http_url(_: Any, attribute: "attrs.Attribute[Any]", value: str | None) -> None:
    if value is not None and not _HTTP_URL.fullmatch(value):
        # of which nothing may be shown: it may be a URL but for its beginning
        raise InvalidSetting(attribute.name, "must be a URL such as http://127.0.0.1:4318/v1/traces")


def _origins(_: Any, attribute: "attrs.Attribute[Any]", value: tuple[str, ...]) -> None:
    for origin in value:
        if not _ORIGIN.fullmatch(origin):
            example = "such as https://example.org, without a path"
            raise InvalidSetting(attribute.name, f"must hold origins {example}, not {origin!r}")


def _networks(_: Any, attribute: "attrs.Attribute[Any]", value: tuple[str, ...]) -> None:
    for text in value:
        try:
            ipaddress.ip_network(text)
        except ValueError:
            example = "such as 127.0.0.1 or 10.0.0.0/8"
            raise InvalidSetting(
                attribute.name, f"must hold addresses and networks {example}, not {text!r}"
            ) from None


# As RFC 6750 has them; long enough that nobody guesses one. Or what is left of one that is not written down.
_TOKEN = re.compile(
    r"(?:[A-Za-z0-9_.-]{1,64}:)?(?:sha256:[0-9a-f]{64}|[A-Za-z0-9._~+/-]{16,512}=*)", re.ASCII
)


def is_administrator_token(text: str) -> bool:
    """Whether this is ``NAME:TOKEN`` or ``TOKEN``, or the same with ``sha256:`` and the digest instead of the token."""
    return _TOKEN.fullmatch(text) is not None


def _tokens(_: Any, attribute: "attrs.Attribute[Any]", value: tuple[str, ...]) -> None:
    for number, text in enumerate(value, 1):
        if not is_administrator_token(text):  # of which nothing may be shown
            form = "NAME:TOKEN, with a token of 16 to 512 characters of A-Z a-z 0-9 . _ ~ + / -"
            raise InvalidSetting(attribute.name, f"must hold {form}; number {number} is none")


_MASK = "********"


class Secret:
    """A value that is not shown, but for what of it is said to be no secret. No encoder knows how to look into it."""

    __slots__ = ("_shown", "_value")

    def __init__(self, value: str, shown: str = _MASK) -> None:
        self._value = value
        self._shown = shown

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __str__(self) -> str:
        return self._shown

    __repr__ = __str__


def mask_urls(text: str) -> str:
    """A text without what may be secret in the URLs that are in it."""
    return _SECRETS_OF_URLS.sub(_MASK, text)


_LIMITS = (
    "max_resources_per_instance",
    "max_message_bytes",
    "max_calls_in_flight",
    "max_bulk_items",
    "max_batch_messages",
    "max_metadata_bytes",
    "max_watches",
    "max_state_bytes",
    "max_waiters_per_resource",
    "max_waiters_per_session",
    "max_queued_calls",
    "outbox_soft_bytes",
    "max_outbox_bytes",
    "max_outbox_total_bytes",
    "watch_history_events",
    "watch_history_bytes",
    "max_sessions",
    "handshake_timeout_seconds",
    "write_timeout_seconds",
    "probe_timeout_seconds",
    "default_timeout_seconds",
    "max_timeout_seconds",
    "max_resume_grace_seconds",
)


@attrs.frozen(kw_only=True)
class Heartbeat:
    """When a silent session counts as gone."""

    interval_seconds: float = attrs.field(default=10.0, validator=_positive)
    """The router pings each session this often."""
    timeout_seconds: float = attrs.field(default=25.0, validator=_positive)
    """A session without a sign of life for this long is ended."""

    def __attrs_post_init__(self) -> None:
        if self.timeout_seconds <= self.interval_seconds:
            raise InvalidSetting(
                "timeout_seconds",
                f"must be more than interval_seconds: {self.timeout_seconds} is not more than "
                f"{self.interval_seconds}",
                beside="interval_seconds",
            )


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be set about a router.

    Raises:
        InvalidSetting: if a value is out of bounds.
    """

    host: str = attrs.field(default="127.0.0.1", validator=_not_empty)
    port: int = attrs.field(default=8765, validator=_between(0, 65535))
    """0: any free port."""
    admin_host: str = attrs.field(default="127.0.0.1", validator=_not_empty)
    admin_port: int = attrs.field(default=8766, validator=_between(0, 65535))
    admin_tokens: tuple[str, ...] = attrs.field(
        default=(), repr=False, validator=_tokens, metadata={"is_secret": True}
    )
    """Who may use the admin endpoints, as `NAME:TOKEN` each; `NAME:sha256:DIGEST` keeps the token out of the file."""
    admin_tokens_file: str | None = attrs.field(default=None, validator=_not_empty)
    """A file of more of them, one a line."""
    admin_tls_certificate_file: str | None = attrs.field(default=None, validator=_not_empty)
    """The certificate of the admin port in PEM, with those it is signed by, to speak TLS there. None: it is not spoken."""
    admin_tls_key_file: str | None = attrs.field(default=None, validator=_not_empty)
    """The key of that certificate in PEM, not encrypted."""
    admin_trusted_proxies: tuple[str, ...] = attrs.field(default=(), validator=_networks)
    """Addresses and networks of proxies before the admin port, which are believed about whom they ask for."""
    data_dir: str | None = attrs.field(default=None, validator=_not_empty)
    """Where the router keeps what outlives it. None: nothing is written to disk."""
    audit_retention_days: float = attrs.field(default=90.0, validator=_positive)
    """How long the audit log keeps a record, in days."""
    audit_max_bytes: int = attrs.field(default=256 * 1024 * 1024, validator=_at_least(1024 * 1024))
    """What the audit log may take in `data_dir`, about; above it the oldest records go."""
    log_level: LogLevel = "info"
    traces_endpoint: str | None = attrs.field(
        default=None, repr=False, validator=_http_url, metadata={"is_secret": True}
    )
    """Where traces are sent to, by OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`. None: none are made."""
    traces_sample_ratio: float = attrs.field(default=1.0, validator=_share)
    """The share of traces that are made, of those that no caller has decided about by its `traceparent`."""
    traces_max_per_second: int = attrs.field(default=500, validator=_between(1, 100_000))
    """Traces that may begin in a second, whoever wants them; what goes beyond is dropped."""
    traces_max_queued: int = attrs.field(default=4096, validator=_between(1, 1_000_000))
    """Spans that may wait to be sent; what goes beyond is dropped."""
    metrics_max_services: int = attrs.field(default=200, validator=_between(0, 10_000))
    """Services that metrics tell apart; all others are one, `(other)`."""
    metrics_max_instances: int = attrs.field(default=1000, validator=_between(0, 10_000))
    """Instances that metrics tell apart; the last that come are one, `(other)`."""

    heartbeat: Heartbeat = Heartbeat()
    drain_seconds: float = attrs.field(default=10.0, validator=_at_least(0))
    """How long calls in flight may take once the router was told to stop."""
    allowed_origins: tuple[str, ...] = attrs.field(default=(), validator=_origins)
    transfer_across_services: bool = False
    """Whether resources may be transferred to an instance of another service."""
    flap_threshold: int = attrs.field(default=10, validator=_between(1, 1000))
    """A resource that changes its owner more often than this in a minute is reported."""
    anonymous_roles: tuple[Role, ...] = ("caller", "instance")

    max_resources_per_instance: int = attrs.field(default=1000, validator=_at_least(1))
    max_message_bytes: int = attrs.field(default=1024 * 1024, validator=_at_least(1024))
    """Not below what an answer of the router's own takes."""
    max_calls_in_flight: int = attrs.field(default=1024, validator=_at_least(1))
    max_bulk_items: int = attrs.field(default=10_000, validator=_at_least(1))
    """Ids in any one request."""
    max_batch_messages: int = attrs.field(default=1000, validator=_at_least(1))
    max_metadata_bytes: int = attrs.field(default=16 * 1024, validator=_at_least(1))
    max_watches: int = attrs.field(default=16, validator=_at_least(1))
    """Watches of one session."""
    max_state_bytes: int = attrs.field(default=512 * 1024, validator=_at_least(1))
    """What travels along with one resource that is transferred, as compact JSON."""
    max_waiters_per_resource: int = attrs.field(default=1000, validator=_at_least(1))
    """Registrations that wait for one resource, and calls that wait for it to have an owner: so many of each."""
    max_waiters_per_session: int = attrs.field(default=100, validator=_at_least(1))
    """Registrations of one instance that wait."""
    max_queued_calls: int = attrs.field(default=256, validator=_at_least(1))
    """Calls that wait for room at one instance."""
    outbox_soft_bytes: int = attrs.field(default=1024 * 1024, validator=_at_least(1))
    max_outbox_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=_at_least(1))
    max_outbox_total_bytes: int = attrs.field(default=512 * 1024 * 1024, validator=_at_least(1))
    """What all sessions may take in all; above it the one that takes most is ended."""
    watch_history_events: int = attrs.field(default=200_000, validator=_at_least(1))
    """Changes of resources that the router remembers, for watches and `route.explain`."""
    watch_history_bytes: int = attrs.field(default=64 * 1024 * 1024, validator=_at_least(1))
    """What the changes that it remembers may take in memory, as estimated."""
    max_sessions: int = attrs.field(default=10_000, validator=_at_least(1))
    handshake_timeout_seconds: float = attrs.field(default=10.0, validator=_positive)
    write_timeout_seconds: float = attrs.field(default=15.0, validator=_positive)
    probe_timeout_seconds: float = attrs.field(default=3.0, validator=_positive)
    default_timeout_seconds: float = attrs.field(default=30.0, validator=_positive)
    max_timeout_seconds: float = attrs.field(default=600.0, validator=_positive)
    max_resume_grace_seconds: float = attrs.field(default=300.0, validator=_at_least(0))
    """How long an instance may ask to keep what it owns when it is cut off."""

    def limits(self) -> Mapping[str, float]:
        """The limits that clients are told, by name."""
        return {name: getattr(self, name) for name in _LIMITS}

    def __attrs_post_init__(self) -> None:
        for less, more in (
            ("outbox_soft_bytes", "max_outbox_bytes"),
            ("default_timeout_seconds", "max_timeout_seconds"),
        ):
            low, high = getattr(self, less), getattr(self, more)
            if high < low:
                raise InvalidSetting(more, f"must be at least {less}: {high} is less than {low}", beside=less)
        names = ("admin_tls_certificate_file", "admin_tls_key_file")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) == 1:
            [missing] = set(names) - set(given)
            raise InvalidSetting(missing, f"must be set, as {given[0]} is", beside=given[0])


def flatten(settings: Settings) -> dict[str, Any]:
    """Every setting by its dotted path. What is secret is there as such."""
    return dict(flatten_table(attrs.asdict(settings, value_serializer=_hidden)))


def _hidden(_: Any, field: "attrs.Attribute[Any] | None", value: Any) -> Any:
    """A value that is a secret, as one."""
    if field is not None and field.metadata.get("is_secret"):
        if isinstance(value, tuple):
            return tuple(map(Secret, value))
        if isinstance(value, str) and (shown := mask_urls(value)) != value:
            return Secret(value, shown)
    return value


def flatten_table(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What is in a table and in the tables within it, by dotted paths."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from flatten_table(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
