"""``python -m tests.bench``: one table. A ratio far above what is given beside it is worth a look."""

from __future__ import annotations

import argparse
import logging
import sys

import structlog

from tests.bench.ratios import BENCHES, Ratio, measured


def main(arguments: list[str] | None = None) -> int:
    """Measure, saying on stderr what is being measured, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--machines", type=int, default=200, help="of the smaller account (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="of which the median counts (default: %(default)s)")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    rows: list[Ratio] = []
    for bench in BENCHES:
        sys.stderr.write(f"{bench.what} ...\n")
        rows.append(measured(bench, machines=options.machines, rounds=options.rounds))
    print(table(rows, options.machines))
    return 0


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
