"""What is true of a run of two replicas: the provider's call log, and the database's own word on the lease."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fleetd.simulator.calls import Call
from tests.sim.record import Record, Veto
from tests.sim.replicas.server import Tenure, Written


@dataclass(slots=True, eq=False)
class Sent:
    """A request that has left a process."""

    at: float
    life: int
    host: str
    call: Call | None = None
    """What the provider made of it; None where it never arrived."""


@dataclass(slots=True)
class Kept(Veto):
    """A veto, from the moment on in which its command returned."""

    clock_ahead: float = 0.0
    """Of the host where it was given, before the provider's, in seconds."""


@dataclass(slots=True)
class ReplicaRecord(Record):
    """A run. Times are the loop's; ``database_ahead`` is what the database's clock is ahead of it."""

    sent: list[Sent] = field(default_factory=list)
    holders: dict[int, str] = field(default_factory=dict)
    """By life: the id by which the lease's row names it."""
    names: dict[str, int] = field(default_factory=dict)
    """Lives, by what the database calls their connections."""
    tenures: list[Tenure] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    database_ahead: float = 0.0
    known: frozenset[str] = frozenset()
    """Ids of machines that the replica which acts at the end has for its own."""
    clocks: list[tuple[float, int, float]] = field(default_factory=list)
    """(from when on, which life, by how many seconds its wall clock is ahead of the provider's)."""
    cuts: list[tuple[str, float, float]] = field(default_factory=list)
    """(which host, from when, until when) was cut off from the database."""
    seen: Counter[str] = field(default_factory=Counter)
    """What has come about, beside what was drawn."""
