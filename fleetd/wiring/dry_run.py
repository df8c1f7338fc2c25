"""What commands work out by a look at the provider, and with the engine's own pass. Writes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

from msgspec.structs import replace

from fleetd.config import config_digest, configs_differ
from fleetd.engine import monthly_costs
from fleetd.engine.clocks import Agreement
from fleetd.engine.leases import Leases
from fleetd.engine.pass_report import PassReport
from fleetd.engine.ports import SystemClock
from fleetd.engine.survey import survey
from fleetd.model.errors import Fault, StoreError
from fleetd.model.in_mind import NOTHING, InMind
from fleetd.model.journal import IdleReport
from fleetd.model.report import Report
from fleetd.model.settings import Settings
from fleetd.ops import logs
from fleetd.ops.control_errors import NoAnswer, OtherDaemon
from fleetd.planner.billing import MonthBills
from fleetd.planner.lookup import Named, meant, the_one
from fleetd.store.lock import read_holder
from fleetd.store.paths import journal_path
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring.daemon_lookup import at_its_state
from fleetd.wiring.extra import needs_postgres
from fleetd.wiring.places import state_path
from fleetd.wiring.provider import open_cloud, within
from fleetd.wiring.queries import open_journal, running_status
from fleetd.wiring.running import idle_clocks
from fleetd.words.adoption import adoption_faults


async def plan_once(
    settings: Settings,
    *,
    at: datetime | None = None,
    forecast: bool = False,
    on_silence: Callable[[int | None], object] = lambda _pid: None,
    on_other: Callable[[str], object] = lambda _who: None,
    on_untold: Callable[[int | None], object] = lambda _pid: None,
) -> PassReport:
    """``fleetd plan``: what the next pass would do, or one at another time. Writes nothing.

    Who is idle, and what else it keeps in mind, is asked of the running daemon. Without one the idle sources are
    asked, from where its clocks stood, and the rest is as after a start: every check is due. So it is at another
    time: the schedules will have rung by then.

    Args:
        settings: what to plan for.
        at: when; None is now.
        forecast: work out every fleet's month, with a budget or without.
        on_silence: told the pid, where it is known, of a daemon that runs and does not answer.
        on_other: told of a daemon that acts on this state directory by another config; it is not asked.
        on_untold: told the pid, where it is known, of a daemon that answers and does not tell what it keeps in mind.

    Raises:
        CloudError: the provider could not be looked at within 25 s.
        StoreError: the journal cannot be read.
    """
    running = None
    try:
        running = await running_status(settings)
    except NoAnswer:
        holder = read_holder(state_path(settings))
        on_silence(holder.pid if holder else None)
    except OtherDaemon as other:
        on_other(str(other))
    if running is not None and not running.in_mind.config:
        on_untold(running.daemon.pid)
    idle = None if running is None else idle_of(running)
    mind = NOTHING if running is None else assumed(running.in_mind, settings, at)
    return await look_once(settings, at=at, idle=idle, mind=mind, forecast=forecast)


async def machine_meant(settings: Settings, word: str) -> Named:
    """The machine that is meant by hand, whoever owns it.

    By the account's listing, and by the names that the journal remembers. What nothing is called by is taken for an
    id: the provider may not list all that it has.

    Raises:
        LookupError: more than one machine is called so.
        CloudError: the account cannot be listed.
    """
    async with open_cloud(settings) as cloud:
        with within():
            listing = await cloud.list_machines()
    try:
        async with open_journal(settings) as journal:
            first = {f.machine_id: f.name for f in await journal.facts()}
    except StoreError:  # by hand it goes without a state directory
        first = {}
    known = [
        Named(m.id, m.name, former=first[m.id] if first.get(m.id, m.name) != m.name else "", state=m.state)
        for m in listing.machines
    ]
    found = meant(word, known)
    return the_one(word, known) if found else Named(word, word)


async def month_bills(settings: Settings, month: str) -> MonthBills:
    """``fleetd cost``: by fleet, what a month (``YYYY-MM``) cost of everything that a fleetd made or adopted.

    The provider's word counts. Of a machine of which it tells nothing, or nothing that can be understood, the
    journal's: what it told last, and all that may have come since.

    Raises:
        OtherDaemon: the journal is that of a daemon that runs on another config file.
        CloudError: the provider could not be asked; ``Unsupported`` where the dialect has no billing data.
    """
    settings = await at_its_state(settings)
    async with open_journal(settings) as journal, open_cloud(settings) as cloud:
        with within():
            listing = await cloud.list_machines()
        return await monthly_costs.month_bills(cloud, journal, settings.fleets, listing, month, datetime.now(UTC))


async def adoption_advice(settings: Settings) -> list[Fault]:
    """``fleetd check --online``: what the account lacks of what the fleets adopt, and what is unlike its fleet.

    Raises:
        CloudError: the account could not be listed within 25 s.
    """
    if not any(fleet.adopt for fleet in settings.fleets):
        return []
    async with open_cloud(settings) as cloud:
        with within():
            return list(adoption_faults(settings.fleets, await cloud.list_machines()))


async def look_once(
    settings: Settings,
    *,
    at: datetime | None = None,
    idle: Mapping[str, IdleReport] | None = None,
    mind: InMind = NOTHING,
    forecast: bool = False,
) -> PassReport:
    """A pass that only looks, on a copy of the journal. Arguments and errors as ``plan_once``."""
    clock = SystemClock()
    agreement = Agreement(clock)
    async with _scratch(settings) as journal, open_cloud(settings, on_date=agreement.told) as cloud:
        with within(), logs.silenced():
            return await survey(
                settings,
                cloud,
                journal,
                clock,
                idle_clocks(journal, clock, Leases(journal)),
                at=at,
                agreement=agreement,
                idle=idle,
                mind=mind,
                forecast=forecast,
            )


def idle_of(report: Report) -> dict[str, IdleReport]:
    """What a running daemon knows of who is idle."""
    return {
        m.id: IdleReport(m.idle.verdict, m.idle.since, m.idle.evidence)
        for m in report.machines
        if m.id is not None and m.idle is not None
    }


def assumed(mind: InMind, settings: Settings, at: datetime | None) -> InMind:
    """What the daemon will have in mind in that pass: the one after a reload, where the file says something new."""
    if configs_differ(mind.config, config_digest(settings)):
        mind = mind.reloaded()
    return mind if at is None else replace(mind, checks={})


@asynccontextmanager
async def _scratch(settings: Settings) -> AsyncIterator[SqliteJournal]:
    """The journal in a copy that takes what a pass would write."""
    if settings.daemon.state is not None:
        with needs_postgres(settings):
            from fleetd.wiring.replicas import replicated_scratch  # noqa: PLC0415

        journal = await replicated_scratch(settings)
    else:
        journal = await SqliteJournal.open_scratch(journal_path(state_path(settings)))
    async with aclosing(journal):
        yield journal
