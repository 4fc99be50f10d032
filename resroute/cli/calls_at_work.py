"""What one instance has to do, on the command line."""

from collections.abc import Iterator

from resroute.cli.access import ask_admin
from resroute.cli.columns import Columns, rows
from resroute.cli.exits import DONE
from resroute.cli.interrupts import Interruption
from resroute.cli.output import Table, note, write
from resroute.cli.remote.api import AdminApi
from resroute.cli.remote.results import CallInFlight, CallTimes, InstanceCalls
from resroute.cli.showing import as_line, milliseconds, outcomes, span

_AT_A_TIME = 500

_STATES = {"in_line": "in line", "queued": "about to be sent", "sent": "at work"}

_COLUMNS: Columns[CallInFlight] = {
    "METHOD": lambda call: call.method or "-",
    "RESOURCE": lambda call: call.resource_id or "-",
    "STATUS": lambda call: _STATES.get(call.state, call.state),
    "AGE": lambda call: span(call.age_seconds),
    "LEFT": lambda call: span(call.left_seconds),
    "CALLER": lambda call: call.caller_instance_id or call.caller_session_id,
    "BY": lambda call: call.caller_subject,
    "TRACE": lambda call: call.trace_id,
}


async def print_calls(
    url: str,
    instance_id: str,
    interruption: Interruption,
    *,
    limit: int | None,
    as_json: bool,
    token: str | None = None,
) -> int:
    """Print the calls that an instance has to answer, and return the exit code. One that ends meanwhile may be missed.

    Raises:
        ResrouteError: the router cannot be asked, or refuses it; there is no such instance.
        OutputLost: nobody reads it.
    """

    async def question(router: AdminApi) -> int:
        table = Table(tuple(_COLUMNS))
        count = 0
        while True:
            wanted = _AT_A_TIME if limit is None else min(_AT_A_TIME, limit - count)
            page = await router.calls(instance_id, limit=wanted, offset=count)
            count += len(page.calls)
            if as_json and page.calls:
                write("\n".join(map(as_line, page.calls)))
            elif page.calls:
                write(table.lines(rows(_COLUMNS, page.calls)))
            if not page.has_more or not page.calls or count == limit:
                break
        if not as_json:
            for line in _summary(page, count):
                note(line)
        return DONE

    return await ask_admin(url, token, interruption, question)


def _summary(page: InstanceCalls, count: int) -> Iterator[str]:
    if not page.total_count:
        yield "There is no call that it has not answered."
    elif page.total_count > count:
        yield f"These are {count} of {page.total_count} calls."
    yield f"Answered in the last minute, as far as it was looked at: {_times(page.times)}"
    yield f"By all of its service: {_times(page.service_times)}"
    if page.errors_total:
        yield f"Without a result, in {span(page.measured_seconds)}: {outcomes(page.errors_total)}"


def _times(times: CallTimes) -> str:
    return f"{times.answered}, p50 {milliseconds(times.p50_ms)}, p99 {milliseconds(times.p99_ms)}"
