"""Marks a report as doubtful when no look has ended for too long."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from fleetd.model.report import Report

OVERDUE = "no pass has come to its end since then"
"""Why what is shown is doubted, where nothing else is wrong with it."""


def patience_of(interval: timedelta) -> timedelta:
    """How old a look may be and still count as one of now: a few passes, and a minute for a slow provider."""
    return 3 * interval + timedelta(minutes=1)


def aged(report: Report, now: datetime, patience: timedelta) -> Report:
    """The report as it can be relied on now: one that was made by a look older than ``patience`` is doubted.

    A pass may take long, at a provider that answers slowly, and fails only at its end: until then the report is as
    good as ever, and old.
    """
    seen = report.observation
    if seen is None or seen.believed_at is None or seen.doubted_since is not None:
        return report
    if now - seen.believed_at <= patience:
        return report
    fleets = {name: replace(fleet, converged=False) for name, fleet in report.fleets.items()}
    return replace(report, observation=replace(seen, doubted_since=seen.believed_at, doubt=OVERDUE), fleets=fleets)
