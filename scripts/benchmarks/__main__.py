"""The command line of the benchmarks."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from benchmarks.environments import WORK
from benchmarks.report import NotMeasured, Row, print_table, write_json
from benchmarks.running import Run
from benchmarks.wire import RequestFailed

BENCHMARKS = (
    "calls",
    "sdk",
    "register",
    "bulk",
    "moving",
    "lookup",
    "million",
    "queries",
    "expire",
    "sessions",
    "progress",
    "watches",
    "scrape",
    "large",
)


def arguments() -> argparse.Namespace:
    """What to do, from the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures the router beside its targets. Exit code 0 whatever it finds.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run, of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="shorter, and so less certain")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single figure there")
    parser.add_argument("--no-peer", action="store_true", help="leave Crossbar.io out")
    parser.add_argument(
        "--noise",
        action="store_true",
        help="calls only: the yardstick against itself, which shows the noise here",
    )
    args = parser.parse_args()
    for name in args.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    return args


def measure(name: str, run: Run) -> tuple[str, list[Row]]:
    """One benchmark: its title and what was measured, as far as it came."""
    rows: list[Row] = []
    title = name
    try:
        module = import_module(f"benchmarks.{name}")
        title = module.TITLE
        rows_of: Callable[[Run], Iterator[Row]] = module.measure
        rows.extend(rows_of(run))
    except (NotMeasured, RequestFailed, ImportError, OSError) as error:
        run.warn(f"{name}: {error}")
        rows.append(Row(operation=name, note=str(error)))
    finally:
        run.progress_done()
    return title, rows


def stop(number: int, _: object) -> NoReturn:
    """Leave by an exception, so that every block on the way ends what it started."""
    sys.exit(128 + number)


def main() -> None:
    """Run the benchmarks that were asked for."""
    args = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    WORK.mkdir(exist_ok=True)
    run = Run(quick=args.quick, peer=not args.no_peer, noise=args.noise)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores / 2:
        run.warn(
            f"{load:.1f} programs run here on {cores} cores: times and delays will be longer than they are."
        )
    sections = {}
    try:
        for name in args.names or (["calls"] if args.noise else BENCHMARKS):
            title, sections[name] = measure(name, run)
            print_table(title, sections[name])
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if args.json is not None and sections:
            given = {name: str(value) for name, value in vars(args).items() if name != "json"}
            write_json(args.json, sections, given)


if __name__ == "__main__":
    main()
