"""What commands look up: from the running daemon, else from the journal and the provider. Writes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime

from msgspec.structs import replace

from fleetd.model.journal import HistoryEntry
from fleetd.model.report import DaemonReport, Report
from fleetd.model.settings import Settings
from fleetd.ops.control_errors import NoAnswer, NoDaemon, NotAllowed, NotReached, UnusableAnswer
from fleetd.planner.lookup import meant, named, ours
from fleetd.store.lock import read_holder
from fleetd.store.paths import journal_path
from fleetd.store.port import Journal
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring.daemon_lookup import ask, at_its_state
from fleetd.wiring.extra import needs_postgres
from fleetd.wiring.places import state_path


async def current_status(settings: Settings) -> Report:
    """``fleetd status``: from the running daemon, else from the journal and the API; of replicas, with who acts.

    Raises:
        NoAnswer: the daemon hangs, and the config has faults: there is nothing else to tell it from.
        StoreError: the journal, or the database, cannot be asked.
    """
    report = await _current_status(settings)
    if settings.daemon.state is None or report.daemon.lease is not None:
        return report
    with needs_postgres(settings):
        from fleetd.wiring.replicas import lease_report  # noqa: PLC0415
    return replace(report, daemon=replace(report.daemon, lease=await lease_report(settings)))


async def _current_status(settings: Settings) -> Report:
    """As ``current_status``, of the daemon itself.

    Of a daemon that hangs, or cannot be reached, ``daemon`` has ``answers = False``, and ``why`` of the latter; the
    rest is from the journal and the API.

    Raises:
        NoAnswer: the daemon hangs, and the config has faults: there is nothing else to tell it from.
    """
    daemon = DaemonReport(running=False, config=settings.source, provider="ok")
    try:
        running = await running_status(settings, allowed_only=True)
    except (NoAnswer, NotAllowed) as error:
        if not settings.provider.kind:
            raise
        holder = read_holder(state_path(settings))
        daemon = replace(
            daemon,
            running=True,
            answers=False,
            pid=holder.pid if holder else None,
            since=holder.since if holder else None,
            why=str(error) if isinstance(error, NotAllowed | NotReached | UnusableAnswer) else None,
        )
    else:
        if running is not None:
            return running
    if not settings.provider.kind:
        raise NoDaemon(f"no daemon runs on {state_path(settings)}")
    # Only where no daemon answers: engine and provider take longer to import than a daemon to answer.
    from fleetd.engine.status import status_report  # noqa: PLC0415
    from fleetd.wiring.dry_run import look_once  # noqa: PLC0415

    return status_report(await look_once(settings), daemon=daemon)


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
    async with open_journal(settings) as journal:
        words = [None] if machine is None else sorted({machine, *await _ids_of(settings, journal, machine)})
        rows: dict[int, HistoryEntry] = {}
        for word in words:
            rows.update(await journal.history(since=since, fleet=fleet, machine=word, after_id=after_id, limit=limit))
    found = sorted(rows.items(), key=lambda row: row[0])
    return found if limit is None else found[max(0, len(found) - limit) :]


async def knows_machine(settings: Settings, subject: str) -> bool:
    """Whether the journal or the running daemon knows, or knew, a machine by that id or name, or a hold on it."""
    settings = await at_its_state(settings)
    async with open_journal(settings) as journal:
        if any(subject in {f.machine_id, f.name} for f in await journal.facts()):
            return True
        if await journal.history(machine=subject, limit=1):
            return True
    report = await running_status(settings)
    return report is not None and bool(meant(subject, named(report.machines)))


async def _ids_of(settings: Settings, journal: Journal, word: str) -> list[str]:
    """Ids of the machines that a word may mean, as far as somebody here knows."""
    remembered = ours((), {}, {f.machine_id: f for f in await journal.facts()})
    if any(n.id == word for n in remembered):
        return [word]
    try:
        report = await running_status(settings)
    except NoDaemon:
        report = None
    seen = [] if report is None else named(report.machines)
    there = {n.id for n in seen}
    return [n.id for n in meant(word, [*seen, *(n for n in remembered if n.id not in there)])]


def journal_mark(settings: Settings) -> tuple[object, ...]:
    """Changes when the journal may have: reading it again before that shows nothing new."""
    if settings.daemon.state is not None:
        return (object(),)  # nothing tells without asking the database
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


async def running_status(settings: Settings, *, allowed_only: bool = False) -> Report | None:
    """None without a daemon; NoAnswer of one that hangs, OtherDaemon of one on another file.

    ``allowed_only``: NotAllowed where this user may not ask it; else that is as if there were none.
    """
    try:
        return await ask(settings, Report, "GET", "/status")
    except NoAnswer:
        raise
    except NotAllowed:
        if allowed_only:
            raise
        return None
    except NoDaemon:
        return None


@asynccontextmanager
async def open_journal(settings: Settings) -> AsyncIterator[Journal]:
    """What the journal holds at this moment, for looking only."""
    if settings.daemon.state is not None:
        with needs_postgres(settings):
            from fleetd.wiring.replicas import replicated_journal  # noqa: PLC0415

        async with replicated_journal(settings) as replicated:
            yield replicated
        return
    async with aclosing(await SqliteJournal.open_read_only(journal_path(state_path(settings)))) as journal:
        yield journal
