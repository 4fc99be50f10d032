"""The README and the pages: what they include, name and link to is there."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.running import DOCS, EXAMPLES, ROOT

PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE_BLOCK = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    """For the names of tests."""
    return str(page.relative_to(ROOT))


def links(page: Path) -> Iterator[str]:
    """Links to other pages and files."""
    for found in _LINK.finditer(_CODE_BLOCK.sub("", page.read_text())):
        if not found[1].startswith(("https://", "http://")):
            yield found[1]


def anchors(page: Path) -> set[str]:
    """What a link to a part of the page may name."""
    headings = _HEADING.findall(_CODE_BLOCK.sub("", page.read_text()))
    # as mkdocs makes them from plain headings
    words = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[-\s]+", "-", word) for word in words}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_files_that_are_named_are_there(page: Path) -> None:
    for name in re.findall(r"\b((?:scripts|docs)/[\w./-]*\w)", page.read_text()):
        assert (ROOT / name).exists(), name
        is_command = name.startswith("scripts/") and "." not in name and (ROOT / name).is_file()
        assert not is_command or os.access(ROOT / name, os.X_OK), name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_of_the_package_that_are_named_are_there(page: Path) -> None:
    for name in re.findall(r"`(resroute/[a-z_/]+(?:\.py)?)`", page.read_text()):
        assert (ROOT / name).exists(), name


def test_the_example_of_the_readme_is_the_one_that_is_run() -> None:
    readme = (ROOT / "README.md").read_text()
    assert f"```python\n{(EXAMPLES / 'first.py').read_text()}```" in readme
    assert f"```\n{(EXAMPLES / 'first.out').read_text()}```" in readme


def test_every_example_stands_on_a_page_with_what_it_prints() -> None:
    included = re.findall(
        r'^ *--8<-- "(docs/examples/[^":]+)', "\n".join(page.read_text() for page in PAGES), re.MULTILINE
    )
    examples = {path for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {ROOT / name for name in included} == examples


def test_the_page_of_the_sdk_begins_with_a_program_of_ten_lines() -> None:
    first = re.search(r'--8<-- "docs/examples/([^"]+)"', (DOCS / "sdk.md").read_text())
    assert first is not None
    program = (EXAMPLES / first[1]).read_text()  # which is run as it stands, as every other
    assert len([line for line in program.splitlines() if line]) <= 10
