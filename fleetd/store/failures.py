"""What SQLite and the operating system report, as ``StateUnusable`` with a word on what to do."""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import shutil
import sqlite3
from pathlib import Path

from fleetd.model.errors import StateUnusable

_NEARLY_NOTHING = 64 * 1024
"""Bytes: SQLite needs a page or two, and reports some full disks as plain I/O errors."""

_SQLITE_FILES = 4
"""Database, log, its index, and a directory while a file is made."""

_PRIMARY_CODE = 0xFF
"""Extended result codes carry the primary one in their low byte (sqlite.org/rescode.html)."""


def database_failure(error: sqlite3.Error, path: Path) -> StateUnusable:
    """The error of a call on the journal at ``path``, in words that an operator can act on."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    # Both of these reach us under more general names, depending on which of its files SQLite stumbled over.
    if code == sqlite3.SQLITE_IOERR and _is_full(path):
        code = sqlite3.SQLITE_FULL
    if code == sqlite3.SQLITE_CANTOPEN and _is_read_only(path):
        code = sqlite3.SQLITE_READONLY
    if code == sqlite3.SQLITE_CANTOPEN and _without_descriptors():
        return file_failure(OSError(errno.EMFILE, os.strerror(errno.EMFILE)), path)
    return StateUnusable(f"{_explain(code, path)} ({error}, {name})")


def damaged(path: Path, finding: str) -> StateUnusable:
    """The journal's content contradicts itself. Nothing is moved or mended: that is a person's decision."""
    return StateUnusable(f"{_explain(sqlite3.SQLITE_CORRUPT, path)} ({finding})")


def file_failure(error: OSError, path: Path) -> StateUnusable:
    """The operating system's refusal to create, open, write or lock ``path``."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            what = f"no space left for {path}: free some, fleetd goes on by itself"
        case errno.EMFILE | errno.ENFILE:
            what = f"no descriptor is left for {path}: raise their limit (LimitNOFILE= in the unit, ulimit -n)"
        case errno.EROFS:
            what = (
                f"{path} is on a read-only file system: have it remounted writable. In another state_dir fleetd "
                "would begin without its holds, freezes and history"
            )
        case errno.EACCES | errno.EPERM:
            what = f"{path} cannot be used by uid {os.geteuid()}: {_as_its_owner(path)}"
        case errno.ENOTDIR | errno.EEXIST:
            what = f"{path} is not a directory, or lies under a file: daemon.state_dir must name a directory"
        case _:
            what = f"{path} cannot be used"
    return StateUnusable(f"{what} ({error.strerror or error})")


def _explain(code: int, path: Path) -> str:
    match code:
        case sqlite3.SQLITE_FULL:
            return f"no space left for the journal {path}: free some, fleetd goes on by itself"
        case sqlite3.SQLITE_READONLY:
            return (
                f"the journal {path} cannot be written by uid {os.geteuid()}: {_as_its_owner(path)}. If you do: "
                "check its mode, that of its directory, and whether the file system is mounted read-only"
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return f"the journal {path} cannot be opened by uid {os.geteuid()}: {_as_its_owner(path)}"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return (
                f"the journal {path} is locked by another process: wait for whatever else has it open for writing, "
                "or end that (a backup, a sqlite3 shell; fuser names it)"
            )
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return (
                f"the journal {path} is damaged, and nothing is done on a doubtful memory. To begin a new one, stop "
                f"fleetd and move {path.name}, {path.name}-wal and {path.name}-shm out of {path.parent}. What is "
                "then lost is history, holds and freezes (set them again); machines stay owned, their names say so"
            )
        case sqlite3.SQLITE_IOERR:
            return f"reading or writing the journal {path} failed: check the disk, its quota and the file size limit"
        case _:
            return f"the journal {path} cannot be used"


def _as_its_owner(path: Path) -> str:
    """Advice to run the command as the owner, most likely the daemon's user, and not to give it to somebody else."""
    for place in (path, *path.parents):
        try:
            owner = place.stat().st_uid
        except OSError:
            continue
        if owner == os.geteuid():
            break
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"
        return f"run this as the user it belongs to (sudo fleetd ..., or sudo -u {shlex.quote(name)} fleetd ...)"
    return "check its mode and that of the directories above it, or run this as the daemon's user (sudo)"


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _NEARLY_NOTHING
    except OSError:
        return False


def _is_read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _without_descriptors() -> bool:
    """Whether too few are free for SQLite's own files; what it held when it failed is free again by now."""
    taken: list[int] = []
    try:
        for _ in range(_SQLITE_FILES):
            taken.append(os.open(os.devnull, os.O_RDONLY))  # noqa: PERF401 - what was opened before a failure counts
    except OSError as error:
        return error.errno in {errno.EMFILE, errno.ENFILE}
    finally:
        for descriptor in taken:
            os.close(descriptor)
    return False
