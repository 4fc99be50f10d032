"""``python -m tests.conformance.autobahn_client PYTHON SITE WORK``: the Autobahn test suite against the SDK's connection.

The suite is a server here, that says to each client what servers may and may not say, and wants all messages back. The client
is :func:`resroute.client.websocket.open_websocket`, which all that the SDK says and hears goes through.
"""

import json
import subprocess
import sys
from pathlib import Path

import trio

from resroute.client.websocket import open_websocket
from resroute.errors import ConnectionFailed, ConnectionLost
from tests.conformance.autobahn import AGENT, REFUSED, RUN, SELECTED, Verdict, judge

_LONGEST_SECONDS = 900
_CASE_SECONDS = 60
_STARTING_SECONDS = 30


async def run(python: Path, site: Path, work: Path) -> Verdict:
    """Run the suite. The arguments are those of :func:`tests.conformance.autobahn.run`."""
    reports = work / "reports"
    work.mkdir(parents=True, exist_ok=True)
    port = await _free_port()
    url = f"ws://127.0.0.1:{port}"
    spec = {
        "url": url,
        "outdir": str(reports),
        "cases": [*SELECTED, *REFUSED],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (work / "fuzzingserver.json").write_text(json.dumps(spec, indent=1))
    (reports / "index.json").unlink(missing_ok=True)
    command = [python, "-c", RUN, site, "-m", "fuzzingserver", "-u", "0", "-s", work / "fuzzingserver.json"]
    with (work / "wstest-server.log").open("wb") as log:
        server = await trio.lowlevel.open_process(
            [str(word) for word in command], cwd=work, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            with trio.fail_after(_LONGEST_SECONDS):
                for case in range(1, await _count_cases(url) + 1):
                    await _echo(f"{url}/runCase?case={case}&agent={AGENT}")
                await _echo(f"{url}/updateReports?agent={AGENT}")
        finally:
            server.kill()
            with trio.CancelScope(shield=True):
                await server.wait()
    return judge(json.loads((reports / "index.json").read_text()))


async def _free_port() -> int:
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


async def _count_cases(url: str) -> int:
    """Which is what the server says first, once it is there."""
    with trio.fail_after(_STARTING_SECONDS):
        while True:
            try:
                async with open_websocket(f"{url}/getCaseCount") as connection:
                    return int(await connection.receive())
            except ConnectionFailed:
                await trio.sleep(0.1)


async def _echo(url: str) -> None:
    """Say back what is said, until the end."""
    with trio.move_on_after(_CASE_SECONDS):
        try:
            async with open_websocket(url) as connection:
                while True:
                    await connection.send(await connection.receive())
        except (ConnectionFailed, ConnectionLost):
            pass  # which of them, and whether it should, the suite has noted


def main() -> None:
    """Run the suite, print a summary, and exit with 1 if anything failed."""
    python, site, work = map(Path, sys.argv[1:])
    verdict = trio.run(run, python, site, work)
    for failure in verdict.failures:
        print(f"FAILED  {failure}")
    print(
        "WebSocket conformance of the SDK:",
        ", ".join(f"{count} {name}" for name, count in verdict.counts.items()),
    )
    sys.exit(1 if verdict.failures else 0)


if __name__ == "__main__":
    main()
