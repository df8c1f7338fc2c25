"""Where state lives: the state directory, the runtime directory and what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import platformdirs

JOURNAL = "journal.db"
LOCK = "lock"
CONTROL_SOCKET = "control.sock"


def state_dir(configured: Path | str | None, environ: Mapping[str, str]) -> Path:
    """The directory that holds journal and lock; it need not exist yet.

    Args:
        configured: ``daemon.state_dir`` of the config; None or "" when it is not set. A ``~`` is expanded.
        environ: the process environment. ``STATE_DIRECTORY`` comes from systemd (StateDirectory=), which joins
            several by colons: the first counts (systemd.exec(5)).
    """
    if configured is not None and str(configured):
        return Path(configured).expanduser().absolute()
    return _first(environ.get("STATE_DIRECTORY")) or platformdirs.user_state_path("fleetd")


def runtime_dir(environ: Mapping[str, str], state: Path) -> Path:
    """The directory of the control socket: systemd's RuntimeDirectory=, else the state directory."""
    return _first(environ.get("RUNTIME_DIRECTORY")) or state


def control_socket_path(environ: Mapping[str, str], state: Path) -> Path:
    """Where a daemon with this environment and state directory listens for commands."""
    return runtime_dir(environ, state) / CONTROL_SOCKET


def journal_path(state: Path) -> Path:
    """The journal's database file; SQLite keeps ``-wal`` and ``-shm`` beside it."""
    return state / JOURNAL


def lock_path(state: Path) -> Path:
    """The file whose lock says that a daemon acts on this state directory."""
    return state / LOCK


def _first(directories: str | None) -> Path | None:
    first = (directories or "").partition(":")[0]
    return Path(first) if first else None
