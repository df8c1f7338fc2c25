"""A pass that only looks, on a copy of the journal: what ``plan`` and ``status`` without a daemon show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from fleetd.cloud.port import Cloud
from fleetd.engine.clocks import Agreement
from fleetd.engine.faults import Faults
from fleetd.engine.health import failing_for
from fleetd.engine.idleness import Idleness
from fleetd.engine.look import Look
from fleetd.engine.pace import Pace
from fleetd.engine.pass_report import PassReport
from fleetd.engine.ports import Clock
from fleetd.engine.recall import Recall
from fleetd.model.in_mind import NOTHING, InMind
from fleetd.model.journal import IdleReport
from fleetd.model.settings import Settings
from fleetd.store.port import Journal


async def survey(
    settings: Settings,
    cloud: Cloud,
    journal: Journal,
    clock: Clock,
    idleness: Idleness,
    *,
    at: datetime | None = None,
    agreement: Agreement | None = None,
    idle: Mapping[str, IdleReport] | None = None,
    mind: InMind = NOTHING,
    forecast: bool = False,
) -> PassReport:
    """Look at the world and plan, as the next pass does, without acting.

    Args:
        settings: what is wanted.
        cloud: only its reads are called.
        journal: a copy that nobody else reads: what a pass would settle and learn is written to it.
        clock: for the time of the look.
        idleness: asks the idle sources, from where the journal's clocks stand; closed at the end.
        at: plan as if it were then: what would be done tonight with the machines as they are now.
        agreement: told what the provider says of the time, which our clock is compared with.
        forecast: work out every fleet's month, with a budget or without.
        idle: what a running daemon was told last of who is idle; without it the sources are asked.
        mind: what a running daemon keeps in mind and not in the journal; without it, as after a start.

    Raises:
        CloudError: the provider could not be looked at.
    """
    meter = _NoMeter()
    faults = Faults(clock, meter)
    look = Look(
        cloud,
        Recall(journal, meter),
        clock,
        idleness,
        faults,
        lambda: Pace.of(settings),
        agreement=agreement,
        unanswered=lambda: mind.unanswered,
    )
    try:
        await look.load()
        look.assume(mind, idle)
        failing = failing_for(mind.failing_since, clock.now())
        seen = await look.look(settings, failing=failing, at=at, forecast=forecast)
    finally:
        await idleness.aclose()
    return PassReport.of(seen)


class _NoMeter:
    """Counts nothing: what only looks has done nothing."""

    def action(self, *, fleet: str, verb: str, result: str) -> None:
        """See ``Meter``."""

    def transition(self, *, verb: str, seconds: float) -> None:
        """See ``Meter``."""

    def reload(self, *, ok: bool) -> None:
        """See ``Meter``."""

    def fault(self, *, where: str) -> None:
        """See ``Meter``."""
