"""Runs schedules by hand: ``python -m tests.faults --seeds 1000 --from 5000``."""

import argparse
import sys
import time
import traceback

from tests.faults.schedule import run_seed
from tests.records import Word, show


def main() -> int:
    """Run what the command line asks for. The exit code is 1 if the checker found anything."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Run seeded fault schedules.")
    parser.add_argument("--seeds", type=int, default=1, help="how many (1)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (0)")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first that fails")
    parser.add_argument("--transcript", action="store_true", help="print what every session said and heard")
    options = parser.parse_args()
    failed = []
    began = time.monotonic()
    for seed in range(options.first, options.first + options.seeds):
        words: list[Word] = []
        try:
            run_seed(seed, words)
        except Exception as error:
            failed.append(seed)
            traceback.print_exception(error)
        if options.transcript:
            print(*map(show, words), sep="\n")
        if failed and not options.keep_going:
            break
    took = time.monotonic() - began
    print(f"{seed - options.first + 1} schedules in {took:.0f} s, failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
