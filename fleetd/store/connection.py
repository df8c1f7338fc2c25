"""Connections to the journal's file: one that writes, and a copy in memory for those who only look."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleetd.model.errors import StateUnusable
from fleetd.store import schema
from fleetd.store.failures import database_failure, file_failure


def open_writable(path: Path, *, busy_timeout: float) -> sqlite3.Connection:
    """Open the journal, making or migrating it where needed. Returns a connection in autocommit mode.

    WAL with ``synchronous=FULL`` syncs the log at every commit, so that a commit that returned is durable
    (sqlite.org/pragma.html#pragma_synchronous).

    Args:
        path: the database file; its directory exists.
        busy_timeout: seconds to wait for another process's lock.

    Raises:
        StateUnusable: the file cannot be used; the message says why and what to do.
    """
    with explained(path):
        _create(path)
        with _closing_on_error(connect(path, "rw", busy_timeout=busy_timeout)) as db:
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StateUnusable(
                    f"the file system of {path} cannot carry the journal (no WAL): state_dir must be on a local disk"
                )
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            schema.prepare(db, path)
            return db


class Moving(Exception):
    """The file changed hands while it was read, as it seems; look again in a moment. Says what is wrong if not."""


def open_snapshot(path: Path, *, busy_timeout: float, read_only: bool = True) -> sqlite3.Connection:
    """A copy in memory of what the journal holds now; an empty one where there is no journal yet.

    No lock stays behind and nothing is written to the state directory, not even SQLite's own side files: a daemon
    may run, may have been killed, or may start or stop meanwhile. One trace is possible: a daemon that stops between
    our look at the files and SQLite's leaves no log, and SQLite then makes an empty one, which says nothing.

    Raises:
        Moving: it did just that; try again.
        StateUnusable: the file cannot be read, is damaged, or is of a newer fleetd.
    """
    with explained(path), _closing_on_error(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        _copy_into(copy, path, busy_timeout)
        schema.prepare(copy, path)
        if read_only:
            copy.execute("PRAGMA query_only = ON")
        return copy


def _copy_into(copy: sqlite3.Connection, path: Path, busy_timeout: float) -> None:
    before = _Files.of(path)
    if before.main is None:
        return
    if before.log and not before.index:
        raise Moving(f"the journal {path} has a log without its index: start `fleetd run` once, it mends that")
    # With both side files a daemon has it open, or was killed: the log is read under read locks, its index is not
    # touched. Without a log everything is in the file; SQLite would make side files unless told that it is immutable.
    parameter = "readonly_shm=1" if before.log else "immutable=1"
    with contextlib.closing(connect(path, "ro", parameter, busy_timeout=busy_timeout)) as source:
        try:
            source.backup(copy)
        except sqlite3.OperationalError as error:
            # A daemon that starts or stops makes and removes the side files under our hands.
            raise Moving(str(database_failure(error, path))) from error
    if not before.log and _Files.of(path) != before:
        raise Moving(f"the journal {path} kept changing while it was read: try again")


@dataclass(frozen=True, slots=True)
class _Files:
    main: tuple[int, int, int] | None
    log: bool
    """Whether there is a log with anything in it: beside an empty one everything is in the file."""
    index: bool

    @classmethod
    def of(cls, path: Path) -> _Files:
        main, log, index = (_status(path.with_name(path.name + suffix)) for suffix in ("", "-wal", "-shm"))
        return cls(
            main and (main.st_ino, main.st_size, main.st_mtime_ns),
            log=log is not None and log.st_size > 0,
            index=index is not None,
        )


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def connect(path: Path, mode: str, parameter: str = "", *, busy_timeout: float) -> sqlite3.Connection:
    """The file as it is, in autocommit mode; ``mode`` and ``parameter`` as in sqlite.org/uri.html."""
    uri = f"{path.absolute().as_uri()}?mode={mode}&{parameter}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_timeout)


def _create(path: Path) -> None:
    # Not SQLite's umask mode: a create call's parameters may hold personal data. Only ever a new file is opened
    # here, for closing a descriptor of a live one would drop this process's locks on it (fcntl(2)).
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """What SQLite and the operating system refuse, as ``StateUnusable``."""
    try:
        yield
    except sqlite3.Error as error:
        raise database_failure(error, path) from error
    except OSError as error:
        raise file_failure(error, path) from error


@contextlib.contextmanager
def _closing_on_error(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield db
    except BaseException:
        db.close()
        raise
