"""What an intent costs on each store on the same disk, and what an account costs the database in an hour and a day.

The hour is played on virtual time by the engine as it ships; what it writes goes to a real server, which is asked for
its log's growth. Needs PostgreSQL's programs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio

from fleetd.engine.status import status_report
from fleetd.model.fleet import IdleRule
from fleetd.model.reasons import Activity, Outcome
from fleetd.model.report import DaemonReport, encoded
from tests.store.stores import FileStore, ServerStore, Store
from tests.store.test_journal import INTENT
from tests.support.build import NOW, fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual, virtual_clock

if TYPE_CHECKING:
    from tests.sim.keeping_elsewhere import InDatabase

INTERVAL = 30.0
"""Seconds between passes: the config's default."""
DAY = 24


@dataclass(frozen=True)
class Intents:
    """Seconds for each of so many, sorted; bytes of the log for one from its writing to its end."""

    file: Sequence[float]
    server: Sequence[float]
    log: float


@dataclass(frozen=True)
class Hour:
    """Of an account, at its target all the while."""

    passes: int
    bulletin: int
    """Bytes of one, as it is left."""
    bulletins_log: int
    """Bytes that all of them added to the server's log."""
    journal_log: int
    """And what the journal added."""
    renewal_log: float
    """One renewal of the lease."""
    rows: int
    """Inserted and updated."""
    size: int
    """Bytes of the database at the end."""


def intents(number: int) -> Intents:
    """So many on each store, in turns of ten."""
    from tests.support.postgres import running_server

    with tempfile.TemporaryDirectory(prefix="fleetd-bench-") as place, running_server() as server:
        return anyio.run(_intents, number, Path(place), server.create())


async def _intents(number: int, place: Path, url: str) -> Intents:
    stores: list[Store] = [FileStore(place / "journal.db"), await ServerStore.make(url)]
    journals = [await store.open(threaded=True) for store in stores]
    took: list[list[float]] = [[], []]
    for turn in range(0, number, 10):
        for journal, times in zip(journals, took, strict=True):
            for n in range(turn, turn + 10):
                began = time.perf_counter()
                await journal.write_intent(replace(INTENT, name=f"training-{n}"))
                times.append(time.perf_counter() - began)
    before = written(url)
    for n in range(number):
        intent = await journals[1].write_intent(replace(INTENT, name=f"whole-{n}"))
        await journals[1].update_intent(intent.id, machine_id=f"ps{n}", accepted_at=NOW)
        await journals[1].close_intent(intent.id, at=NOW, outcome=Outcome.REACHED)
    log = (written(url) - before) / number
    for journal, store in zip(journals, stores, strict=True):
        await journal.aclose()
        await store.aclose()
    return Intents(*map(sorted, took), log=log)


def hour(machines: int, *, passes: int = int(3600 / INTERVAL)) -> Hour:
    """So many machines of one fleet, seven in ten of them in use."""
    from tests.sim.keeping_elsewhere import InDatabase
    from tests.support.postgres import running_server

    with running_server() as server:
        url = server.create()
        database = InDatabase(url, ttl=3600)
        try:
            found: Hour = run_virtual(_hour, machines, passes, database, url)
        finally:
            database.close()
        return found


async def _hour(machines: int, passes: int, database: InDatabase, url: str) -> Hour:
    from fleetd.store.postgres.bulletin import leave, packed
    from tests.support.postgres import execute

    cloud = FakeCloud(virtual_clock())
    for n in range(1, machines + 1):
        tens, ones = divmod(n, 250)
        cloud.add(token_name(n), private_ip=f"10.0.{tens}.{ones}", public_ip=f"64.62.{tens}.{ones}")
    source = ScriptedSource(says=lambda m: Activity.IDLE if int(m.id[2:]) % 10 > 6 else Activity.ACTIVE)
    wanted = fleet(target=machines, idle=IdleRule(sources=("gpu",)))
    life: Any = SimpleNamespace(number=1, dead=False, check=lambda: None)
    free = database.free("bench")
    async with (
        database.journal(life, lambda: None) as journal,
        rig(wanted, cloud=cloud, journal=journal, sources={"gpu": source}) as world,
        world.passes_by_hand(),
    ):
        await world.reconciler.run_pass()
        began, said, length = written(url), 0, 0
        rows = _rows(url)
        for _ in range(passes):
            await anyio.sleep(INTERVAL)
            report = await world.reconciler.run_pass()
            text = packed(encoded(status_report(report, daemon=DaemonReport(running=True, provider="ok"))))
            before, length = written(url), len(text)
            database.wait(leave(free, 1, text))
            said += written(url) - before
        ended = written(url)
        [(size,)] = execute(url, "SELECT pg_database_size(current_database())")
        changed = _rows(url) - rows
        before = written(url)
        for _ in range(20):
            database.wait(database.leases[-1].renew())
        renewal = (written(url) - before) / 20
    database.wait(free.aclose())
    return Hour(passes, length, said, ended - began - said, renewal, changed, int(str(size)))


def written(url: str) -> int:
    """Bytes of the server's log so far."""
    from tests.support.postgres import execute

    [(position,)] = execute(url, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    return int(str(position))


def _rows(url: str) -> int:
    from tests.support.postgres import execute

    time.sleep(1.2)  # sessions tell of what they did once a second
    [(rows,)] = execute(url, "SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_user_tables")
    return int(str(rows))


def table(machines: int, number: int, *, passes: int = int(3600 / INTERVAL)) -> list[str]:
    """The lines for people."""
    one, all_ = intents(number), hour(machines, passes=passes)
    renewals = 3600 / 5 * all_.renewal_log * DAY
    share = DAY * 3600 / INTERVAL / all_.passes
    lines = [f"{'one intent, ' + str(number) + ' on each store':<46} {'median':>10} {'95 %':>10}"]
    for name, times in (("a file (SQLite)", one.file), ("a database (PostgreSQL)", one.server)):
        slow = times[int(len(times) * 0.95)]
        lines.append(f"{name:<46} {statistics.median(times) * 1e3:>7.2f} ms {slow * 1e3:>7.2f} ms")
    return [
        *lines,
        f"{'its log, from its writing to its end':<46} {one.log / 1e3:>7.1f} kB",
        "",
        f"{f'{machines:,} machines, a day without a change':<46} {'':>10}",
        f"{'a bulletin':<46} {all_.bulletin / 1e3:>7.1f} kB",
        f"{'log of bulletins, one a pass':<46} {all_.bulletins_log * share / 1e6:>7.0f} MB",
        f"{'log of the journal':<46} {all_.journal_log * share / 1e6:>7.0f} MB",
        f"{'log of the lease':<46} {renewals / 1e6:>7.1f} MB",
        f"{'rows inserted and updated':<46} {all_.rows * share:>10,.0f}",
        f"{'the database, after that hour':<46} {all_.size / 1e6:>7.1f} MB",
    ]
