"""Exit codes: what a script can tell from how a command ended. Their meaning is written here, and help repeats it."""

from resroute import errors as e
from resroute.cli.remote.refusals import Denied, TokenRefused, TriesRefused

DONE = 0
CALLEE_ERROR = 1
CANNOT_START = 1
NO_AUDIT_LOG = 1
MISTAKE = 2
NOT_FOUND = 3
CONFLICT = 4
MAY_HAVE_RUN = 5
NOT_DELIVERED = 6
NO_CONNECTION = 7
REFUSED = 8
FAULT = 70
SIGNALLED = 128
"""And the number of the signal."""
INTERRUPTED = SIGNALLED + 2

SERVE_CODES = {
    str(DONE): "it was told to stop, and did",
    str(
        CANNOT_START
    ): "it could not start: a port is in use, or another router uses its data_dir, or the like",
    str(MISTAKE): "an option or a setting is wrong",
    str(FAULT): "it gave up because its own state could not be trusted any more",
    f"{SIGNALLED}+N": "a second signal, of number N, ended it at once",
}

_CLIENT_CODES = {
    DONE: "done",
    CALLEE_ERROR: "the callee answered with an error of its own",
    MISTAKE: "a mistake in what was asked for: an option, JSON, an id",
    NOT_FOUND: "not found: nobody owns the resource, or there is no instance of the service",
    CONFLICT: "conflict: another instance owns a resource, or has the name",
    MAY_HAVE_RUN: "the callee may have run it: it was sent, and no answer came",
    NOT_DELIVERED: "the callee has not run it and will not: safe to try again",
    NO_CONNECTION: "no connection to the router, or none any more",
    REFUSED: "the router refused: not allowed, or over a limit",
    FAULT: "a bug, of the router's or of this program; a call may have run",
}


def _client_codes(*codes: int) -> dict[str, str]:
    signalled = (
        f"signal N ended it ({SIGNALLED + 2}: Ctrl-C; {SIGNALLED + 13}: nobody reads its output any more)"
    )
    return {str(code): _CLIENT_CODES[code] for code in codes} | {f"{SIGNALLED}+N": signalled}


CALL_CODES = _client_codes(
    DONE,
    CALLEE_ERROR,
    MISTAKE,
    NOT_FOUND,
    MAY_HAVE_RUN,
    NOT_DELIVERED,
    NO_CONNECTION,
    REFUSED,
    FAULT,
)
HOLD_CODES = _client_codes(
    DONE, MISTAKE, CONFLICT, MAY_HAVE_RUN, NOT_DELIVERED, NO_CONNECTION, REFUSED, FAULT
) | {
    str(DONE): "it was told to stop: it owns nothing any more, and has finished its calls",
    str(MAY_HAVE_RUN): "it was told to stop, and has cut off calls that took longer than --drain-seconds",
    str(NOT_DELIVERED): "the router takes nothing new at the moment: try again",
    str(FAULT): "a bug, of the router's or of this program",
    f"{SIGNALLED}+N": "a second signal, of number N, ended it",
}
ASKING_CODES = _client_codes(DONE, MISTAKE, NO_CONNECTION, REFUSED, FAULT) | {
    str(FAULT): "a bug, of the router's or of this program",
}
CALLS_CODES = _client_codes(DONE, MISTAKE, NOT_FOUND, NO_CONNECTION, REFUSED, FAULT) | {
    str(NOT_FOUND): "there is no such instance",
    str(FAULT): "a bug, of the router's or of this program",
}
WATCH_CODES = _client_codes(DONE, MISTAKE, CONFLICT, NO_CONNECTION, REFUSED, FAULT) | {
    str(DONE): "it was told to stop",
    str(CONFLICT): "the router has forgotten what was to be told: look at how things are now, and watch anew",
    str(FAULT): "a bug, of the router's or of this program",
    f"{SIGNALLED}+N": f"a second signal, of number N, ended it ({SIGNALLED + 13}: nobody reads its output any more)",
}
FINDING_CODES = _client_codes(DONE, MISTAKE, NOT_FOUND, NO_CONNECTION, REFUSED, FAULT) | {
    str(NOT_FOUND): "nobody owns the resource",
    str(FAULT): "a bug, of the router's or of this program",
}
UPDATE_CODES = _client_codes(DONE, MISTAKE, NOT_FOUND, CONFLICT, NO_CONNECTION, REFUSED, FAULT) | {
    str(NOT_FOUND): "nobody owns the resource",
    str(CONFLICT): "conflict: its metadata is at another version by now",
    str(FAULT): "a bug, of the router's or of this program",
}
MOVING_CODES = _client_codes(
    DONE, MISTAKE, NOT_FOUND, CONFLICT, NOT_DELIVERED, NO_CONNECTION, REFUSED, FAULT
) | {
    str(NOT_FOUND): "not found: nobody owns the resource, or there is no such instance or session",
    str(CONFLICT): "conflict: somebody else is about to have one of the resources",
    str(NOT_DELIVERED): "the instance takes nothing more, for it is about to leave",
    str(FAULT): "a bug, of the router's or of this program",
}

AUDIT_CODES = _client_codes(DONE, NO_AUDIT_LOG, MISTAKE, NO_CONNECTION, REFUSED, FAULT) | {
    str(NO_AUDIT_LOG): "there is no audit log, or it cannot be read",
    str(MISTAKE): "an option or a setting is wrong",
    str(FAULT): "a bug, of the router's or of this program",
}


def epilog(codes: dict[str, str]) -> str:
    """The end of a command's help."""
    return "\b\nExit codes:\n" + "\n".join(f"  {code:<5}  {meaning}" for code, meaning in codes.items())


def code_for(error: e.ResrouteError) -> int:
    """The exit code of a command that ended with an error."""
    match error:
        case e.RemoteError():
            return CALLEE_ERROR
        case e.WatchLost():
            return CONFLICT
        case e.ConnectionFailed() | e.ConnectionLost():
            return NO_CONNECTION
        case e.InternalError():
            return FAULT
        case e.InvalidParams() | e.InvalidRequest() | e.ParseError():
            return MISTAKE
        case e.ResourceLimitExceeded() | e.MethodNotFound():
            return REFUSED
        case TokenRefused() | TriesRefused() | Denied():
            return REFUSED
        case e.RouterError():
            return _code_by_number(error)
        case _:
            return FAULT


def _code_by_number(error: e.RouterError) -> int:
    match error.code:
        case 401 | 403:
            return REFUSED
        case 404:
            return NOT_FOUND
        case 409 | 410:
            return CONFLICT
        case 429:
            return NOT_DELIVERED
    # an error that does not say what became of the call: of the router itself, or of a newer one
    return code_for_delivery(
        error.data().get("delivery", "not_delivered" if error.code == 503 else "unknown")
    )


def code_for_delivery(delivery: str) -> int:
    """The exit code for a call without an answer."""
    return NOT_DELIVERED if delivery == "not_delivered" else MAY_HAVE_RUN
