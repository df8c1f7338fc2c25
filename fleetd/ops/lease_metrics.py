"""Numbers about the lease, of the replica that has it and of those that stand by; and all that the latter show."""

from __future__ import annotations

from datetime import datetime

from fleetd.model.report import LeaseReport, Report
from fleetd.ops.metric_rows import Rows
from fleetd.words.leases import WHY


class LeaseRows:
    """The series about the lease; none without ``daemon.state``."""

    def __init__(self) -> None:
        self._held = Rows("fleetd_lease_held", "1 on the replica that acts, 0 on one that stands by.", ())
        self._takeovers = Rows(
            "fleetd_lease_takeovers",
            "How often the lease was taken, by all replicas together: the same on each.",
            ("reason",),
            counts=True,
        )
        self._age = Rows(
            "fleetd_lease_word_age_seconds", "On a standby: age of what the replica that acts has said last.", ()
        )
        self._differs = Rows(
            "fleetd_lease_standbys",
            "Replicas that stand by, as the one that acts sees them, by whether their config is the same.",
            ("config",),
        )
        self.rows = (self._held, self._takeovers, self._age, self._differs)

    def show(self, lease: LeaseReport | None, now: datetime) -> None:
        """Set every series."""
        if lease is None:
            return
        stands_by = lease.shown_by is not None
        self._held.fill({(): float(not stands_by)})
        often: dict[tuple[str, ...], float] = {(reason,): float(count) for reason, count in lease.takeovers.items()}
        self._takeovers.fill(often, always=((reason,) for reason in WHY))
        if not stands_by:
            differ = sum(s.config_differs for s in lease.standbys)
            self._differs.fill({("same",): float(len(lease.standbys) - differ), ("other",): float(differ)})
        elif lease.word_at is not None:
            self._age.fill({(): max(0.0, (now - lease.word_at).total_seconds())})


class StandbyMetrics:
    """What ``/metrics`` of a standby shows: nothing of fleets, which every replica would count once more."""

    def __init__(self, *, version: str, began: datetime) -> None:
        """``began``: when it began to stand by; one that keeps being restarted is seldom seen to be down."""
        self._lease = LeaseRows()
        self._started = Rows("fleetd_start_timestamp_seconds", "When the replica began to stand by, Unix time.", ())
        self._started.fill({(): began.timestamp()})
        self._reloaded = Rows(
            "fleetd_config_last_reload_successful", "1 when the config it would act on is the one in the file.", ()
        )
        self.reload(ok=True)
        self._build = Rows("fleetd_build_info", "Always 1; the version is in the label.", ("version",))
        self._build.fill({(version,): 1.0})

    def reload(self, *, ok: bool) -> None:
        """The config was read again."""
        self._reloaded.fill({(): float(ok)})

    def show(self, report: Report, now: datetime) -> None:
        """Set every series."""
        self._lease.show(report.daemon.lease, now)

    def render(self) -> bytes:
        """The text that Prometheus scrapes, of ``CONTENT_TYPE``."""
        return "".join(
            rows.text() for rows in (self._build, self._started, self._reloaded, *self._lease.rows)
        ).encode()
