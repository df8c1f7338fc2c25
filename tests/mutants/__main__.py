"""``python -m tests.mutants --sample 300 --seed 1``: changes one small thing at a time, and asks the tests.

A mutant is the package with one comparison turned round, one call left out, one number off by one. Each runs against
the tests that execute its line, the most specific first, until one fails. What survives is listed by room with its
diff: a rule that no test guards, or a change that changes nothing.

Exit code 1 when a room has fewer than --goal per cent killed.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.choosing import choose
from tests.mutants.drawing import Mutant, draw
from tests.mutants.recording import Book, open_book
from tests.mutants.report import Result, as_json, line, rooms, survivors, table
from tests.mutants.trying import Verdict, preload, try_tests

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    preload()
    book = open_book(ROOT, say=_say)
    for test in book.failed():
        _say(f"left out, it fails with the code as it is, or takes too long: {test}")
    mutants = draw(ROOT, sample=options.sample, seed=options.seed, rooms=tuple(options.room))
    _say(f"{len(mutants)} mutants")
    if mutants and _fails_unchanged(book, mutants[0], budget=options.budget):
        _say("the tests fail with the code as it is, when they run here: nothing would follow from that")
        return 70
    begun, results = time.monotonic(), []
    with ThreadPoolExecutor(options.jobs) as pool:
        tried = pool.map(lambda m: _try(book, m, budget=options.budget), mutants)
        for i, result in enumerate(tried, start=1):
            results.append(result)
            _say(line(result, i, len(mutants), time.monotonic() - begun))
    if options.json:
        print(as_json(results, ROOT))
    else:
        print(survivors(results, ROOT))
        print(table(results))
    return 1 if any(room.share < options.goal for room in rooms(results)) else 0


def _fails_unchanged(book: Book, mutant: Mutant, *, budget: float) -> bool:
    stage = next(choose(book, mutant, budget=budget).stages())
    source = (ROOT / mutant.path).read_bytes()
    return bool(stage) and try_tests(_module(mutant.path), source, stage, limit=600).word != "survived"


def _try(book: Book, mutant: Mutant, *, budget: float) -> Result:
    chosen = choose(book, mutant, budget=budget)
    if not chosen.tests:
        return Result(mutant, Verdict("unreached", "", 0), chosen, 0.0)
    source = mutant.applied((ROOT / mutant.path).read_bytes())
    begun, verdict = time.monotonic(), Verdict("survived", "", 0)
    for stage in chosen.stages():
        limit = 20 + 5 * sum(chosen.tests[t].seconds for t in stage)
        ran = verdict.ran
        verdict = try_tests(_module(mutant.path), source, stage, limit=limit)
        verdict = Verdict(verdict.word, verdict.by, verdict.ran + ran)
        if verdict.word != "survived":
            break
    return Result(mutant, verdict, chosen, time.monotonic() - begun)


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=300, help="how many mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--room", action="append", default=[], help="only this folder of the package; may be repeated"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--budget", type=float, default=60, help="seconds of tests a mutant, as they were recorded")
    parser.add_argument("--goal", type=float, default=0, help="per cent that a room must reach")
    parser.add_argument("--json", action="store_true", help="the results as JSON on stdout, progress on stderr")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
