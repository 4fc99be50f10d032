"""What can be set, with every default. Durations are seconds, sizes bytes.

The names are the protocol's: a client reads most of them in ``session.info`` as its ``limits``. Where values come from
(file, environment, options) is the command line's business; here they are complete, frozen and passed in.
"""

from typing import Literal

import attrs

Role = Literal["caller", "instance", "admin"]


@attrs.frozen(kw_only=True)
class Heartbeat:
    """When a silent session counts as gone."""

    interval_seconds: float = 10.0
    """The router pings each session this often."""
    timeout_seconds: float = 25.0
    """A session without a sign of life for this long is ended."""


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be set about a router."""

    host: str = "127.0.0.1"
    port: int = 8765
    admin_host: str = "127.0.0.1"
    admin_port: int = 8766
    data_dir: str | None = None
    """Where the router keeps what outlives it. None: nothing is written to disk."""

    heartbeat: Heartbeat = Heartbeat()
    drain_seconds: float = 10.0
    """How long calls in flight may take once the router was told to stop."""
    allowed_origins: tuple[str, ...] = ()
    anonymous_roles: tuple[Role, ...] = ("caller", "instance")

    max_resources_per_instance: int = 1000
    max_message_bytes: int = 1024 * 1024
    max_calls_in_flight: int = 1024
    max_bulk_items: int = 10_000
    """Ids in any one request."""
    max_batch_messages: int = 1000
    max_metadata_bytes: int = 16 * 1024
    outbox_soft_bytes: int = 1024 * 1024
    max_outbox_bytes: int = 16 * 1024 * 1024
    max_sessions: int = 10_000
    handshake_timeout_seconds: float = 10.0
    write_timeout_seconds: float = 15.0
    probe_timeout_seconds: float = 3.0
    default_timeout_seconds: float = 30.0
    max_timeout_seconds: float = 600.0
