"""Processor time in turns: medians and their spread. What disturbs one of a pair disturbs the other."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Times:
    """Seconds of processor time of several turns."""

    each: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.each)

    @property
    def words(self) -> str:
        """With the least and the most of them."""
        unit, by = ("ms", 1e3) if self.median < 1 else ("s", 1)
        return f"{self.median * by:.3g} {unit} ({min(self.each) * by:.3g} to {max(self.each) * by:.3g})"


@dataclass(frozen=True)
class Turns:
    """Ours beside theirs, in turns."""

    ours: Times
    theirs: Times

    @property
    def ratio(self) -> float:
        return self.ours.median / self.theirs.median

    @property
    def words(self) -> str:
        """The ratio of the medians, and how far those of single turns lie apart."""
        ratios = [one / other for one, other in zip(self.ours.each, self.theirs.each, strict=True)]
        return f"{self.ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def seconds(work: Callable[[], object]) -> float:
    """Of this process, while it does that."""
    began = time.process_time()
    work()
    return time.process_time() - began


def in_process(module: str, *arguments: object, env: Mapping[str, str] | None = None) -> Any:
    """What ``python -m module`` prints as JSON: in a process of its own, nothing measured before is in the way."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], stdout=subprocess.PIPE, check=True, env=env
    )
    return json.loads(done.stdout)
