"""``python -m tests.nights --nights 200``: plays nights, says how it goes, and ends with one table.

Exit code 1 when the evidence speaks against fleetd; every such night is printed as the command that repeats it.
"""

from __future__ import annotations

import argparse
import sys

from tests.nights.play import run_night
from tests.nights.report import run_all


def main() -> int:
    """Play what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.nights", description=__doc__)
    parser.add_argument("--nights", type=int, default=20, help="how many")
    parser.add_argument("--first-night", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--night", help="play this one only")
    parser.add_argument("--log", action="store_true", help="with --night: print the daemon's log")
    options = parser.parse_args()
    if options.night is not None:
        outcome = run_night(options.night)
        if options.log:
            print(outcome.log, end="")
        for finding in (*outcome.judged.findings, *outcome.ended):
            print(finding)
        print(f"night {outcome.seed}: {outcome.judged.stops} stops, {len(outcome.judged.findings)} of them wrong")
        return 1 if outcome.judged.findings or outcome.ended else 0
    seeds = [str(n) for n in range(options.first_night, options.first_night + options.nights)]
    totals = run_all(seeds, processes=options.jobs, say=lambda line: print(line, file=sys.stderr, flush=True))
    print(totals.table())
    return 1 if totals.broken else 0


if __name__ == "__main__":
    sys.exit(main())
