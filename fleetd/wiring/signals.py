"""What ends a daemon beside its own work: signals, and the loss of its state directory."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import structlog

from fleetd.model.errors import FleetdError, LockLost
from fleetd.ops.hangup import hangup_came, ignore_hangups

if TYPE_CHECKING:  # commands that a signal ends need no daemon
    from fleetd.engine.daemon import Daemon

log = structlog.get_logger(__name__)

LOCK_LOOK = 0.5
"""Seconds between two looks at the lock and the journal's file; every write looks for itself as well."""


class StoppedWaiting(Exception):
    """A signal came while the lease was waited for."""


async def obey_signals(daemon: Daemon, *, hangup_reloads: bool) -> None:
    """SIGTERM and SIGINT stop the daemon; SIGHUP reloads its config, or stops one that a terminal was opened for."""
    wanted = [signal.SIGTERM, signal.SIGINT]
    if hangup_reloads or hangup_counts():
        wanted.append(signal.SIGHUP)
    try:
        with anyio.open_signal_receiver(*wanted) as signals:
            if hangup_reloads and hangup_came():  # while the process was being put together
                _reload(daemon)
            async for received in signals:
                if received is not signal.SIGHUP or not hangup_reloads:
                    if received is signal.SIGHUP:
                        leave_terminal()
                    daemon.stop()
                    continue
                _reload(daemon)
    finally:
        if hangup_reloads:
            ignore_hangups()


def _reload(daemon: Daemon) -> None:
    with suppress(FleetdError):  # logged and shown in status; the old config stays in force
        daemon.reload()


def hangup_counts() -> bool:
    """Whether a closed terminal is to end this process: not under nohup(1), which has SIGHUP ignored."""
    return signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN


def leave_terminal() -> None:
    """Write no more to a terminal that has been closed: every line to it would be an error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            descriptor = stream.fileno()
            if os.isatty(descriptor) or _hung_up(descriptor):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
        except (OSError, ValueError):
            continue  # closed, or none of its own


class LockWatch:
    """Asks whether the state directory is still this process's own; says once in the log that it is not."""

    def __init__(self, *checks: Callable[[], None]) -> None:
        self._checks = checks
        self._told = False

    def check(self) -> None:
        """Ask now, on any thread.

        Raises:
            LockLost: it is not; nothing may be begun any more.
        """
        for check in self._checks:
            try:
                check()
            except LockLost as error:
                if not self._told:
                    self._told = True
                    log.error("daemon.lock_lost", error=str(error))  # noqa: TRY400 - no traceback wanted
                raise

    async def run(self) -> None:
        """Ask for as long as the process acts. Raises as ``check`` does."""
        while True:
            self.check()
            await anyio.sleep(LOCK_LOOK)


def _hung_up(descriptor: int) -> bool:
    # isatty(3) says no of a terminal that is gone; its device still is one.
    return os.major(os.fstat(descriptor).st_rdev) in {4, 5, *range(136, 144)}
