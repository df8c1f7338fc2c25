"""Whether our wall clock and the provider's agree: every answer of the provider tells its own.

Until the first has come, a replica goes by the clock of the database, which told it when it took the lease.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import anyio
import structlog

from fleetd.engine.ports import Clock

log = structlog.get_logger(__name__)

APART = 300.0
"""Seconds by which the two may differ before nothing is destroyed, stopped or dropped because of an age."""


PROVIDER = "the provider"


class Agreement:
    """What the provider said last of the time, carried on by the event loop's clock, against ours.

    So a step of ours shows at once, and not with the next answer. A host that slept looks like one whose clock was
    set ahead, until that answer comes. A provider that tells no time is not contradicted.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: tuple[datetime, float] | None = None
        self._by = PROVIDER
        self._said = False

    def told(self, theirs: datetime, by: str = PROVIDER) -> None:
        """An answer has come with this Date; ``by`` another than the provider until that has told its own."""
        self._told, self._by = (theirs, anyio.current_time()), by

    @property
    def ahead(self) -> float | None:
        """Seconds by which ours is ahead, negative for behind; None where the provider has told no time."""
        return self._ahead if self._by == PROVIDER else None

    @property
    def _ahead(self) -> float | None:
        if self._told is None:
            return None
        theirs, ticks = self._told
        return self._clock.now().timestamp() - theirs.timestamp() - (anyio.current_time() - ticks)

    @property
    def apart_by(self) -> timedelta:
        """By how much ours is ahead where they are apart, and nothing where they agree, or nobody knows."""
        ahead = self._ahead
        return timedelta(seconds=ahead) if ahead is not None and abs(ahead) > APART else timedelta(0)

    def theirs(self, now: datetime) -> datetime:
        """What the provider's clock reads when ours reads ``now``; the same as long as they agree."""
        return now - self.apart_by

    def earliest(self) -> datetime:
        """The time that both have reached: what lasts until a time lasts until then."""
        now = self._clock.now()
        return min(now, self.theirs(now))

    def latest(self) -> datetime:
        """The later of both readings: what is to last from now on is counted from it.

        So it does not end before its time when the clock that is wrong, whichever that is, is set right.
        """
        now = self._clock.now()
        return max(now, self.theirs(now))

    @property
    def doubt(self) -> str | None:
        """In words how far apart they are; None while they agree."""
        ahead = self.apart_by.total_seconds()
        return f"ours is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} {self._by}'s" if ahead else None

    def told_doubt(self) -> str | None:
        """``doubt``, said in the log when it begins and when it ends."""
        doubt = self.doubt
        if (doubt is not None) != self._said:
            self._said = doubt is not None
            by = round(self._ahead or 0.0)
            if self._said:
                log.error("clock.disagreed", by_s=by)
            else:
                log.info("clock.agreed", by_s=by)
        return doubt
