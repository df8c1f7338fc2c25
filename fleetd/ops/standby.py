"""What a replica that stands by can tell: how everything stands by the word of the one that acts, and its age."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import anyio
from msgspec.structs import replace

from fleetd.model.report import DaemonReport, LeaseReport, Report, SightReport
from fleetd.words.times import span


class StandbyHandle:
    """A ``daemon_handle.Told``. What it shows is never taken for good where nobody stands behind it any more.

    Args:
        about: this replica in words.
        config: its config file.
        now: wall time, from the Clock port.
        patience: how old what the holder said may be before it is doubted: a few of its passes.
    """

    def __init__(self, about: str, config: str, now: Callable[[], datetime], patience: timedelta) -> None:
        self._about = about
        self._config = config
        self._now = now
        self._patience = patience.total_seconds()
        self._began = self._heard_at = anyio.current_time()
        self._lease: LeaseReport | None = None
        self._away: str | None = "the database has not been asked yet"
        self._word: Report | None = None
        self._word_epoch = 0
        self._said_at = self._began
        """When the word was said, by the loop's clock."""

    def on_config(self, patience: timedelta) -> None:
        """This replica's config was read again: how old what the holder said may be by it."""
        self._patience = patience.total_seconds()

    def heard(self, lease: LeaseReport, *, epoch: int, age: float, word: Report | None) -> None:
        """The database was asked.

        Args:
            lease: who has it; ``holder`` is None where it is over.
            epoch: of the holder that has said the last word; 0 where none has.
            age: seconds since it was said.
            word: what was said, where it is new.
        """
        self._heard_at, self._away, self._lease = anyio.current_time(), None, lease
        if word is not None:
            self._word, self._word_epoch = word, epoch
        self._said_at = self._heard_at - age if self._word is not None else self._began

    def away(self, error: str) -> None:
        """The database could not be asked."""
        self._away = error

    def alive(self) -> str | None:
        """Never a reason to start it again: that the database is away is not this process's fault."""
        return None

    def ready(self) -> str | None:
        """Why it could not take over now, or None: it reaches the database."""
        return self._away

    def status(self) -> Report:
        """How everything stands, as the holder said last; doubted where nobody stands behind it any more."""
        now, said_at = self._now(), self._instant(self._said_at)
        lease = self._lease or LeaseReport(holder=None, epoch=0)
        lease = replace(lease, shown_by=self._about, word_at=None if self._word is None else said_at)
        report = self._word or Report(daemon=DaemonReport(running=False, config=self._config))
        running = self._away is not None or lease.holder is not None
        report = replace(report, daemon=replace(report.daemon, lease=lease, running=running))
        doubt = self._doubt()
        if doubt is None:
            return report
        since, why = doubt
        seen = report.sight if report.observation is not None else SightReport()
        began = self._instant(since) if seen.doubted_since is None else min(self._instant(since), seen.doubted_since)
        return replace(
            report,
            fleets={name: replace(fleet, converged=False) for name, fleet in report.fleets.items()},
            observation=replace(seen, doubted_since=min(began, now), doubt=why),
        )

    def doubted(self) -> str | None:
        """Why what it shows is not to be taken for good, in words that do not change with time; None where it is."""
        found = self._doubt(told=False)
        return None if found is None else found[1]

    def _doubt(self, *, told: bool = True) -> tuple[float, str] | None:
        """Since when, by the loop's clock, and why; ``told``: with how long it has lasted."""
        lease, age = self._lease, anyio.current_time() - self._said_at
        if self._away is not None:
            return self._heard_at, f"this replica stands by, and cannot ask who acts: {self._away}"
        if lease is None or lease.holder is None:
            return self._said_at, "no replica acts: none has the lease"
        if self._word is None or self._word_epoch != lease.epoch:
            return self._said_at, f"{lease.holder} has the lease, and has not ended a pass yet"
        if age > self._patience:
            lasts = f" for {span(timedelta(seconds=age))}" if told else ""
            return self._said_at, f"{lease.holder} has the lease, and has ended no pass{lasts}"
        return None

    def _instant(self, at: float) -> datetime:
        return self._now() - timedelta(seconds=max(anyio.current_time() - at, 0.0))
