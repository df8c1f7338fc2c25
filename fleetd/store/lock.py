"""At most one daemon acts on a state directory: a lock that dies with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from fleetd.model.errors import StateLocked
from fleetd.store.failures import file_failure
from fleetd.store.paths import lock_path


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds, or held last, the lock of a state directory."""

    pid: int
    since: datetime


class StateLock:
    """Holds flock(2) on ``<state_dir>/lock`` while entered; the kernel drops it with the process, however that ends.

    Args:
        state_dir: made with mode 0700 when it is missing.
        pid: this process, and
        since: when it started; both are for the messages of others.
    """

    def __init__(self, state_dir: Path, *, pid: int, since: datetime) -> None:
        self.path = lock_path(state_dir)
        self._holder = Holder(pid, since)
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Take the lock, or say at once who has it.

        Raises:
            StateLocked: another process holds it; the message names its pid.
            StateUnusable: the directory cannot be made or written.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = self._acquire()
        except OSError as error:
            raise file_failure(error, _culprit(error, self.path)) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go. The file stays: removing it would open a race between two others."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_held(self) -> bool:
        """Whether the lock still keeps others out: not once somebody deleted the file or the directory."""
        return self._descriptor is not None and _same_file(self._descriptor, self.path)

    def _acquire(self) -> int:
        while True:
            # Programs that fleetd starts do not inherit it (PEP 446), or the lock would outlive it in them.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            with contextlib.ExitStack() as on_failure:
                on_failure.callback(os.close, descriptor)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise StateLocked(_refusal(self.path)) from error
                if not _same_file(descriptor, self.path):
                    continue  # deleted between open and lock
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{self._holder.pid}\n{self._holder.since.isoformat()}\n".encode())
                on_failure.pop_all()
                return descriptor


def read_holder(state_dir: Path) -> Holder | None:
    """Who wrote itself into the lock last; None when nobody did, or it cannot be read. It may be dead by now."""
    try:
        pid, since, *_ = lock_path(state_dir).read_text().split("\n")
        return Holder(int(pid), datetime.fromisoformat(since))
    except (OSError, ValueError):
        return None


def _refusal(path: Path) -> str:
    holder = read_holder(path.parent)
    who = f" (pid {holder.pid}, since {holder.since.isoformat(timespec='seconds')})" if holder else ""
    return (
        f"another fleetd{who} acts on the state directory {path.parent}: stop it, or set daemon.state_dir elsewhere"
    )


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _culprit(error: OSError, path: Path) -> Path:
    return Path(error.filename) if isinstance(error.filename, str) else path
