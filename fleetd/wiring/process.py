"""What a replica's process has from its host: a name for others, clocks, signals, and the timer that ends it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import anyio

from fleetd.engine.ports import Clock, SystemClock
from fleetd.store.postgres.lease import kernel_fuse
from fleetd.wiring.loops import since_boot


def _about() -> str:
    return f"{socket.gethostname()}, pid {os.getpid()}"


def _terminations() -> AbstractContextManager[AsyncIterator[object]]:
    return anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Process:
    """This process; the simulation's bring their own."""

    about: str = field(default_factory=_about)
    """In words, for others."""
    fuse: Callable[[float], object] = kernel_fuse
    """Arms a timer that kills the process after so many seconds; 0 disarms it."""
    monotonic: Callable[[], float] = since_boot
    """Seconds that no step of the wall clock disturbs, and that run on while it is paused, or its machine sleeps."""
    clock: Clock = field(default_factory=SystemClock)
    terminations: Callable[[], AbstractContextManager[AsyncIterator[object]]] = _terminations
    """While entered, signals that are to end it come from there."""
