"""How much of the provider's rate, and of the time between two passes, one pass may use."""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.model.settings import Settings
from fleetd.planner.call_budget import LOOK_AND_CALL

ACTING = 0.5
"""Share of the interval in which a pass makes its calls."""
SHORTEST_ACTING = 15.0
"""Seconds of that at least: a look, an idle source's last word and a call take their time."""
OF_THE_RATE = 0.8
"""Share of the rate that a pass may plan with; the poller and the next listing need some of it."""
LOOKING = 0.25
"""Share of the interval in which a pass looks closer at what is listed otherwise than it was left."""
QUIET = (1.0, 5.0)
"""Seconds, at least and at most, in which nothing moves before a pass leaves calls that hang to themselves."""


POLLING = 0.3
"""Share of the rate that looking closer at transitions may take."""


def looks_a_tick(settings: Settings) -> int:
    """How many machines the poller looks at closer in one tick, at most."""
    return max(2, int(POLLING * settings.provider.max_requests_per_second * settings.daemon.poll.total_seconds()))


@dataclass(frozen=True, slots=True)
class Pace:
    """What a pass may use."""

    acting: float
    """Seconds; what is still in the queue then is left to the next pass."""
    requests: int
    """For its calls, the looks before them included."""
    looks: int
    """At machines that are listed otherwise than they were left."""
    doubtful: int
    """Creates under way at one time of fleets whose last create got no answer."""
    quiet: float
    """Seconds without any progress after which calls without an answer are not waited for any more."""

    @classmethod
    def of(cls, settings: Settings) -> Pace:
        """By the config's rate and interval."""
        rate, interval = settings.provider.max_requests_per_second, settings.daemon.interval.total_seconds()
        acting = max(ACTING * interval, SHORTEST_ACTING)
        return cls(
            acting=acting,
            requests=max(2, int(OF_THE_RATE * rate * acting)),
            looks=max(2, int(LOOKING * rate * interval)),
            doubtful=max(1, (settings.provider.max_concurrency - 2) // 2),
            quiet=min(max(min(max(interval / 6, QUIET[0]), QUIET[1]), 2 * LOOK_AND_CALL / rate), acting),
        )
