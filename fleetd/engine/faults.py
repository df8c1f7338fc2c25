"""Faults in fleetd's own code: each ends what it happened in, a pass or a look, and nothing else.

A fault is what nobody expected: no ``FleetdError``. It is logged with its traceback once for each place in the code,
counted, and shown in status; the next pass, look or tick tries again.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from datetime import datetime

import structlog

from fleetd.engine.ports import Clock, Meter

log = structlog.get_logger(__name__)

PASS = "pass"  # noqa: S105 - of the daemon
LONGEST_WAIT = 300.0
"""Seconds that passes which fail one after the other are apart at most; or an interval, where that is longer."""
_REMEMBERED = 100
"""Places; code that fails in ever new ones is not helped by remembering."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One fault."""

    at: datetime
    where: str
    """What it ended: pass, fleet, follower, poller, ..."""
    words: str


class Faults:
    """Takes note of faults, so that whoever met one goes on."""

    def __init__(self, clock: Clock, meter: Meter) -> None:
        self._clock = clock
        self._meter = meter
        self._said: set[tuple[str, str]] = set()
        self.count = 0
        """All of this process."""
        self.last: Seen | None = None

    def saw(self, where: str, error: BaseException) -> str:
        """Note a fault; its words."""
        leaf = leaf_of(error)
        words = f"{type(leaf).__name__}: {leaf}" if str(leaf) else type(leaf).__name__
        self.count += 1
        self.last = Seen(self._clock.now(), where, words)
        self._meter.fault(where=where)
        kind = (where, _place(leaf))
        first = kind not in self._said
        if len(self._said) >= _REMEMBERED:
            self._said.clear()
        self._said.add(kind)
        if where == PASS:
            log.error("pass.failed", error=words, place=kind[1], exc_info=leaf if first else None)
        else:
            log.error(
                "fault.was_contained", where=where, error=words, place=kind[1], exc_info=leaf if first else None
            )
        return words


def wait_after(failed: int, interval: float) -> float:
    """Seconds to leave between passes once ``failed`` of them in a row met a fault."""
    return min(interval * 2.0 ** min(failed - 1, 16), max(interval, LONGEST_WAIT)) if failed else 0.0


def leaf_of(error: BaseException) -> BaseException:
    """The first of a group: what fails side by side fails for one reason."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _place(error: BaseException) -> str:
    """``policies.py:114 OverflowError``: where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "nowhere"
    return f"{where} {type(error).__name__}"
