"""What reaches the terminal, and what does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from resroute.cli.output import Table, complain, one_line, to_json
from tests.cli.running import command, environment

HOSTILE = "a\x1b]0;title\x07\nb\x9b31m\u202e\u2028\ud800é"


def test_nothing_leaves_its_line_or_commands_the_terminal() -> None:
    assert one_line(HOSTILE) == r"a\x1b]0;title\x07\nb\x9b31m\u202e\u2028\ud800é"


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("first\nsecond")
    assert capsys.readouterr().err == "resroute: first\\nsecond\n"


@pytest.mark.parametrize("pretty", [True, False])
def test_json_is_the_same_value_and_harmless(pretty: bool) -> None:
    value = {"text": HOSTILE, HOSTILE: [1, 2**80, None, 1.5]}
    text = to_json(value, pretty=pretty)
    assert json.loads(text) == value
    assert not set("\x1b\x07\x9b\u202e\u2028\ud800") & set(text)
    assert ("\n" in text) is pretty


def test_columns_are_as_wide_as_what_is_in_them_and_never_get_narrower() -> None:
    table = Table(("NAME", "N"))
    assert table.lines([("a", "1"), ("long-name", "2")]) == "NAME       N\na          1\nlong-name  2"
    assert table.lines([("b\n", "")]) == "b\\n"
    assert table.lines([("c", "3")]) == "c          3"


def test_output_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("a system without /dev/full")
    with full.open("w") as stdout:
        done = subprocess.run(
            command("config"),
            env=environment(),
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    assert done.returncode == 70
    assert done.stderr == b"resroute: cannot write the output: No space left on device\n"


def test_a_reader_that_has_left_is_no_mistake_worth_a_word() -> None:
    process = subprocess.Popen(
        command("config"), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (141, b"")


def test_without_any_stdout_nothing_breaks() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&-', "sh", *command("config")],
        env=environment(),
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_output_that_is_not_utf_8_gets_ascii() -> None:
    program = "from resroute.cli.output import *; write(to_json('é', pretty=True))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(PYTHONIOENCODING="latin-1"),
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == b'"\\u00e9"\n'
