"""World time: what the simulated account's dates show, and how fast it passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class WorldClock:
    """Turns seconds of the event loop into seconds and dates of the simulated world.

    Args:
        epoch: the world's date at the first look, timezone-aware; the real date when left out.
        now_seconds: a monotonic clock in seconds; the running event loop's when left out.
        speed: world seconds that pass in one second of ``now_seconds``.
        origin: the reading of ``now_seconds`` that is the epoch; the first look when left out.
    """

    def __init__(
        self,
        epoch: datetime | None = None,
        now_seconds: Callable[[], float] | None = None,
        speed: float = 1.0,
        *,
        origin: float | None = None,
    ) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be above 0, got {speed}")
        if epoch is not None and epoch.tzinfo is None:
            raise ValueError("epoch must carry a time zone")
        self.speed = speed
        self._epoch = epoch
        self._now_seconds = now_seconds
        self._origin = origin

    @property
    def epoch(self) -> datetime:
        """The world's date at second 0, UTC, whole milliseconds."""
        if self._epoch is None:
            self._epoch = datetime.now(UTC)
        self._epoch = self._epoch.astimezone(UTC).replace(microsecond=self._epoch.microsecond // 1000 * 1000)
        return self._epoch

    def loop_seconds(self) -> float:
        """The monotonic clock underneath, unscaled."""
        return asyncio.get_running_loop().time() if self._now_seconds is None else self._now_seconds()

    def seconds(self) -> float:
        """World seconds since the epoch."""
        reading = self.loop_seconds()
        if self._origin is None:
            self._origin = reading
            _ = self.epoch  # pinned together with the origin
        return (reading - self._origin) * self.speed

    def now(self) -> datetime:
        """The world's date, UTC."""
        return self.date(self.seconds())

    def date(self, seconds: float) -> datetime:
        """The date at so many world seconds after the epoch, UTC."""
        return self.epoch + timedelta(seconds=seconds)

    def since_epoch(self, date: datetime) -> float:
        """World seconds from the epoch to ``date``; negative before it."""
        return (date - self.epoch).total_seconds()

    def text(self, seconds: float | None) -> str | None:
        """The date as the vendor writes it, ``2022-03-14T15:09:51.974Z``; None stays None."""
        if seconds is None:
            return None
        return self.date(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")
