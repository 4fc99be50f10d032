"""What the suite's report is read for, and that the echo it is run against is one."""

from typing import Any

import pytest
import trio
from websockets.exceptions import ConnectionClosedError
from websockets.trio.client import connect

from tests.conformance.autobahn import AGENT, REFUSED, SELECTED, judge
from tests.conformance.echo import serve_echo


def case(behavior: str = "OK", close: str = "OK", code: int | None = 1000) -> dict[str, Any]:
    """What the report says of a case."""
    return {"behavior": behavior, "behaviorClose": close, "remoteCloseCode": code}


def report(**changes: dict[str, Any]) -> dict[str, Any]:
    """A report in which all is well, but for some cases."""
    cases = {pattern.replace("*", "1"): case() for pattern in SELECTED}
    cases |= {pattern.replace("*", "1"): case("FAILED", "WRONG CODE", 1003) for pattern in REFUSED}
    return {AGENT: cases | {name.replace("_", ".").strip("c"): change for name, change in changes.items()}}


def test_a_report_in_which_all_is_well_has_no_failures() -> None:
    verdict = judge(report(c3_1=case("NON-STRICT"), c7_1=case("INFORMATIONAL", "INFORMATIONAL", None)))
    assert verdict.failures == ()
    assert verdict.counts == {
        "OK": len(SELECTED) - 2,
        "NON-STRICT": 1,
        "INFORMATIONAL": 1,
        "refused": len(REFUSED),
    }


def test_to_refuse_binary_messages_with_another_code_is_a_failure() -> None:
    cases = {pattern.replace("*", "1"): case("FAILED", code=1000) for pattern in REFUSED}
    index = {AGENT: report()[AGENT] | cases}
    assert len(judge(index).failures) == len(REFUSED)


def test_a_case_that_failed_or_closed_wrongly_is_a_failure() -> None:
    assert judge(report(c3_1=case("FAILED"))).failures == ("3.1: FAILED, close OK (1000)",)
    assert judge(report(c3_1=case(close="WRONG CODE"))).failures == ("3.1: OK, close WRONG CODE (1000)",)
    assert judge(report(c3_1=case("UNCLEAN", "UNCLEAN", None))).failures == (
        "3.1: UNCLEAN, close UNCLEAN (None)",
    )


def test_a_binary_message_that_was_not_refused_is_a_failure() -> None:
    assert judge(report(c9_2_1=case())).failures == ("9.2.1: closed with 1000, not refused with 1003",)


def test_a_case_that_was_not_run_is_a_failure() -> None:
    index = report()
    del index[AGENT]["7.1"]
    assert judge(index).failures == ("7.*: not run",)
    assert len(judge({}).failures) == len(SELECTED) + len(REFUSED)


async def test_the_echo_sends_text_back_and_refuses_the_rest() -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve_echo)
            async with connect(url, compression=None) as websocket:
                for text in ("", "a", "é" * 1000):
                    await websocket.send(text)
                    assert await websocket.recv() == text
                await websocket.send(b"a")
                with pytest.raises(ConnectionClosedError):
                    await websocket.recv()
                assert websocket.close_code == 1003
            nursery.cancel_scope.cancel()
