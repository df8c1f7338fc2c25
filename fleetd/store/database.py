"""The journal's database, worked by one thread: transactions, and errors in the model's words."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

import anyio

from fleetd.model.errors import LockLost, StateUnusable
from fleetd.store.connection import Moving, open_snapshot, open_writable
from fleetd.store.failures import database_failure
from fleetd.store.worker import Worker

T = TypeVar("T")

_BUSY = 5.0
"""Seconds to wait for another process's lock on a file that is copied."""
_LOOKS = 120
_BETWEEN_LOOKS = 0.05
"""Seconds. A daemon that starts or stops makes or removes SQLite's side files within milliseconds, or within a second
on a disk that syncs slowly."""


class Database:
    """One connection on one thread. A call that has begun is carried through, see ``Worker.run``."""

    def __init__(self, path: Path, worker: Worker, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._worker = worker
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._beside: dict[Path, tuple[int, int]] = {}
        """SQLite's side files, by their identity: the newest commits are in the log alone."""
        self._closed = False
        self._copied = False
        """Whether it is a copy in memory: what becomes of the file does not matter to it."""
        self._guard: Callable[[], None] = lambda: None

    @classmethod
    async def open(
        cls, path: Path, *, executor: Executor | None, busy_timeout: float, guard: Callable[[], None]
    ) -> Database:
        """See ``SqliteJournal.open``."""
        database = cls(path, Worker(executor), read_only=False)
        database._guard = guard
        await database._connect(lambda: open_writable(path, busy_timeout=busy_timeout))
        database._identity = _identity(path)
        await database._worker.run(database._note_side_files)
        return database

    @classmethod
    async def open_copy(cls, path: Path, *, executor: Executor | None, read_only: bool) -> Database:
        """See ``SqliteJournal.open_read_only`` and ``open_scratch``."""
        for look in range(1, _LOOKS + 1):
            database = cls(path, Worker(executor), read_only=read_only)
            database._copied = True
            try:
                await database._connect(lambda: open_snapshot(path, busy_timeout=_BUSY, read_only=read_only))
            except Moving as moving:
                if look == _LOOKS:
                    raise StateUnusable(str(moving)) from moving
                await anyio.sleep(_BETWEEN_LOOKS)
            else:
                break
        return database

    async def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``job`` in one transaction. Durable when it returns; nothing has changed when it raises.

        Raises:
            StateUnusable: the database was opened read-only, is closed, full, locked or damaged.
            LockLost: it is not this process's any more.
        """
        if self.read_only:
            raise StateUnusable(f"the journal {self.path} was opened for looking only")
        return await self._run(lambda db: self._transact(db, job))

    async def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``job`` outside of a transaction.

        Raises:
            StateUnusable: as for ``write``.
        """
        return await self._run(job)

    async def aclose(self) -> None:
        """Close the connection and let the thread end. Idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._worker.run(self._disconnect)
        finally:
            self._worker.close()

    async def _connect(self, connect: Callable[[], sqlite3.Connection]) -> None:
        def keep() -> None:
            self._connection = connect()

        try:
            await self._worker.run(keep)
        except BaseException:
            # A cancelled opening may have succeeded.
            await self.aclose()
            raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def _run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed or self._connection is None:
            raise StateUnusable(f"the journal {self.path} is closed")
        db = self._connection

        def explained() -> T:
            try:
                result = job(db)
            except sqlite3.Error as error:
                raise database_failure(error, self.path) from error
            if isinstance(result, sqlite3.Cursor):
                # Closed here: one that dies on another thread resets a statement that this one may be stepping, which
                # SQLite calls misuse (seen with thirty writes at a time).
                result.close()
            return result

        return await self._worker.run(explained)

    def check(self) -> None:
        """Make sure that what is written is kept, and that this process may write it.

        Raises:
            LockLost: the file was moved, deleted or replaced, or the guard's own.
        """
        self._guard()
        if not self._copied and _identity(self.path) != self._identity:
            # Writes to a deleted file return and are lost with the process.
            raise LockLost(f"the journal {self.path} was moved, deleted or replaced while fleetd had it open")
        for path, before in self._beside.items():
            if _identity(path) != before:
                raise LockLost(
                    f"{path}, in which the journal keeps its newest entries, was moved, deleted or replaced"
                )

    def _note_side_files(self) -> None:
        for suffix in ("-wal", "-shm"):
            path = self.path.with_name(f"{self.path.name}{suffix}")
            found = _identity(path)
            if found is not None:
                self._beside[path] = found

    def _transact(self, db: sqlite3.Connection, job: Callable[[sqlite3.Connection], T]) -> T:
        self.check()
        db.execute("BEGIN IMMEDIATE")
        try:
            result = job(db)
            self.check()  # the last moment: a transaction may have waited for another process
            db.execute("COMMIT")
        except BaseException:
            # SQLite has ended it already after some errors (a full disk, for one).
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        return result


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
