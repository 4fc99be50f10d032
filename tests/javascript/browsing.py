"""Chromium, and routers to open pages of: for tests that are not asynchronous, as Playwright wants them."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
from playwright.sync_api import Browser, BrowserType, sync_playwright

from tests.docs.running import ROOT, environment

_LISTENS = re.compile(r"^resroute listens on (ws://\S+) .*(http://[^)\s]+)\)?$")

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class NoBrowser(Exception):
    """Chromium is not installed here."""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """The Chromium of this machine, without a window.

    Raises:
        NoBrowser: there is none.
    """
    with sync_playwright() as playwright, launch(playwright.chromium) as browser:
        yield browser


def launch(chromium: BrowserType, *, keep_pages: bool = False) -> Browser:
    """Start a Chromium that whoever asks for it closes.

    Args:
        keep_pages: as everybody's does, to show them at once when somebody goes back to them.

    Raises:
        NoBrowser: there is none.
    """
    program = shutil.which("chromium")
    if program is None:
        raise NoBrowser
    without = ["--disable-back-forward-cache"] if keep_pages else None
    return chromium.launch(executable_path=program, args=list(_OPTIONS), ignore_default_args=without)


@attrs.define
class Served:
    """A router in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    admin_url: str

    @property
    def ports(self) -> tuple[int, int]:
        """Where it takes sessions, and where its admin pages are."""
        return _port(self.url), _port(self.admin_url)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()


def _port(url: str) -> int:
    return int(url.rstrip("/").rsplit(":", 1)[1])


@contextmanager
def serve(port: int = 0, admin_port: int = 0, **settings: str) -> Iterator[Served]:
    """A router for the length of the block. Settings are by their names."""
    process = subprocess.Popen(
        [sys.executable, "-m", "resroute", "serve", f"--port={port}", f"--admin-port={admin_port}"],
        cwd=ROOT,
        env=environment() | {f"RESROUTE_{name.upper()}": value for name, value in settings.items()},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr as said:
        try:
            lines: list[str] = []
            while (listens := _LISTENS.match(line := said.readline())) is None:
                assert line, f"the router ended: {''.join(lines)}"
                lines.append(line)
            # what it says is read, lest it wait for somebody who does
            reader = threading.Thread(target=said.read)
            reader.start()
            try:
                yield Served(process, listens[1], listens[2].rstrip("/") + "/")
            finally:
                process.kill()
                reader.join()
        finally:
            process.kill()
            process.wait()
