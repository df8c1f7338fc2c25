"""The promises to people: what they use is not stopped (6), and what they forbid is not done (7, 14).

The chain of evidence for 6 is the provider's call log and the run's own record of use; what fleetd read or said of it
counts only as far as it shows that nobody could have known better.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleetd.model.fleet import Fleet
from fleetd.model.reasons import Verb
from fleetd.simulator.calls import Call
from tests.sim.breach import Breach
from tests.sim.grounds import BEFORE, FRESH, GRACE, fleet_of, ordered
from tests.sim.record import Record, Veto
from tests.sim.truth import UP, Truth, created_name, moment

STEPS_IN_A_ROW = 3
"""Intervals between passes: what began and ended within so many, and no reading met, nobody can have seen."""


def unknown_is_active(truth: Truth) -> Iterator[Breach]:
    """6. Nothing that is in use or leased, or of which nobody knows, is stopped; and after use, not for a while."""
    record = truth.record
    for call in truth.writes:
        if call.operation not in {"stop", "destroy", "restart"} or call.machine_id is None:
            continue
        at, machine = moment(call), call.machine_id
        if call.state_before not in UP or ordered(record, machine, at, forced=True):
            continue
        fleet, _ = fleet_of(truth, call)
        if fleet is None or fleet.idle is None:
            continue
        if record.leased(machine, at - BEFORE):
            yield Breach(6, at, f"{call.operation} of {machine} under a lease that was acknowledged")
        asked, said = record.heard.get(call.seq, (float("-inf"), "never asked"))
        if said != "idle" or at - asked > FRESH:
            yield Breach(6, at, f"{call.operation} of {machine}, whose activity was {said} {at - asked:.0f} s before")
        elif record.in_use(machine, asked):
            yield Breach(6, at, f"{call.operation} of {machine}, which is in use, on another one's word")
        elif not ordered(record, machine, at):
            yield from _taken_too_early(truth, fleet, call)


def _taken_too_early(truth: Truth, fleet: Fleet, call: Call) -> Iterator[Breach]:
    """Whatever the reason of a stop, unless a person ordered it: the last use must lie ``after`` back."""
    record, machine, at = truth.record, call.machine_id or "", moment(call)
    if fleet.idle is None:
        return
    after = fleet.idle.after.total_seconds()
    began = truth.change(machine, at - BEFORE)
    if began is not None and at - began.at < 0.85 * after - GRACE:
        yield Breach(6, at, f"{machine} taken {at - began.at:.0f} s after it came up")
    used = [span for span in record.uses.get(machine, ()) if _noticeable(record, machine, span, at)]
    used += [(lease.since, record.lease_end(lease)) for lease in record.leases if lease.machine_id == machine]
    last = max((min(ends, at) for begins, ends in used if begins < at), default=float("-inf"))
    if at - last < after - 1:
        yield Breach(6, at, f"{machine} taken {at - last:.0f} s after it was in use, not {after:.0f}")


def _noticeable(record: Record, machine: str, span: tuple[float, float], at: float) -> bool:
    """Whether a source reported a use, or had nothing to say during more than a moment of it."""
    begins, ends = span[0], min(span[1], at)
    settings = record.config(at)
    interval = 300.0 if settings is None else settings.daemon.interval.total_seconds()
    said = [what for t, what in record.readings.get(machine, ()) if begins <= t < ends]
    if not said:
        return ends - begins > STEPS_IN_A_ROW * interval + GRACE
    return "active" in said or len(said) > 1


def vetoes_are_obeyed(truth: Truth) -> Iterator[Breach]:
    """7. A hold or freeze is obeyed from the next call on; 14, also after a rename, a restart or a reload."""
    record = truth.record
    for call in truth.writes:
        if call.operation not in set(Verb):
            continue
        at = moment(call)
        fleet, _ = fleet_of(truth, call)
        name = created_name(call) if call.operation == "create" else truth.name(call.machine_id or "", at)
        for veto in record.vetoes:
            reached = record.wall(at) if veto.unattended else record.reached(at)
            if not veto.since + BEFORE < at < veto.until or reached >= veto.expires:
                continue
            hits = (
                (veto.machine_id or veto.subject) in {call.machine_id, name}
                if veto.kind == "hold"
                else veto.subject is None or (fleet is not None and veto.subject == fleet.name)
            )
            # A wall clock that was set back while the call was on its way revives what had expired.
            revived = any(at - GRACE < when <= at and by < 0 for when, by in record.steps)
            if hits and Verb(call.operation) in veto.verbs and not revived:
                what = f"{call.operation} of {call.machine_id or name} under a {veto.kind}"
                yield Breach(7, at, what)
                if _outlasted(truth, veto, at):
                    yield Breach(14, at, what)


def _outlasted(truth: Truth, veto: Veto, at: float) -> bool:
    """Whether something happened since that must not end a veto."""
    record = truth.record
    renamed = veto.machine_id is not None and truth.name(veto.machine_id, at) != veto.name
    restarted = any(veto.since < life.began <= at for life in record.lives)
    reloaded = any(veto.since < since <= at for since, _ in record.configs)
    return renamed or restarted or reloaded
