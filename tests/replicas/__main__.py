"""``python -m tests.replicas --takeovers 200``: replicas take over from each other; 1 on a broken promise."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.replicas.story import Story, take_over_and_over
from tests.support.postgres import running_server
from tests.support.processes import simulator


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.replicas", description=__doc__)
    parser.add_argument("--takeovers", type=int, default=20, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=20261127, help="of the targets and the pauses between")
    given = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="fleetd-replicas-") as place,
        running_server() as server,
        simulator(Path(place), speed=60) as sim,
    ):
        story = Story(Path(place), sim, server, given.seed)
        try:
            story.begin()
            for line in take_over_and_over(story, given.takeovers):
                print(f"{time.monotonic() - began:7.1f} s  {line}", flush=True)
            wrong = story.broken()
        finally:
            story.end()
    for line in wrong:
        print(f"BROKEN  {line}")
    print("every promise was kept" if not wrong else f"{len(wrong)} broken")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
