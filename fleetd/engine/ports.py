"""What the engine asks of the world besides the cloud and the journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time. Waiting is never done with it: for that there is ``anyio.sleep`` on the loop's clock."""

    def now(self) -> datetime:
        """The current instant, timezone-aware, UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The current instant, UTC."""
        return datetime.now(UTC)


class Notifier(Protocol):
    """Whoever supervises the process (systemd)."""

    def ready(self) -> None:
        """The first pass is done, or is going on without the provider."""
        ...

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        ...

    def alive(self) -> None:
        """Progress was made; call it from the pass, never from a timer of its own."""
        ...

    def reloading(self) -> None:
        """A reload has begun; ``ready`` ends it."""
        ...

    def stopping(self) -> None:
        """Shutdown has begun."""
        ...


class Meter(Protocol):
    """Where numbers go. Labels never hold a machine id."""

    def action(self, *, fleet: str, verb: str, result: str) -> None:
        """One action was carried out, refused, dropped, ..."""
        ...

    def transition(self, *, verb: str, seconds: float) -> None:
        """One transition reached its goal."""
        ...

    def reload(self, *, ok: bool) -> None:
        """The config was read again."""
        ...

    def fault(self, *, where: str) -> None:
        """A fault in fleetd's own code ended a pass, a look, ..."""
        ...


class Alarms(Protocol):
    """Wake-ups at instants of wall time. They say when to look, never what holds."""

    def start(self, ring: Callable[[str], None]) -> None:
        """Call ``ring(name)`` on the event loop from now on."""
        ...

    def stop(self) -> None:
        """Ring no more."""
        ...

    def schedule(self, checks: Mapping[str, str]) -> None:
        """Ring ``name`` by its crontab line (UTC) or ``every 15m``; replaces an earlier schedule."""
        ...

    def edge(self, at: datetime | None) -> None:
        """Ring ``window_edge`` once at that instant; replaces an earlier one."""
        ...
