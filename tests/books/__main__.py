"""``python -m tests.books --seeds 20``: simulated months, and how the books compare; ends with one table.

Exit code 1 when the books do not balance.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.books.life import live
from tests.books.report import table


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.books", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many accounts")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--days", type=float, default=45, help="simulated days each")
    parser.add_argument("--interval", type=float, default=1800, help="seconds between passes")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    numbers = range(options.first_seed, options.first_seed + options.seeds)
    if options.jobs == 1 or options.seeds == 1:
        outcomes = [live(n, days=options.days, interval=options.interval) for n in numbers]
    else:
        with ProcessPoolExecutor(options.jobs) as pool:
            outcomes = list(pool.map(partial(live, days=options.days, interval=options.interval), numbers))
    print(table(outcomes))
    wrong = [(o.seed, line) for o in outcomes for line in o.wrong]
    for seed, line in wrong[:60]:
        print(f"seed {seed}: {line}")
    if wrong:
        print(f"{len(wrong)} claims are wrong")
    return 1 if wrong or any(o.faults for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
