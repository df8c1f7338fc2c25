"""Detects steps of the wall clock, so that timers set by it can be recomputed."""

from __future__ import annotations

import anyio

from fleetd.engine.ports import Clock

LEAST = 30.0
"""Seconds; less than that makes nobody late. What slews a clock moves the loop's clock with it (clock_gettime(2))."""


class ClockSteps:
    """Compares the wall clock with the event loop's, which nobody sets and which goes on while the machine sleeps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apart: float | None = None

    def taken(self) -> float:
        """Seconds by which the wall clock was set since this was last asked, negative for back; 0 when it was not."""
        apart = self._clock.now().timestamp() - anyio.current_time()
        by = 0.0 if self._apart is None else apart - self._apart
        self._apart = apart
        return by if abs(by) >= LEAST else 0.0
