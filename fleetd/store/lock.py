"""At most one daemon acts on a state directory: a lock that dies with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from fleetd.model.errors import LockLost, StateLocked
from fleetd.store.failures import file_failure
from fleetd.store.paths import lock_path


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds, or held last, the lock of a state directory."""

    pid: int
    since: datetime


class StateLock:
    """Holds flock(2) on a state directory and on ``lock`` in it while entered; both end with the process, however.

    The directory's own lock is what a removed or replaced file cannot take away. Where the file system has none for
    directories (NFS), the file's alone counts.

    Args:
        state_dir: made with mode 0700 when it is missing.
        pid: this process, and
        since: when it started; both are for the messages of others.
    """

    def __init__(self, state_dir: Path, *, pid: int, since: datetime) -> None:
        self.path = lock_path(state_dir)
        self._holder = Holder(pid, since)
        self._descriptor: int | None = None
        self._directory: int | None = None
        self._looking = threading.Lock()  # the journal's thread asks as well

    def __enter__(self) -> Self:
        """Take the lock, or say at once who has it.

        Raises:
            StateLocked: another process holds it; the message names its pid.
            StateUnusable: the directory cannot be made or written.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory = self._take(os.open(self.path.parent, os.O_RDONLY))
            self._descriptor = self._acquire()
        except OSError as error:
            self._let_go()
            culprit = Path(error.filename) if isinstance(error.filename, str) else self.path
            raise file_failure(error, culprit) from error
        except StateLocked:
            self._let_go()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go. The file stays: removing it would open a race between two others."""
        self._let_go()

    def is_held(self) -> bool:
        """Whether the lock still keeps others out: not once the file or the directory was removed or replaced.

        A removed file is made anew and locked, as long as the directory's own lock has kept others out meanwhile.
        """
        with self._looking:
            return self._is_held()

    def check(self) -> None:
        """Make sure that the lock is held, right before something is done that only its holder may do.

        Raises:
            LockLost: it is not.
        """
        if not self.is_held():
            holder = read_holder(self.path.parent)
            another = holder if holder != self._holder else None
            who = f", and pid {another.pid} has written itself into it since" if another else ""
            raise LockLost(
                f"the lock {self.path} was removed or replaced while fleetd ran{who}: nothing is written any more"
            )

    def _is_held(self) -> bool:
        if self._descriptor is None:
            return False
        whole = self._directory is None or _same_file(self._directory, self.path.parent)
        if whole and _same_file(self._descriptor, self.path):
            return True
        return whole and self._directory is not None and not os.path.lexists(self.path) and self._mended()

    def _mended(self) -> bool:
        try:
            descriptor = self._acquire()
        except (OSError, StateLocked):
            return False
        stale, self._descriptor = self._descriptor, descriptor
        if stale is not None:
            os.close(stale)
        return True

    def _let_go(self) -> None:
        for descriptor in (self._descriptor, self._directory):
            if descriptor is not None:
                os.close(descriptor)
        self._descriptor = self._directory = None

    def _take(self, directory: int) -> int | None:
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(os.close, directory)
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StateLocked(_refusal(self.path)) from error
            except OSError:
                return None  # no locks on directories here
            on_failure.pop_all()
            return directory

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
                told = f"{self._holder.pid}\n{self._holder.since.isoformat()}\n".encode()
                os.ftruncate(descriptor, os.write(descriptor, told))  # in this order it is never seen empty
                on_failure.pop_all()
                return descriptor


def is_locked(state: Path) -> bool:
    """Whether a process holds a state directory, whatever else can be seen of it. False where nobody may look."""
    try:
        descriptor = os.open(lock_path(state), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


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
        f"another fleetd{who} runs on the state directory {path.parent}, and one is enough: fleetd status asks it, "
        "and what it is to do belongs into its config. To run this one instead, end that one first"
    )


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
