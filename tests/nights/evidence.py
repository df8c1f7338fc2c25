"""The chain of evidence: the provider's call log, and the test's own record of use. Nothing that fleetd says counts.

No stop within ``after`` of the last use, and none ever under a lease or hold that was acknowledged. A stop is any
call that takes a machine from whoever uses it: stop, restart, destroy, of a machine that is up, answered or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fleetd.simulator.calls import Call
from tests.nights.draw import SCRAPE, STEP
from tests.nights.record import Record

MOMENT = 2 * STEP + SCRAPE + 15.0
"""Seconds: who begins to work so short before a stop cannot have been seen by a source that is asked in steps of 30 s
and may lack the newest one (docs/promises.md, what is not promised)."""
AT_ONCE = 0.001
"""Seconds: the call log rounds to the microsecond."""
TAKES = frozenset({"stop", "restart", "destroy"})
UP = frozenset({"ready", "serviceready"})


@dataclass(frozen=True)
class Finding:
    """A stop that should not have been."""

    at: float
    machine: str
    what: str

    def __str__(self) -> str:
        return f"{self.at:9.1f} s {self.machine}: {self.what}"


@dataclass(frozen=True)
class Judged:
    """What the evidence says of a night."""

    stops: int
    findings: tuple[Finding, ...]
    surprised: int
    """Stops of machines on which somebody began to work less than ``MOMENT`` before."""
    nearest: float
    """The shortest time between the last use and a stop, in ``after``."""


def judge(calls: Iterable[Call], record: Record, after: Mapping[str, float]) -> Judged:
    """Judge every stop. ``after``: seconds by machine id."""
    stops = [c for c in calls if c.operation in TAKES and c.state_before in UP and c.machine_id in after]
    findings = [finding for call in stops for finding in _against(call, record, after)]
    surprised = 0
    nearest = float("inf")
    for call in stops:
        at = call.loop_seconds
        surprised += any(u.machine == call.machine_id and at - MOMENT <= u.begins < at < u.ends for u in record.uses)
        ends = [end for _, end in _used(call, record) if end < at]
        nearest = min([nearest, *((at - end) / after[call.machine_id or ""] for end in ends)])
    return Judged(len(stops), tuple(findings), surprised, nearest)


def _against(call: Call, record: Record, after: Mapping[str, float]) -> Iterator[Finding]:
    at, machine = call.loop_seconds - AT_ONCE, call.machine_id or ""
    for lease in record.leases:
        if lease.machine == machine and lease.since < at < record.lease_end(lease):
            yield Finding(
                at, machine, f"{call.operation} under a lease that was acknowledged {at - lease.since:.3f} s before"
            )
    for hold in record.holds:
        if hold.machine == machine and hold.since < at < record.hold_end(hold):
            yield Finding(
                at, machine, f"{call.operation} under a hold that was acknowledged {at - hold.since:.3f} s before"
            )
    for kind, end in _used(call, record):
        if end < at and at - end < after[machine] - 1:
            yield Finding(
                at, machine, f"{call.operation} {at - end:.1f} s after the end of {kind}, not {after[machine]:g}"
            )
    for use in record.uses:
        if use.machine == machine and use.begins < at - MOMENT and use.ends >= at:
            yield Finding(
                at, machine, f"{call.operation} of a machine that has been in use for {at - use.begins:.0f} s"
            )


def _used(call: Call, record: Record) -> Iterator[tuple[str, float]]:
    """All use of its machine that had ended when the call arrived: what it was, and its end."""
    at, machine = call.loop_seconds, call.machine_id
    for use in record.uses:
        if use.machine == machine and use.begins < at - MOMENT:
            yield (
                f"a job of {use.ends - use.begins:.1f} s ({use.job.trick}, seen by {sorted(use.job.seen_by)})",
                use.ends,
            )
    for lease in record.leases:
        if lease.machine == machine and lease.since < at - AT_ONCE:
            yield "a lease", record.lease_end(lease)
    for hold in record.holds:
        if hold.machine == machine and hold.since < at - AT_ONCE:
            yield "a hold", record.hold_end(hold)
