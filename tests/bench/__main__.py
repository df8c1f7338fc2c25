"""``python -m tests.bench``: calls and waits counted, processes beside others, and how the work grows.

A ratio far above what is given beside it is worth a look. The counts are the same everywhere, and tests hold them.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
from importlib import metadata

import structlog

from fleetd import __version__
from tests.bench import counts, peers
from tests.bench.ratios import BENCHES, Ratio, measured

PARTS = ("counts", "peers", "growth", "stores")


def main(arguments: list[str] | None = None) -> int:
    """Measure, saying on stderr what is being measured, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--machines", type=int, default=200, help="of the smaller account (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="of which the median counts (default: %(default)s)")
    parser.add_argument("--intents", type=int, default=500, help="on each store (default: %(default)s)")
    parser.add_argument("--passes", type=int, default=120, help="on the database (default: %(default)s)")
    parser.add_argument("--only", choices=PARTS, help="this part alone")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    wanted = [options.only] if options.only else PARTS
    print(f"fleetd {__version__}, {platform.python_implementation()} {platform.python_version()}, {versions()}")
    if "counts" in wanted:
        sys.stderr.write("calls and waits ...\n")
        print("\n".join(["", *counts.table()]))
    if "peers" in wanted:
        sys.stderr.write("processes beside others ...\n")
        pairs = peers.compared(options.rounds, node_modules=os.environ.get("FLEETD_NODE_MODULES"))
        print("\n".join(["", *peers.table(pairs)]))
    if "growth" in wanted:
        print(f"\n{growth(options.machines, options.rounds)}")
    if options.only == "stores":  # asked for by name: it needs a PostgreSQL
        from tests.bench import stores

        sys.stderr.write("intents on each store, and an hour on the database ...\n")
        print("\n".join(["", *stores.table(options.machines, options.intents, passes=options.passes)]))
    return 0


def versions() -> str:
    """Of what is compared with."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in ("aiohttp", "msgspec", "pydantic", "typer"))


def growth(machines: int, rounds: int) -> str:
    """How the work grows with the account."""
    rows: list[Ratio] = []
    for bench in BENCHES:
        sys.stderr.write(f"{bench.what} ...\n")
        rows.append(measured(bench, machines=machines, rounds=rounds))
    return table(rows, machines)


def table(rows: list[Ratio], machines: int) -> str:
    """The rows for people."""
    title = f"{machines} machines, and ten times as many"
    lines = [f"{title:<46} {'smaller':>10} {'larger':>10} {'ratio':>7} {'linear':>7}"]
    lines += [
        f"{row.what:<46} {row.smaller * 1e3:>7.1f} ms {row.larger * 1e3:>7.1f} ms {row.ratio:>7.1f} {row.linear:>7g}"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
