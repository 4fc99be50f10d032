"""What can go wrong with an admin API and with nothing else, each told in a line that says what to do."""

import attrs

from resroute import errors as e


@attrs.define(eq=False, slots=False)
class NoAdminApi(e.ConnectionFailed):
    """What answers there is no admin API, or none that this program understands."""


@attrs.define(eq=False, slots=False)
class TokenRefused(e.ResrouteError):
    """Nobody gets in without a token, or not with this one."""

    had_token: bool

    def __str__(self) -> str:
        if self.had_token:
            return "The router does not know this token: look into the token file, and at the router's admin_tokens"
        return (
            "The router lets in administrators only: give the token of one, with --token-file or in a profile"
        )


@attrs.define(eq=False, slots=False)
class TriesRefused(e.ResrouteError):
    """Too many wrong tokens have come from this address."""

    retry_after_seconds: float | None

    def __str__(self) -> str:
        after = (
            "later" if self.retry_after_seconds is None else f"in {max(1.0, self.retry_after_seconds):.0f} s"
        )
        return f"Too many wrong tokens have come from this address: try again {after}, with a right one"


@attrs.define(eq=False, slots=False)
class Denied(e.ResrouteError):
    """The router, or what stands before it, does not answer this request from here."""

    reason: str

    def __str__(self) -> str:
        return f"The router refuses this: {self.reason}"
