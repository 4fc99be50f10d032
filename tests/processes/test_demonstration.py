"""``scripts/demo`` as a newcomer sees it; without the part that makes the environment."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest
import trio

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("arguments", [(), ("--stay",)])
async def test_the_demonstration_holds_what_it_shows_and_leaves_no_process_behind(
    arguments: tuple[str, ...],
) -> None:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "demonstration", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts")])},
        stdout=-1,
        stderr=-2,
    )
    assert process.stdout is not None
    said = ""
    try:
        async for chunk in process.stdout:
            said += chunk.decode()
            if "stops everything" in said and process.returncode is None:
                process.send_signal(signal.SIGTERM)
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()
    assert process.returncode == 0, said
    for sentence in (
        "409 resource_conflict  Resource 'doc:1' is already owned by instance 'documents-1'",
        "404 resource_not_found  No instance owns resource 'doc:7'",
        "502 owner_disconnected",
        "All of it held",
    ):
        assert sentence in said
    assert "\x1b" not in said, "colours are for terminals"
    pids = set(map(int, re.findall(r"process (\d+)", said)))
    assert len(pids) == (5 if arguments else 4)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
