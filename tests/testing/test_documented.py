"""What the documentation shows of tests passes, as its readers run it."""

import subprocess
import sys

from tests.docs.running import EXAMPLES, environment


def test_the_tests_on_the_page_about_testing_pass() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-o",
        "trio_mode=true",
        "-p",
        "no:cacheprovider",
        "--rootdir=.",
    ]
    finished = subprocess.run(
        [*command, "test_documents.py"],
        cwd=EXAMPLES / "testing",
        env=environment() | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    assert "2 passed" in finished.stdout
