"""Room for sessions: each takes a file descriptor, and few systems give a process many unless it asks."""

import resource

import attrs
import structlog

from resroute.settings import Settings

_SPARE = 128
"""Descriptors for everything that is not a session: connections that are none yet, the admin pages, files, what the
interpreter holds."""


def descriptors_for(settings: Settings) -> int:
    """How many file descriptors a router takes at most."""
    return settings.max_sessions + _SPARE


def make_room_for_sessions(settings: Settings) -> Settings:
    """Raise this process's limit of open files so that ``max_sessions`` fit.

    Returns the settings, with fewer sessions if the limit could not be raised that far; then it says so in the log.
    """
    needed = descriptors_for(settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return settings
    granted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    except (OSError, ValueError):  # macOS has a limit of its own below an unlimited one
        granted = soft
    if granted >= needed:
        return settings
    fewer = max(1, granted - _SPARE)
    structlog.get_logger("resroute").warning(
        "fewer sessions than set: the limit of open files is lower",
        max_sessions=fewer,
        wanted=settings.max_sessions,
        open_files_limit=granted,
    )
    return attrs.evolve(settings, max_sessions=fewer)
