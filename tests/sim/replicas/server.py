"""PostgreSQL's stand-in: the tables in memory, transactions, the locks that fleetd relies on, restarts.

What is kept of the real one, as ``tests/store/test_contract.py`` shows on both: a transaction's changes are seen by
others when it commits, and before by itself alone; ``FOR SHARE`` and ``FOR UPDATE`` on the lease's row, and changes
of it, wait for each other; a statement that waited for a row that has changed meanwhile is decided anew, by the clock
of then; a session that is idle in a transaction is ended after 3 s, and one whose client has gone is rolled back.
Rows of other tables are locked by whoever changed any of them: PostgreSQL locks each, here one waits sooner.

Not kept: a REPEATABLE READ transaction sees what is committed at each of its statements.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import errors

from tests.sim.replicas.locks import Lock
from tests.sim.replicas.sql import Cells, cells_of, instant, meant, tables

IDLE = 3.0
"""Seconds that a session may be idle in a transaction; fleetd asks for it in every session."""

sqlite3.register_converter("TIMESTAMPTZ", instant)

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Tenure:
    """The lease's row from a commit on."""

    at: float
    """Of the database's clock, as all of them."""
    holder: str | None
    epoch: int
    expires_at: float
    about: str
    by: str
    """Which process wrote it."""


@dataclass(frozen=True, slots=True)
class Written:
    """An intent that was committed."""

    at: float
    by: str
    """Which process wrote it."""
    holder: str
    """Whose the lease was then, by its row."""
    name: str
    verb: str


@dataclass(slots=True)
class Statement:
    """One that a transaction has made, to be made again when it commits."""

    text: str
    cells: Cells
    clock: float
    number: int
    wall: float = 0.0
    """The asking process's own clock, which no sound build asks."""


@dataclass(slots=True)
class Result:
    """What a statement gave."""

    rows: list[Row] = field(default_factory=list)
    count: int = -1


class Server:
    """The database's server.

    Args:
        clock: seconds of its own clock.
        rng: draws how long a commit takes, and what became of those that a crash met.
    """

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        self.clock = clock
        self._rng = rng
        self.up = True
        self.flush = (0.0005, 0.003)
        """Least and most seconds that a commit takes."""
        self.sessions: list[Session] = []
        self.row = Lock()
        """The lease's."""
        self.tables: defaultdict[str, Lock] = defaultdict(Lock)
        self.versions = 0
        """How often the lease's row has changed."""
        self.misunderstood: list[str] = []
        """Statements that the stand-in cannot do: nothing that follows them means anything."""
        self.tenures: list[Tenure] = []
        self.written: list[Written] = []
        self._numbers: defaultdict[str, int] = defaultdict(int)
        self._then = self._wall = 0.0
        self._db = sqlite3.connect(":memory:", isolation_level=None, detect_types=sqlite3.PARSE_DECLTYPES)
        self._db.create_function("clock", 0, lambda: self._then)
        self._db.create_function("wall", 0, lambda: self._wall)
        for statement in tables():
            self._db.execute(statement)

    def now(self) -> float:
        """By its own clock, to the microsecond."""
        return round(self.clock(), 6)

    def crash(self) -> None:
        """Every session ends; a commit under way has come to the disk, or has not."""
        self.up = False
        for session in list(self.sessions):
            if session.flushing and self._rng.random() < 0.5:
                session.commit_now()
            session.end(errors.AdminShutdown("server closed the connection unexpectedly"))

    def start(self) -> None:
        """Take connections again."""
        self.up = True

    def asked(self, sql: str, *cells: object) -> list[Row]:
        """By somebody else's hand, at once and behind no lock: as ``execute`` of ``tests.support.postgres``."""
        statement = Statement(sql, list(cells), self.now(), self.number(sql))
        result = self.run([], statement)
        if meant(sql).writes is not None:
            self.commit([statement], "by hand")
        return result.rows

    def number(self, text: str) -> int:
        """The next of the sequence of the table that a statement adds to."""
        table = meant(text).writes
        if table is None or not text.lstrip().startswith("INSERT"):
            return 0
        self._numbers[table] += 1
        return self._numbers[table]

    def run(self, before: list[Statement], statement: Statement) -> Result:
        """What a statement gives after those that its transaction has made before; nothing stays of it."""
        if not before and meant(statement.text).writes is None:
            return self._execute(statement)
        self._db.execute("BEGIN")
        try:
            for one in before:
                self._execute(one)
            return self._execute(statement)
        finally:
            self._db.execute("ROLLBACK")

    def matches(self, before: list[Statement], statement: Statement) -> bool:
        """Whether the lease's row is one that a statement is about."""
        asks, skip = meant(statement.text).asks
        self._db.execute("BEGIN")
        try:
            for one in before:
                self._execute(one)
            self._then, self._wall = statement.clock, statement.wall
            cells = cells_of(statement.cells)
            own = cells if isinstance(cells, dict) else list(cells)[skip:]  # type: ignore[call-overload]
            return self._db.execute(asks, own).fetchone() is not None
        except sqlite3.Error as error:
            self.misunderstood.append(f"{error}: {asks}")
            raise errors.SyntaxError(str(error)) from error
        finally:
            self._db.execute("ROLLBACK")

    def commit(self, statements: list[Statement], by: str) -> None:
        """Make a transaction's changes what everybody sees."""
        self._db.execute("BEGIN")
        for statement in statements:
            self._execute(statement)
        self._db.execute("COMMIT")
        changed = {meant(s.text).writes for s in statements}
        if "lease" in changed:
            self.versions += 1
            for row in self._db.execute("SELECT holder, epoch, expires_at + 0, about FROM lease"):
                self.tenures.append(Tenure(self.now(), *row, by))
        for statement in statements:
            if meant(statement.text).writes == "intent" and statement.number:
                found = self._db.execute("SELECT name, verb FROM intent WHERE id = ?", (statement.number,)).fetchone()
                if found is not None:
                    holder = self._db.execute("SELECT holder FROM lease").fetchone()[0]
                    self.written.append(Written(self.now(), by, holder or "", *found))

    def ring(self, channel: str) -> None:
        """Tell whoever listens."""
        for session in list(self.sessions):
            if channel in session.channels:
                session.on_notice(channel)

    async def flushed(self) -> None:
        """Wait until a commit is on the disk."""
        await asyncio.sleep(self._rng.uniform(*self.flush))

    def _execute(self, statement: Statement) -> Result:
        sql = meant(statement.text).sql
        if statement.number:
            sql = sql.replace("{number}", str(statement.number), 1)
        self._then, self._wall = statement.clock, statement.wall
        try:
            cursor = self._db.execute(sql, cells_of(statement.cells))  # type: ignore[arg-type]
            rows = cursor.fetchall()
        except sqlite3.IntegrityError as error:
            raise errors.IntegrityError(str(error)) from error
        except sqlite3.Error as error:
            self.misunderstood.append(f"{error}: {statement.text}")
            raise errors.SyntaxError(str(error)) from error
        return Result(rows, cursor.rowcount if meant(statement.text).writes else len(rows))


class Session:
    """One connection's, at the server."""

    def __init__(
        self,
        server: Server,
        who: str,
        on_notice: Callable[[str], None],
        wall: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.server = server
        self.wall = wall
        self.who = who
        """Which process has it."""
        self.on_notice = on_notice
        self.on_end: Callable[[psycopg.Error], None] = lambda _why: None
        self.channels: set[str] = set()
        self.ended: psycopg.Error | None = None
        self.flushing = False
        self._open = self._busy = self._gone = False
        self._made: list[Statement] = []
        self._rings: list[str] = []
        self._idle: asyncio.TimerHandle | None = None
        server.sessions.append(self)

    @property
    def wrote(self) -> bool:
        """Whether its transaction has changed anything."""
        return bool(self._made)

    def begin(self) -> None:
        """A transaction begins with the next statement."""
        self._open = self.ended is None

    def answers_at_once(self, text: str) -> bool:
        """Whether a message neither waits for a lock nor for the disk."""
        if text == "COMMIT":
            return not self._made
        what = meant(text)
        return what.writes is None and what.locks is None and _is_look(text)

    def do_now(self, text: str, cells: Cells) -> Result:
        """One message that ``answers_at_once``. Raises as ``do``."""
        if self.ended is not None:
            raise self.ended
        self._not_idle()
        if text == "COMMIT":
            self.commit_now()
            return Result()
        try:
            return self.server.run(self._made, Statement(text, cells, self.server.now(), 0, self.wall()))
        finally:
            self._begin_idling()

    async def do(self, text: str, cells: Cells) -> Result:
        """One message of the client's.

        Raises:
            psycopg.Error: what the server says.
        """
        if self.ended is not None:
            raise self.ended
        self._not_idle()
        self._busy = True
        try:
            return await self._do(text, cells)
        finally:
            self._busy = False
            self._begin_idling()
            if self._gone:
                self.hang_up()

    def hang_up(self) -> None:
        """The client has gone, which is noticed when it is to be answered."""
        self._gone = True
        if not self._busy:
            self.end(errors.OperationalError("the client has gone"))

    def end(self, why: psycopg.Error) -> None:
        """The session is over, and what it had not committed is as if it had not been."""
        if self.ended is None:
            self.ended = why
            self._roll_back()
            self._not_idle()
            self.server.sessions.remove(self)
            self.on_end(why)

    def commit_now(self) -> None:
        """What it has made is there."""
        if self._made:
            self.server.commit(self._made, self.who)
        rings = self._rings
        self._roll_back()  # of what is committed nothing is left to be undone
        for channel in rings:
            self.server.ring(channel)

    async def _do(self, text: str, cells: Cells) -> Result:
        match text.split(maxsplit=1)[0], text:
            case "BEGIN", _:
                self._open = True
            case "ROLLBACK", _:
                self._roll_back()
            case "COMMIT", _:
                await self._commit()
            case "LISTEN", _:
                self.channels.add(text.split()[1])
            case "NOTIFY", _:
                self._rings.append(text.split()[1])
            case "SET", _:
                pass
            case _ if "FROM pg_class" in text:
                return Result([(True,)], 1)  # the tables are there
            case _:
                return await self._run(text, cells)
        return Result()

    async def _run(self, text: str, cells: Cells) -> Result:
        server, what = self.server, meant(text)
        statement = Statement(text, cells, server.now(), server.number(text), self.wall())
        versions = server.versions
        if what.locks is not None:
            if server.matches(self._made, statement):
                await server.row.take(self, what.locks)
                self._still_there()
                if server.versions != versions:
                    statement.clock = server.now()
        elif what.writes is not None:
            asked = server.now()
            await server.tables[what.writes].take(self, "update")
            self._still_there()
            if server.now() > asked:
                statement.clock = server.now()
        result = server.run(self._made, statement)
        if what.writes is not None:
            self._made.append(statement)
            if not self._open:
                self.commit_now()
        return result

    async def _commit(self) -> None:
        if self._made:
            self.flushing = True
            try:
                await self.server.flushed()
            finally:
                self.flushing = False
            self._still_there()
        self.commit_now()

    def _still_there(self) -> None:
        if self.ended is not None:
            self._release()
            raise self.ended

    def _roll_back(self) -> None:
        self._open, self._made, self._rings = False, [], []
        self._release()

    def _release(self) -> None:
        self.server.row.release(self)
        for lock in self.server.tables.values():
            lock.release(self)

    def _begin_idling(self) -> None:
        if self._open and self.ended is None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(IDLE, self.end, errors.IdleInTransactionSessionTimeout("idle too long"))

    def _not_idle(self) -> None:
        if self._idle is not None:
            with suppress(RuntimeError):
                self._idle.cancel()
            self._idle = None


def _is_look(text: str) -> bool:
    return text.startswith("SELECT ") and "FROM pg_class" not in text
