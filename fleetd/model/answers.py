"""What a daemon answers to orders, as values; encoded and decoded as reports are (``model.report``)."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, structs

from fleetd.model.instant import Instant
from fleetd.model.journal import Hold
from fleetd.model.report import StepReport, VetoReport, veto_report


class VetoTaken(VetoReport, frozen=True, kw_only=True):
    """The answer to ``hold`` and ``freeze``."""

    machines: tuple[str, ...] = ()
    """Ids of what is held; none where nobody could be asked."""


class Lifted(Struct, frozen=True, kw_only=True):
    """The answer to ``release`` and ``unfreeze``."""

    removed: int
    left: tuple[VetoReport, ...] = ()
    """Freezes that go on."""


class Adopted(Struct, frozen=True, kw_only=True):
    """The answer to ``adopt``."""

    machine: str
    """Id."""
    name: str
    fleet: str
    confirmed: bool
    """False where nobody doubted it."""


class OrderTaken(Struct, frozen=True, kw_only=True):
    """The answer to ``start``, ``stop`` and ``restart``."""

    verb: str
    machine: str
    """Id."""
    name: str
    fleet: str
    lifted: tuple[VetoReport, ...] = ()
    """What kept it off until now."""
    result: str
    """begun, already_so or undecided."""
    transition: StepReport | None = None
    kept_off_until: Instant | None = None
    state: str | None = None
    """Of ``already_so``."""


class LeaseTaken(Struct, frozen=True, kw_only=True):
    """The answer to a lease."""

    machine: str
    """Id."""
    source: str
    until: Instant


class Reloaded(Struct, frozen=True, kw_only=True):
    """The answer to ``reload``."""

    reloaded: bool
    config: str | None = None
    """The file that was read."""
    replica: str | None = None
    """Which of several replicas has read it; None of a daemon that is alone."""
    acts: bool = True
    """Whether it acts on it from now on; else it does once it takes over."""


class SteppingDown(Struct, frozen=True, kw_only=True):
    """The answer to ``step-down``: the holder ends its calls, and then gives the lease back."""

    holder: str
    """Its host and pid."""
    epoch: int
    """Of its lease: whoever has it next has a higher one."""
    standbys: tuple[str, ...]
    """Who may take over."""


class WhoIs(Struct, frozen=True, kw_only=True):
    """Which daemon listens."""

    pid: int
    config: str
    """Its config file, absolute."""
    state_dir: str
    """Absolute."""
    stands_by: bool = False
    """Whether it is a replica that does not act: it takes a reload, and nothing else."""
    state: str | None = None
    """Of a replica: the address of the database with its journal, where whoever acts is found; without a password."""
    state_password: dict[str, str] | None = None
    """Where the config has its password from, as it stands there; None: it asks for none."""


def veto_taken(hold: Hold, machines: Iterable[str]) -> VetoTaken:
    """The answer to ``hold`` and ``freeze``; ``machines``: ids of what is held, "" where one is not known yet."""
    return VetoTaken(**structs.asdict(veto_report(hold)), machines=tuple(m for m in machines if m))
