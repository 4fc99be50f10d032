"""``python -m tests.conformance.autobahn PYTHON SITE WORK``: the Autobahn test suite against :mod:`tests.conformance.echo`.

The suite is a client that sends what clients may and may not send, and looks at what it gets back. It wants a server that
echoes; the router is none, so an echo on the router's own transport stands in for it: every frame goes through the same
code. The suite runs on CPython 2.7 only. Its exit code is 0 whatever it finds, so its report is read.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.conformance.echo import serve_echo

AGENT = "resroute"

SELECTED = (
    "1.1.*",  # text messages of all sizes
    "2.*",  # Ping and Pong
    "3.*",  # reserved bits
    "4.*",  # reserved opcodes
    "5.*",  # fragments
    "6.*",  # UTF-8
    "7.*",  # Close
    "9.1.*",  # text messages up to 16 MiB
    "9.3.*",  # in fragments
    "9.5.*",  # in small pieces
    "9.7.*",  # many, one after the other
    "10.*",  # fragments that the client's library makes
)
"""Cases that every server must pass.

Not among them: those that want binary messages echoed (below), and those about compression (12 and 13), which is off.
"""

REFUSED = ("1.2.*", "9.2.1", "9.4.1", "9.6.1", "9.8.1")
"""Cases that send binary messages. The protocol refuses those with 1003, so they must end that way."""

_BINARY = 1003

PASSED = ("OK", "NON-STRICT", "INFORMATIONAL")
"""What the suite may say of a selected case.

NON-STRICT: allowed, if not what it would do itself. INFORMATIONAL: it only notes what the server does.
"""

_LONGEST_SECONDS = 900

RUN = "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()"


@attrs.frozen
class Verdict:
    """What the suite has found.

    Attributes:
        counts: of the selected cases, by what it says of them.
        failures: what is wrong, a line each.
    """

    counts: Mapping[str, int]
    failures: tuple[str, ...]


def judge(index: Mapping[str, Any]) -> Verdict:
    """Read the suite's ``index.json``."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    cases = index.get(AGENT, {})
    for case in sorted(cases, key=lambda case: [int(part) for part in case.split(".")]):
        found = cases[case]
        code = found["remoteCloseCode"]
        if _is_in(case, REFUSED):
            counts["refused"] += code == _BINARY
            if code != _BINARY:
                failures.append(f"{case}: closed with {code}, not refused with {_BINARY}")
            continue
        counts[found["behavior"]] += 1
        if found["behavior"] not in PASSED or found["behaviorClose"] not in PASSED:
            failures.append(f"{case}: {found['behavior']}, close {found['behaviorClose']} ({code})")
    for pattern in (*SELECTED, *REFUSED):
        if not any(_is_in(case, (pattern,)) for case in cases):
            failures.append(f"{pattern}: not run")
    return Verdict(counts, tuple(failures))


def _is_in(case: str, patterns: tuple[str, ...]) -> bool:
    return any(
        case.startswith(pattern[:-1]) if pattern.endswith("*") else case == pattern for pattern in patterns
    )


async def run(python: Path, site: Path, work: Path) -> Verdict:
    """Run the suite.

    Args:
        python: a CPython 2.7.
        site: where the suite is installed.
        work: where its reports and its log go.
    """
    reports = work / "reports"
    async with trio.open_nursery() as nursery:
        url = await nursery.start(serve_echo)
        work.mkdir(parents=True, exist_ok=True)
        spec = {
            "outdir": str(reports),
            "servers": [{"agent": AGENT, "url": url}],
            "cases": [*SELECTED, *REFUSED],
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (work / "fuzzingclient.json").write_text(json.dumps(spec, indent=1))
        (reports / "index.json").unlink(missing_ok=True)
        with trio.fail_after(_LONGEST_SECONDS), (work / "wstest.log").open("wb") as log:
            await trio.run_process(
                [python, "-c", RUN, site, "-m", "fuzzingclient", "-s", work / "fuzzingclient.json"],
                cwd=work,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        nursery.cancel_scope.cancel()
    return judge(json.loads((reports / "index.json").read_text()))


def main() -> None:
    """Run the suite, print a summary, and exit with 1 if anything failed."""
    python, site, work = map(Path, sys.argv[1:])
    verdict = trio.run(run, python, site, work)
    for failure in verdict.failures:
        print(f"FAILED  {failure}")
    print("WebSocket conformance:", ", ".join(f"{count} {name}" for name, count in verdict.counts.items()))
    sys.exit(1 if verdict.failures else 0)


if __name__ == "__main__":
    main()
