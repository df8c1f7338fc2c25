"""A pass that only looks: what ``plan``, and ``status`` without a daemon, are made of. Writes nothing, anywhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from fleetd.cloud.port import Cloud
from fleetd.engine.observer import Observer
from fleetd.engine.ports import Clock
from fleetd.engine.prices import Prices
from fleetd.engine.recall import Recall
from fleetd.engine.reconciler import PassReport
from fleetd.model.plan import Check
from fleetd.model.settings import Settings
from fleetd.planner.facts import expected_ids
from fleetd.planner.ownership import owners
from fleetd.planner.plan import plan
from fleetd.store.port import Journal


async def survey(
    settings: Settings, cloud: Cloud, journal: Journal, clock: Clock, *, at: datetime | None = None
) -> PassReport:
    """Look at the world and plan, without acting, learning or settling anything.

    Args:
        settings: what is wanted.
        cloud: only its reads are called.
        journal: only read.
        clock: for the time of the look.
        at: plan as if it were then: what would be done tonight with the machines as they are now.

    Raises:
        CloudError: the provider could not be looked at.
    """
    recall = Recall(journal)
    await recall.load()
    started = clock.now()
    intents = await journal.open_intents()
    expected = expected_ids(recall.facts, settings.fleets, intents, started)
    seen = await Observer(cloud, clock).observe(expected)
    memory = await recall.memory(clock.now(), provider_failing=timedelta(0))
    prices = Prices(cloud, journal)
    await prices.load()
    now = at or clock.now()
    decided = plan(
        settings.fleets,
        replace(seen, at=at) if at is not None else seen,
        memory,
        now,
        costs=replace(settings.costs, prices=prices.known(settings.costs.prices)),
        stale_after=2 * settings.daemon.interval,
        due={m.id: frozenset(Check) for m in seen.machines},
    )
    return PassReport(
        pass_id=0,
        started_at=started,
        duration_s=(clock.now() - started).total_seconds(),
        observation=seen,
        owned=owners(seen.machines, settings.fleets, memory.facts, memory.intents),
        plan=decided,
        skips=decided.skips,
        intents=memory.intents,
        memory=memory,
    )
