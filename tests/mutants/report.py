"""How it went: a line for each mutant, what survived with its diff, and a table by room."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.choosing import Chosen
from tests.mutants.drawing import Mutant
from tests.mutants.trying import Verdict


@dataclass(frozen=True, slots=True)
class Result:
    """One mutant and what became of it."""

    mutant: Mutant
    verdict: Verdict
    chosen: Chosen
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether a test fails, or hangs, because of it."""
        return self.verdict.word in {"killed", "timeout"}


@dataclass(frozen=True, slots=True)
class Room:
    """The sum of one room."""

    name: str
    drawn: int
    killed: int
    unreached: int

    @property
    def survived(self) -> int:
        """How many no test noticed, though some execute the line."""
        return self.drawn - self.killed - self.unreached

    @property
    def share(self) -> float:
        """Per cent killed of those that some test executes; 100 where there are none."""
        reached = self.drawn - self.unreached
        return 100 * self.killed / reached if reached else 100.0


def rooms(results: Sequence[Result]) -> list[Room]:
    """One sum a room, in the order of the names."""
    found = []
    for name in sorted({r.mutant.room for r in results}):
        of_room = [r for r in results if r.mutant.room == name]
        unreached = sum(r.verdict.word in {"unreached", "error"} for r in of_room)
        found.append(Room(name, len(of_room), sum(r.killed for r in of_room), unreached))
    return found


def line(result: Result, number: int, of: int, seconds: float) -> str:
    """The progress after one mutant."""
    mutant, verdict = result.mutant, result.verdict
    said = f"{verdict.word} by {verdict.by}" if verdict.by else verdict.word
    where = f"{mutant.path}:{mutant.first_line} {mutant.kind}"
    return f"[{number}/{of} {seconds:.0f} s] {where}: {said} ({verdict.ran} tests, {result.seconds:.1f} s)"


def survivors(results: Sequence[Result], root: Path) -> str:
    """What no test noticed, by room, each with its diff."""
    parts = []
    for result in sorted(results, key=lambda r: (r.mutant.room, r.mutant.path, r.mutant.start)):
        if result.killed:
            continue
        mutant, chosen = result.mutant, result.chosen
        tests = f"{result.verdict.ran} tests" if chosen.tests else "no fast test executes it"
        more = f", {chosen.left_out} more were left out" if chosen.left_out else ""
        parts.append(f"{mutant.room}: {mutant.path}:{mutant.first_line} {mutant.kind} ({tests}{more})")
        parts.append(mutant.diff((root / mutant.path).read_bytes()) + "\n")
    return "\n".join(parts)


def table(results: Sequence[Result]) -> str:
    """The sums by room."""
    head = f"{'room':<12}{'mutants':>8}{'killed':>8}{'survived':>10}{'unreached':>11}{'killed %':>9}"
    rows = [
        f"{r.name:<12}{r.drawn:>8}{r.killed:>8}{r.survived:>10}{r.unreached:>11}{r.share:>9.1f}"
        for r in rooms(results)
    ]
    return "\n".join([head, *rows])


def as_json(results: Sequence[Result], root: Path) -> str:
    """Everything, for another program."""
    mutants = [
        {
            "room": r.mutant.room,
            "path": r.mutant.path,
            "line": r.mutant.first_line,
            "kind": r.mutant.kind,
            "verdict": r.verdict.word,
            "by": r.verdict.by,
            "tests": r.verdict.ran,
            "left_out": r.chosen.left_out,
            "seconds": round(r.seconds, 1),
            "diff": r.mutant.diff((root / r.mutant.path).read_bytes()),
        }
        for r in results
    ]
    sums = {r.name: {"mutants": r.drawn, "killed": r.killed, "unreached": r.unreached} for r in rooms(results)}
    return json.dumps({"rooms": sums, "mutants": mutants}, indent=1)
