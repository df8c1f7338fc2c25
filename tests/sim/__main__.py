"""``python -m tests.sim --seeds 200``: runs seeds, says how it goes, and ends with one table.

Exit code 1 when a promise was broken; every seed that broke one is printed as the command that repeats it.
"""

from __future__ import annotations

import argparse
import sys

from tests.sim.dialects import DIALECTS
from tests.sim.report import Job, progress, run, run_all


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    if options.seed is not None:
        outcome = run(_job(options.seed, options))
        if options.log:
            print(outcome.log, end="")
        for breach in outcome.breaches:
            print(breach)
        print(
            f"seed {options.seed}: {len(outcome.breaches)} broken, {outcome.calls} calls, log {outcome.digest[:16]}"
        )
        return 1 if outcome.breaches else 0
    numbers = range(options.first_seed, options.first_seed + options.seeds)
    jobs = [_job(str(n), options) for n in numbers]
    totals = run_all(jobs, processes=options.jobs, say=progress)
    print(totals.table())
    for command in dict.fromkeys(command for command, _ in totals.broken):
        print(f"repeat: {command}")
    return 1 if totals.broken else 0


def _job(seed: str, options: argparse.Namespace) -> Job:
    return Job(seed, options.days, options.machines, options.dialect, options.replicas)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--days", type=float, default=1, help="simulated days a seed; the last 5 hours are calm")
    parser.add_argument("--machines", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--dialect", choices=sorted(DIALECTS), default="core")
    parser.add_argument(
        "--replicas",
        type=int,
        default=1,
        choices=(1, 2),
        help="2: an hour a seed of two replicas on one database, with few machines and many faults",
    )
    parser.add_argument("--seed", help="run this one only")
    parser.add_argument("--log", action="store_true", help="with --seed: print the daemon's log")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
