"""How one run of the benchmarks is to go."""

import sys

import attrs


@attrs.frozen(kw_only=True)
class Run:
    """One run.

    Attributes:
        quick: shorter, and so less certain.
        peer: measure Crossbar.io too.
        noise: let a second yardstick take the router's place: the figures are then this machine's noise.
    """

    quick: bool = False
    peer: bool = True
    noise: bool = False

    @property
    def rounds(self) -> int:
        """How often what is compared is measured in turn."""
        return 5 if self.quick else 7

    def progress(self, text: str) -> None:
        """Say what is going on, to who watches."""
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def progress_done(self) -> None:
        """Wipe it away."""
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Say loudly what is missing."""
        self.progress_done()
        print(f"\n!!! {text}\n", file=sys.stderr, flush=True)
