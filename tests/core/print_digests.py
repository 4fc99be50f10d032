"""Prints what a random schedule leads to. Run it with two hash seeds: all lines but the first must be the same.

PYTHONHASHSEED=1 python -m tests.core.print_digests SEED LENGTH
"""

import hashlib
import sys

from resroute.core.state import State
from tests.core.schedules import random_schedule


def main() -> None:
    seed, length = map(int, sys.argv[1:])
    print("this process hashes text to", hash("resource"))
    state = State()
    told = hashlib.sha256()
    for step, entry in enumerate(random_schedule(seed, length)):
        told.update(repr(state.apply(*entry)).encode())
        if step % 50 == 49:
            state = State.load(state.dump())
            print(
                step,
                state.digest(),
                told.hexdigest(),
                [grant.resource_id for grant in state.grants_after()][-1:],
            )
    print(length, state.digest(), told.hexdigest())


if __name__ == "__main__":
    main()
