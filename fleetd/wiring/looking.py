"""What commands look up: from the running daemon, else from the journal and the provider. Writes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fleetd.engine import books
from fleetd.engine.checks import Standing
from fleetd.engine.leases import Leases
from fleetd.engine.ports import SystemClock
from fleetd.engine.reconciler import PassReport
from fleetd.engine.status import status_document, time_text
from fleetd.engine.survey import survey
from fleetd.model.errors import StoreError
from fleetd.model.journal import HistoryEntry, IdleReport
from fleetd.model.plan import Check
from fleetd.model.settings import Settings
from fleetd.ops import logs
from fleetd.ops.control_client import NoAnswer, NoDaemon, NotAllowed, NotReached, OtherDaemon
from fleetd.planner.billing import MonthBills
from fleetd.planner.called import Named, meant, named, ours, the_one
from fleetd.store.lock import read_holder
from fleetd.store.paths import journal_path
from fleetd.store.port import Journal
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring.places import state_path
from fleetd.wiring.provider import ONE_SHOT_LIMIT, open_cloud, within
from fleetd.wiring.reaching import ask, at_its_state
from fleetd.wiring.running import idle_clocks


async def plan_once(
    settings: Settings,
    *,
    at: datetime | None = None,
    forecast: bool = False,
    on_silence: Callable[[int | None], object] = lambda _pid: None,
    on_other: Callable[[str], object] = lambda _who: None,
) -> PassReport:
    """``fleetd plan``: what the next pass would do, or one at another time. Writes nothing.

    Who is idle, and which policy checks wait for their next ring, is asked of the running daemon. Without one the
    idle sources are asked, from where its clocks stood, and every check is due, as after a start. So it is at another
    time: the schedules will have rung by then.

    Args:
        settings: what to plan for.
        at: when; None is now.
        forecast: work out every fleet's month, with a budget or without.
        on_silence: told the pid, where it is known, of a daemon that runs and does not answer.
        on_other: told of a daemon that acts on this state directory by another config; it is not asked.

    Raises:
        CloudError: the provider could not be looked at within 25 s.
        StoreError: the journal cannot be read.
    """
    running = None
    try:
        running = await _running_status(settings)
    except NoAnswer:
        on_silence(_holder(settings)["pid"])
    except OtherDaemon as other:
        on_other(str(other))
    idle = None if running is None else _idle_of(running)
    standing = None if running is None or at is not None else _checks_of(running)
    return await _survey(settings, at=at, idle=idle, standing=standing, forecast=forecast)


async def current_status(settings: Settings) -> dict[str, Any]:
    """``fleetd status``: from the running daemon, else from the journal and the API.

    Of a daemon that hangs, or cannot be reached, ``daemon`` has ``answers = False``, and ``why`` of the latter; the
    rest is from the journal and the API.

    Raises:
        NoAnswer: the daemon hangs, and the config has faults: there is nothing else to tell it from.
    """
    standing: dict[str, Any] = {"running": False, "pid": None, "since": None}
    try:
        running = await _running_status(settings, allowed_only=True)
    except (NoAnswer, NotAllowed) as error:
        if not settings.provider.kind:
            raise
        standing = {"running": True, "answers": False} | _holder(settings)
        if isinstance(error, NotAllowed | NotReached):
            standing["why"] = str(error)
    else:
        if running is not None:
            return running
    if not settings.provider.kind:
        raise NoDaemon(f"no daemon runs on {state_path(settings)}")
    report = await _survey(settings)
    daemon = standing | {
        "config": settings.source,
        "last_pass": None,
        "provider": "ok",
    }
    return status_document(report, daemon=daemon)


async def read_history(
    settings: Settings,
    *,
    since: datetime | None = None,
    fleet: str | None = None,
    machine: str | None = None,
    after_id: int = 0,
    limit: int | None = None,
) -> list[tuple[int, HistoryEntry]]:
    """``fleetd history``: entries with their row ids, oldest first.

    Raises:
        OtherDaemon: the journal is that of a daemon that runs on another config file.
    """
    settings = await at_its_state(settings)
    async with _journal(settings) as journal:
        words = [None] if machine is None else sorted({machine, *await _ids_of(settings, journal, machine)})
        rows: dict[int, HistoryEntry] = {}
        for word in words:
            rows.update(await journal.history(since=since, fleet=fleet, machine=word, after_id=after_id, limit=limit))
    found = sorted(rows.items(), key=lambda row: row[0])
    return found if limit is None else found[max(0, len(found) - limit) :]


async def knows_machine(settings: Settings, subject: str) -> bool:
    """Whether the journal or the running daemon knows, or knew, a machine by that id or name, or a hold on it."""
    settings = await at_its_state(settings)
    async with _journal(settings) as journal:
        if any(subject in {f.machine_id, f.name} for f in await journal.facts()):
            return True
        if await journal.history(machine=subject, limit=1):
            return True
    document = await _running_status(settings)
    return document is not None and bool(meant(subject, named(document["machines"])))


async def machine_meant(settings: Settings, word: str) -> Named:
    """The machine that is meant by hand, whoever owns it.

    By the account's listing, and by the names that the journal remembers. What nothing is called by is taken for an
    id: the provider may not list all that it has.

    Raises:
        LookupError: more than one machine is called so.
        CloudError: the account cannot be listed.
    """
    async with open_cloud(settings) as cloud:
        with within(ONE_SHOT_LIMIT):
            listing = await cloud.list_machines()
    try:
        async with _journal(settings) as journal:
            first = {f.machine_id: f.name for f in await journal.facts()}
    except StoreError:  # by hand it goes without a state directory
        first = {}
    known = [
        Named(m.id, m.name, former=first[m.id] if first.get(m.id, m.name) != m.name else "", state=m.state)
        for m in listing.machines
    ]
    found = meant(word, known)
    return the_one(word, known) if found else Named(word, word)


async def _ids_of(settings: Settings, journal: Journal, word: str) -> list[str]:
    """Ids of the machines that a word may mean, as far as somebody here knows."""
    remembered = ours((), {}, {f.machine_id: f for f in await journal.facts()})
    if any(n.id == word for n in remembered):
        return [word]
    try:
        document = await _running_status(settings)
    except NoDaemon:
        document = None
    seen = [] if document is None else named(document["machines"])
    there = {n.id for n in seen}
    return [n.id for n in meant(word, [*seen, *(n for n in remembered if n.id not in there)])]


def journal_mark(settings: Settings) -> tuple[object, ...]:
    """Changes when the journal may have: reading it again before that shows nothing new."""
    path = journal_path(state_path(settings))
    found: list[object] = []
    for one in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = one.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


async def month_bills(settings: Settings, month: str) -> MonthBills:
    """``fleetd cost``: by fleet, what a month (``YYYY-MM``) cost of everything that a fleetd made or adopted.

    The provider's word counts. Of a machine of which it tells nothing, or nothing that can be understood, the
    journal's: what it told last, and all that may have come since.

    Raises:
        OtherDaemon: the journal is that of a daemon that runs on another config file.
        CloudError: the provider could not be asked; ``Unsupported`` where the dialect has no billing data.
    """
    settings = await at_its_state(settings)
    async with _journal(settings) as journal, open_cloud(settings) as cloud:
        with within(ONE_SHOT_LIMIT):
            listing = await cloud.list_machines()
        return await books.month_bills(cloud, journal, settings.fleets, listing, month, datetime.now(UTC))


async def _running_status(settings: Settings, *, allowed_only: bool = False) -> dict[str, Any] | None:
    """None without a daemon; NoAnswer of one that hangs, OtherDaemon of one on another file.

    ``allowed_only``: NotAllowed where this user may not ask it; else that is as if there were none.
    """
    try:
        return await ask(settings, "GET", "/status")
    except NoAnswer:
        raise
    except NotAllowed:
        if allowed_only:
            raise
        return None
    except NoDaemon:
        return None


def _holder(settings: Settings) -> dict[str, Any]:
    holder = read_holder(state_path(settings))
    return {
        "pid": holder.pid if holder else None,
        "since": time_text(holder.since) if holder else None,
    }


def _idle_of(document: Mapping[str, Any]) -> dict[str, IdleReport]:
    """What a running daemon knows of who is idle."""
    return {
        row["id"]: IdleReport(
            row["idle"]["verdict"],
            None if row["idle"]["since"] is None else datetime.fromisoformat(row["idle"]["since"]),
            row["idle"]["evidence"],
        )
        for row in document["machines"]
        if row.get("idle") is not None
    }


def _checks_of(document: Mapping[str, Any]) -> Standing:
    """The policy checks that a running daemon makes again at their next ring only; none by one of another version."""
    names = {str(check): check for check in Check}
    return {
        machine: {names[name]: policy for name, policy in made.items() if name in names}
        for machine, made in document.get("checks_made", {}).items()
    }


async def _survey(
    settings: Settings,
    *,
    at: datetime | None = None,
    idle: Mapping[str, IdleReport] | None = None,
    standing: Standing | None = None,
    forecast: bool = False,
) -> PassReport:
    async with _scratch(settings) as journal, open_cloud(settings) as cloud:
        with within(ONE_SHOT_LIMIT), logs.silenced():
            clock = SystemClock()
            idleness = idle_clocks(journal, clock, Leases(journal))
            return await survey(
                settings, cloud, journal, clock, idleness, at=at, idle=idle, standing=standing, forecast=forecast
            )


@asynccontextmanager
async def _scratch(settings: Settings) -> AsyncIterator[SqliteJournal]:
    """The same, in a copy that takes what a pass would write."""
    journal = await SqliteJournal.open_scratch(journal_path(state_path(settings)))
    try:
        yield journal
    finally:
        await journal.aclose()


@asynccontextmanager
async def _journal(settings: Settings) -> AsyncIterator[SqliteJournal]:
    """What the journal holds at this moment, for looking only."""
    journal = await SqliteJournal.open_read_only(journal_path(state_path(settings)))
    try:
        yield journal
    finally:
        await journal.aclose()
