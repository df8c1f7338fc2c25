"""Whether our wall clock and the provider's agree: every answer of the provider tells its own.

Until the first has come, what is given to a replica lasts by the database's clock as well, which told it when it took
the lease. Only that: no other clock than the provider's is compared with ours.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import anyio
import structlog

from fleetd.engine.ports import Clock

log = structlog.get_logger(__name__)

APART = 300.0
"""Seconds by which the two may differ before nothing is destroyed, stopped or dropped because of an age."""
_Told = tuple[datetime, float]
"""A clock's reading, and when it came by the event loop's."""


class Agreement:
    """What the provider said last of the time, carried on by the event loop's clock, against ours.

    So a step of ours shows at once, and not with the next answer. A provider that tells no time is not contradicted.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: _Told | None = None
        self._meanwhile: _Told | None = None
        """By the database, where there is one."""
        self._said = False

    def told(self, theirs: datetime) -> None:
        """An answer of the provider has come with this Date."""
        self._told = (theirs, anyio.current_time())

    def told_meanwhile(self, theirs: datetime) -> None:
        """The database's clock reads so: what is given lasts by it until the provider has told its own."""
        self._meanwhile = (theirs, anyio.current_time())

    @property
    def ahead(self) -> float | None:
        """Seconds by which ours is ahead, negative for behind; None where the provider has told no time."""
        return self._ahead_of(self._told)

    @property
    def apart_by(self) -> timedelta:
        """By how much ours is ahead where they are apart, and nothing where they agree, or nobody knows."""
        return _apart(self.ahead)

    def theirs(self, now: datetime) -> datetime:
        """What the provider's clock reads when ours reads ``now``; the same as long as they agree."""
        return now - self.apart_by

    def earliest(self) -> datetime:
        """The time that both have reached: what lasts until a time lasts until then."""
        now = self._clock.now()
        return min(now, self.theirs(now))

    def latest(self) -> datetime:
        """The later of both readings: what is to last from now on is counted from it.

        So it does not end before its time when the clock that is wrong, whichever that is, is set right. Before the
        provider has told its own, the database's is the other one.
        """
        return self.latest_at(self._clock.now())

    def latest_at(self, now: datetime) -> datetime:
        """``latest`` where ours reads ``now``."""
        return max(now, now - _apart(self._ahead_of(self._told or self._meanwhile)))

    @property
    def doubt(self) -> str | None:
        """In words how far apart they are; None while they agree."""
        ahead = self.apart_by.total_seconds()
        return f"ours is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the provider's" if ahead else None

    def told_doubt(self) -> str | None:
        """``doubt``, said in the log when it begins and when it ends."""
        doubt = self.doubt
        if (doubt is not None) != self._said:
            self._said = doubt is not None
            by = round(self.ahead or 0.0)
            if self._said:
                log.error("clock.disagreed", by_s=by)
            else:
                log.info("clock.agreed", by_s=by)
        return doubt

    def _ahead_of(self, told: _Told | None) -> float | None:
        if told is None:
            return None
        theirs, ticks = told
        return self._clock.now().timestamp() - theirs.timestamp() - (anyio.current_time() - ticks)


def _apart(ahead: float | None) -> timedelta:
    return timedelta(seconds=ahead) if ahead is not None and abs(ahead) > APART else timedelta(0)
