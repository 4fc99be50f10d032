"""What the documentation says of names, numbers and codes is what the code has."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from resroute.cli import cli
from tests.docs.running import DOCS, ROOT

ROUTERS_SIDE = ("admin", "cluster", "core", "protocol", "router", "transport")


def in_code(pattern: str) -> set[str]:
    """What a pattern's group finds on the router's side."""
    found: set[str] = set()
    for folder in ROUTERS_SIDE:
        for path in (ROOT / "resroute" / folder).rglob("*.py"):
            found |= set(re.findall(pattern, path.read_text()))
    return found


def rows_after(heading: str, page: Path) -> Iterator[list[str]]:
    """The cells of each row of the first table below a heading."""
    below = page.read_text().partition(f"\n{heading}\n")[2]
    table = re.search(r"^\|.*?(?=\n\n)", below, re.MULTILINE | re.DOTALL)
    assert table is not None, heading
    for line in table[0].splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def test_the_tables_are_what_the_code_says() -> None:
    command = [sys.executable, str(DOCS / "tables.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_method_has_its_section() -> None:
    from resroute.protocol.methods import METHODS

    sections = re.findall(r"^### `([a-z]+\.[a-z_]+)`$", (DOCS / "protocol.md").read_text(), re.MULTILINE)
    assert sections == list(METHODS)


def test_every_close_code_is_in_the_table() -> None:
    documented = {row[0] for row in rows_after("## Close codes", DOCS / "protocol.md")} - {"none (1006)"}
    made = in_code(r"(?:Ending|_fail|aclose)\(\s*(\d{4})\b")
    # the peer's own goodbye, and what the WebSocket library answers to a broken frame
    assert documented == made - {"1006"} | {"1000", "1002"}


def test_every_notification_is_in_the_table() -> None:
    documented = {row[0].strip("`") for row in rows_after("## Notifications", DOCS / "protocol.md")}
    # the router's own, and the one that it passes on
    assert documented == in_code(r'notification_message\(\s*"([^"]+)"') | {"$/progress"}


def test_every_reason_of_unavailable_is_documented() -> None:
    text = (DOCS / "protocol.md").read_text()
    sentence = re.search(r"^`reason` of `unavailable` is ([^.]*)\.", text, re.MULTILINE)
    assert sentence is not None
    made = in_code(r'Unavailable\(\s*"([a-z_]+)"')
    assert set(re.findall(r"`(\w+)`", sentence[1])) == made | {"no_healthy_instance"}


def test_every_exit_code_is_in_the_table() -> None:
    serve = cli.commands["serve"]
    told = serve.get_help(click.Context(serve)).partition("Exit codes:")[2]
    codes = re.findall(r"^ +(\d+)(?:\+N)? ", told, re.MULTILINE)
    page = (DOCS / "operations.md").read_text()
    documented = re.findall(r"^\| (\d+)(?: \+ \*n\*)? \|", page, re.MULTILINE)
    assert codes and documented == codes


def test_every_admin_path_is_in_the_table() -> None:
    documented = {row[0].strip("`") for row in rows_after("## Health", DOCS / "operations.md")}
    assert documented == in_code(r'@app\.get\("([^"]+)"\)')
