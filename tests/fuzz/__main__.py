"""``python -m tests.fuzz SECONDS [SEED]``: fuzz for that long. The same seed makes the same inputs."""

import random
import sys

from tests.fuzz.effort import try_out_for
from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz, and say how much."""
    arguments = sys.argv[1:]
    if not 1 <= len(arguments) <= 2 or not all(argument.isdecimal() for argument in arguments):
        sys.exit("usage: scripts/fuzz SECONDS [SEED]")
    seconds, seed = int(arguments[0]), int(arguments[1]) if arguments[1:] else random.randrange(2**32)
    print(f"scripts/fuzz: seed {seed}", flush=True)
    print(f"scripts/fuzz: {try_out_for(seconds, TARGETS, seed)} inputs in {seconds} s, nothing found")


main()
