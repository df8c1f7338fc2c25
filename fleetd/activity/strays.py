"""What a command leaves behind, and how it ends: its process group, and whatever left that (setsid, a daemon).

On Linux, while a command runs, orphans of this process's descendants become its own children (a subreaper,
``prctl(2)``). Each command has a mark of its own in its environment, which its children inherit. So when it is over,
every child of this process that bears its mark is a stray of it, however far it went. One that emptied its
environment is known by bearing no mark of a command that still runs, and ends when none does.

Elsewhere, and where ``/proc`` does not tell, the process group alone is ended.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio

MARK = "FLEETD_SOURCE_RUN"
"""The variable that marks a command and its children."""

_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER (prctl(2))."""
_ROUNDS = 200
_PAUSE = 0.005
"""Seconds between two looks, and how many: a killed process is gone within milliseconds."""

_running: dict[str, int] = {}
"""Commands under way: their marks, and their pids once they have one."""
_others: set[int] = set()
"""Children that were there before any of these commands: none of them is a stray."""


@contextmanager
def watched() -> Iterator[str]:
    """The mark for a command that is about to run; its orphans come to this process while one is entered."""
    mark = secrets.token_hex(16)
    if not _running:
        _others.clear()
        _others.update(_children())
    _running[mark] = 0
    _adopt_orphans(wanted=True)
    try:
        yield mark
    finally:
        del _running[mark]
        if not _running:
            _adopt_orphans(wanted=False)


def began(mark: str, pid: int) -> None:
    """The command has this pid, which is its process group too."""
    _running[mark] = pid


async def end_all(mark: str) -> None:
    """Kill the command, its group and its strays, and wait until they are gone; a second at most."""
    pid = _running[mark]
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # the group outlives its leader when it left children behind
    killed: set[int] = set()
    for _ in range(_ROUNDS):
        children = _children()
        killed |= {child for child in children - killed if _is_stray(child, mark)}
        waited_for = killed & children
        if not waited_for and pid not in children:
            return
        for child in waited_for:
            _end(child)
        await anyio.sleep(_PAUSE)


def _is_stray(child: int, mark: str) -> bool:
    if child in _running.values() or child in _others:
        return False
    told = _mark_of(child)
    return told == mark or (told is None and len(_running) == 1)


def _end(child: int) -> None:
    """Kill it, and take its status, or it stays as a zombie; its own children come to us then."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(child, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(child, os.WNOHANG)


def _mark_of(pid: int) -> str | None:
    """The mark in a process's environment; None where it bears none, or has ended and left its zombie."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = f"{MARK}=".encode()
    return next((v.removeprefix(prefix).decode(errors="replace") for v in variables if v.startswith(prefix)), None)


def _children() -> frozenset[int]:
    """Pids of this process's children, as far as the kernel tells (CONFIG_PROC_CHILDREN)."""
    found: set[int] = set()
    for thread in _threads():
        with suppress(OSError):
            found.update(int(pid) for pid in Path(f"/proc/self/task/{thread}/children").read_text().split())
    return frozenset(found)


def _threads() -> list[str]:
    with suppress(OSError):
        return [thread.name for thread in Path("/proc/self/task").iterdir()]
    return []


def _adopt_orphans(*, wanted: bool) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SUBREAPER, int(wanted), 0, 0, 0)
