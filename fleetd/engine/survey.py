"""A pass that only looks: what ``plan``, and ``status`` without a daemon, are made of. Writes nothing, anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import anyio

from fleetd.cloud.port import Cloud
from fleetd.engine.checks import Checks
from fleetd.engine.idleness import Idleness
from fleetd.engine.ledger import Ledger
from fleetd.engine.observer import Observer
from fleetd.engine.ports import Clock
from fleetd.engine.prices import Prices
from fleetd.engine.recall import Recall
from fleetd.engine.reconciler import PassReport
from fleetd.engine.snapshots import Snapshots
from fleetd.model.journal import IdleReport, Memory
from fleetd.model.plan import NOTHING_DUE, Check, Due, Observation
from fleetd.model.settings import Settings
from fleetd.planner.facts import believed, expected_ids, learn, turned
from fleetd.planner.ownership import Owner, owners
from fleetd.planner.plan import plan
from fleetd.planner.policies import may_judge
from fleetd.store.port import Journal


async def survey(
    settings: Settings,
    cloud: Cloud,
    journal: Journal,
    clock: Clock,
    idleness: Idleness,
    *,
    at: datetime | None = None,
    idle: Mapping[str, IdleReport] | None = None,
    forecast: bool = False,
) -> PassReport:
    """Look at the world and plan, without acting, learning or settling anything.

    Args:
        settings: what is wanted.
        cloud: only its reads are called.
        journal: only read.
        clock: for the time of the look.
        idleness: asks the idle sources, from where the journal's clocks stand; closed at the end.
        at: plan as if it were then: what would be done tonight with the machines as they are now.
        forecast: work out every fleet's month, with a budget or without.
        idle: what a running daemon knows of who is idle; without it the sources are asked.

    Raises:
        CloudError: the provider could not be looked at.
    """
    recall = Recall(journal)
    await recall.load()
    started, began = clock.now(), anyio.current_time()
    intents = await journal.open_intents()
    expected = expected_ids(recall.facts, settings.fleets, intents, started)
    seen = await Observer(cloud, clock).observe(
        expected, lambda machines: turned(machines, recall.facts, settings.fleets, intents)
    )
    memory = await recall.memory(clock.now(), provider_failing=timedelta(0))
    seen = believed(seen, memory.facts)
    owned = owners(seen.machines, settings.fleets, memory.facts, memory.intents)
    if seen.sane:
        new = learn(seen, owned, memory.facts, memory.intents, await recall.made(seen, owned)).new
        memory = replace(memory, facts={**memory.facts, **{f.machine_id: f for f in new}})
        owned = owners(seen.machines, settings.fleets, memory.facts, memory.intents)
    due: Due = {machine: frozenset(Check) for machine in owned} if seen.sane else NOTHING_DUE
    if seen.sane:
        memory = replace(
            memory,
            idle=await _idle(settings, idleness, seen, owned, memory) if idle is None else idle,
            shown=await Checks(cloud).look(
                due, settings.fleets, seen.machines, owned, interval=settings.daemon.interval
            ),
        )
    prices = Prices(cloud, journal)
    await prices.load()
    moving = {i.machine_id for i in memory.intents}
    settled = [m for m in seen.machines if m.id in due and may_judge(m, moving)]
    await prices.learn(settled, settings.costs.prices, started, keep=False)
    ledger = Ledger(cloud, journal, clock)
    await ledger.load()
    memory = replace(memory, bills=ledger.month(started))
    now = at or clock.now()
    decided, memory = await Snapshots(cloud, clock).decide(
        memory,
        lambda known: plan(
            settings.fleets,
            replace(seen, at=at) if at is not None else seen,
            known,
            now,
            costs=replace(settings.costs, prices=prices.known(settings.costs.prices)),
            stale_after=2 * settings.daemon.interval,
            due=due,
            on_fault=lambda _where, error: f"{type(error).__name__}: {error}",
            forecast=forecast,
        ),
    )
    return PassReport(
        pass_id=0,
        started_at=started,
        duration_s=anyio.current_time() - began,
        observation=seen,
        owned=owned,
        plan=decided,
        skips=decided.skips,
        intents=memory.intents,
        memory=memory,
    )


async def _idle(
    settings: Settings, idleness: Idleness, seen: Observation, owned: Mapping[str, Owner], memory: Memory
) -> dict[str, IdleReport]:
    await idleness.load()
    await idleness.use(settings.idle_sources)
    try:
        return await idleness.refresh(
            settings.fleets, seen.machines, owned, memory.holds, interval=settings.daemon.interval
        )
    finally:
        await idleness.aclose()
