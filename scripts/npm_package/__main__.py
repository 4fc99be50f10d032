"""``scripts/npm types [--check]`` and ``scripts/npm pack FOLDER``."""

import sys
from pathlib import Path

from npm_package.declarations import DECLARATIONS, make_declarations
from npm_package.packing import pack

USAGE = "usage: scripts/npm types [--check] | scripts/npm pack FOLDER"


def main(arguments: list[str]) -> int | str:
    """Do what was asked. Returns what ``sys.exit`` takes."""
    match arguments:
        case ["types"]:
            DECLARATIONS.write_text(make_declarations())
            return 0
        case ["types", "--check"]:
            is_current = DECLARATIONS.exists() and DECLARATIONS.read_text() == make_declarations()
            return 0 if is_current else f"{DECLARATIONS.name} is out of date: run scripts/npm types"
        case ["pack", folder]:
            print(pack(Path(folder)))
            return 0
        case _:
            return USAGE


sys.exit(main(sys.argv[1:]))
