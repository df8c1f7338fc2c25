"""``python -m tests.bench``: what fleetd costs, row by row of ``goals``, and how the work grows with the account.

The counts are the same everywhere, and tests hold them; times are processor time, and nobody asserts them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import structlog

from fleetd import __version__
from tests.bench import counts, goals, idling, listings, pages, passes, peers, ratios
from tests.bench.goals import Figure

PARTS: dict[str, Callable[[argparse.Namespace], list[Figure]]] = {
    "counts": lambda options: counts.figures(say=options.say),
    "large": lambda options: counts.large(say=options.say),
    "passes": lambda options: passes.figures(passes=options.turns),
    "lists": lambda options: listings.figures(turns=options.turns),
    "peers": lambda options: peers.figures(options.turns, node_modules=os.environ.get("FLEETD_NODE_MODULES")),
    "pages": lambda _options: pages.figures(),
    "idle": lambda _options: idling.figures(),
    "growth": lambda options: ratios.figures(options.machines, options.turns, say=options.say),
}
"""Each gives figures of rows of ``goals``; ``stores`` is another thing, and needs a PostgreSQL."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, saying on stderr what is being measured, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--machines", type=int, default=200, help="of the smaller account (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="of which the median counts (default: %(default)s)")
    parser.add_argument("--intents", type=int, default=500, help="on each store (default: %(default)s)")
    parser.add_argument("--passes", type=int, default=120, help="on the database (default: %(default)s)")
    parser.add_argument("--only", choices=[*PARTS, "stores"], help="this part alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too; picture.py draws them")
    options = parser.parse_args(arguments)
    options.say = partial(print, flush=True)
    # Else each fleetd that is started compiles itself anew, which an installed one never does.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(f"fleetd {__version__}, {', '.join(f'{name} {version}' for name, version in versions().items())}")
    if options.only == "stores":
        from tests.bench import stores

        print("\n".join(["", *stores.table(options.machines, options.intents, passes=options.passes)]))
        return 0
    found: list[Figure] = []
    for name in [options.only] if options.only else PARTS:
        sys.stderr.write(f"{name} ...\n")
        found += PARTS[name](options)
    measured = [row for row in goals.rows(found) if row["figures"] or not options.only]
    print("\n".join(["", *goals.markdown(measured)]))
    if options.json is not None:
        options.json.write_text(json.dumps({"versions": versions(), "rows": measured}, indent=1) + "\n")
    return 0


def versions() -> dict[str, Any]:
    """Of what is compared with."""
    names = ("aiohttp", "msgspec", "pydantic", "typer", "rich")
    return {platform.python_implementation(): platform.python_version()} | {n: metadata.version(n) for n in names}


if __name__ == "__main__":
    sys.exit(main())
