"""``python -m tests.fuzz SECONDS``: fuzz for that long."""

import sys

from tests.fuzz.effort import try_out_for
from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz, and say how much."""
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit("usage: scripts/fuzz SECONDS")
    seconds = int(sys.argv[1])
    print(f"scripts/fuzz: {try_out_for(seconds, TARGETS)} inputs in {seconds} s, nothing found")


main()
