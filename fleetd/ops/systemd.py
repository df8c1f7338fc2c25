"""sd_notify(3): telling systemd how the daemon is. Silent where no supervisor listens."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping

import structlog

from fleetd.ops.escape import printable

log = structlog.get_logger(__name__)

LONGEST_STATUS = 500
"""Characters of the line that ``systemctl status`` shows."""


class NullNotifier:
    """Nobody supervises."""

    def ready(self) -> None:
        """See ``Notifier``."""

    def status(self, text: str) -> None:
        """See ``Notifier``."""

    def alive(self) -> None:
        """See ``Notifier``."""

    def reloading(self) -> None:
        """See ``Notifier``."""

    def stopping(self) -> None:
        """See ``Notifier``."""


class SystemdNotifier:
    """Speaks to the socket in $NOTIFY_SOCKET. Never waits and never raises.

    Args:
        address: the socket's path; ``@`` begins an abstract one.
        watchdog: seconds within which systemd wants a sign of life; None when it wants none.
        monotonic: CLOCK_MONOTONIC in seconds, which systemd compares a reload with.
    """

    def __init__(
        self, address: str, *, watchdog: float | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = watchdog
        self._monotonic = monotonic
        self._last_beat = float("-inf")
        self._complained = False

    def ready(self) -> None:
        """READY=1: started, or a reload has ended."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """STATUS=: one line for ``systemctl status``."""
        self._send("STATUS=" + printable(" ".join(text.split()), LONGEST_STATUS))

    def alive(self) -> None:
        """WATCHDOG=1, at most eight times in a watchdog period."""
        now = self._monotonic()
        if self._watchdog is not None and now - self._last_beat >= self._watchdog / 8:
            self._last_beat = now
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """RELOADING=1, with the time that systemd 253 and newer want for Type=notify-reload."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._monotonic() * 1_000_000)}")

    def stopping(self) -> None:
        """STOPPING=1."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.settimeout(0)
                out.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.warning("supervisor.not_reached", error=str(error))


def from_environment(environ: MutableMapping[str, str] = os.environ) -> SystemdNotifier | NullNotifier:
    """The notifier that the environment asks for; takes its variables out of it, so that no child inherits them."""
    address = environ.pop("NOTIFY_SOCKET", "")
    period = environ.pop("WATCHDOG_USEC", "")
    pid = environ.pop("WATCHDOG_PID", "")
    if not address.startswith(("/", "@")):
        return NullNotifier()
    wanted = period.isascii() and period.isdigit() and int(period) > 0 and (not pid or pid == str(os.getpid()))
    return SystemdNotifier(address, watchdog=int(period) / 1e6 if wanted else None)
