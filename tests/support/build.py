"""Short ways to make values for tables of decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetd.model.fleet import Fleet
from fleetd.model.journal import Hold, IdleReport, Intent, MachineFacts, Memory
from fleetd.model.machine import Machine, MachineEvent
from fleetd.model.naming import make_token
from fleetd.model.plan import Observation
from fleetd.model.reasons import Activity, Reason, Verb, VetoKind
from fleetd.planner.ownership import made_for

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PARAMETERS: Mapping[str, Any] = {
    "region": "East Coast (NY2)",
    "machineType": "P4000",
    "size": 50,
    "billingType": "hourly",
    "templateId": "tbu200wi",
}


def ago(**delta: float) -> datetime:
    return NOW - timedelta(**delta)


def later(**delta: float) -> datetime:
    return NOW + timedelta(**delta)


def token_name(n: int, fleet: str = "training") -> str:
    """The name of the fleet's n-th machine, with a valid token."""
    digits = [(n // 32**i) % 32 for i in range(5)]
    return f"{fleet}-{make_token(fleet, digits)}"


def fleet(name: str = "training", target: int = 3, **fields: Any) -> Fleet:
    fields.setdefault("machine_type", "P4000")
    fields.setdefault("region", "East Coast (NY2)")
    fields.setdefault("parameters", PARAMETERS)
    return Fleet(name=name, target=target, **fields)


def machine(n: int, state: str = "ready", *, fleet: str = "training", **fields: Any) -> Machine:
    fields.setdefault("name", token_name(n, fleet))
    fields.setdefault("machine_type", "P4000")
    fields.setdefault("region", "East Coast (NY2)")
    fields.setdefault("created_at", ago(days=30) + timedelta(minutes=n))
    return Machine(id=f"ps{n}", state=state, **fields)


def machines(spec: str, *, first: int = 1, fleet: str = "training") -> tuple[Machine, ...]:
    """``"ready ready off"``: one machine a word."""
    return tuple(machine(first + i, state, fleet=fleet) for i, state in enumerate(spec.split()))


def facts(n: int, *, fleet: str = "training", **fields: Any) -> MachineFacts:
    fields.setdefault("first_seen", ago(days=30))
    fields.setdefault("last_seen", NOW)
    fields.setdefault("last_state", "ready")
    return MachineFacts(machine_id=f"ps{n}", fleet=fleet, name=fields.pop("name", token_name(n, fleet)), **fields)


def intent(verb: Verb, n: int | None = None, **fields: Any) -> Intent:
    fields.setdefault("id", 1)
    fields.setdefault("fleet", "training")
    fields.setdefault("name", token_name(n or 99, fields["fleet"]))
    fields.setdefault("reason", Reason.SHORT_OF_TARGET)
    fields.setdefault("created_at", ago(seconds=60))
    fields.setdefault("deadline_at", later(minutes=10))
    return Intent(verb=verb, machine_id=None if n is None else f"ps{n}", **fields)


def event(name: str, state: str = "done", *, handle: str = "", error: str = "") -> MachineEvent:
    return MachineEvent(name=name, state=state, handle=handle or f"{name}-{state}", error=error)


def hold(subject: str | None = "ps1", kind: str = "hold", **fields: Any) -> Hold:
    fields.setdefault("reason", "in use")
    fields.setdefault("actor", "ada")
    fields.setdefault("created_at", ago(hours=1))
    fields.setdefault("expires_at", later(hours=1))
    return Hold(id=1, subject=subject, kind=VetoKind(kind), **fields)


def idle(verdict: str = "idle", minutes: float = 120, **fields: Any) -> IdleReport:
    since = ago(minutes=minutes) if verdict == "idle" else None
    return IdleReport(verdict=Activity(verdict), idle_since=since, evidence=f"gpu {verdict}", at=NOW, **fields)


def seen(*listed: Machine, at: datetime = NOW, **fields: Any) -> Observation:
    return Observation(at, tuple(listed), **fields)


def remembered(observation: Observation, known: Memory) -> Memory:
    """With facts of every machine that was seen: the journal has made them all."""
    made = {
        m.id: MachineFacts(m.id, m.name.rpartition("-")[0], m.name, ago(days=30), NOW, m.state)
        for m in observation.machines
        if m.id not in known.facts and made_for(m.name) is not None
    }
    return replace(known, facts={**made, **known.facts})


def memory(**fields: Any) -> Memory:
    fields["facts"] = {f.machine_id: f for f in fields.get("facts", ())}
    fields["idle"] = fields.get("idle", {})
    return Memory(**fields)
