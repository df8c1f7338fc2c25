"""What a replica that stands by reads its config again with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleetd.engine.ports import Meter, Notifier
from fleetd.model.settings import Settings


@dataclass(frozen=True, slots=True)
class Reloads:
    """The config's reader, and whom a reload is told to."""

    load: Callable[[], Settings]
    notifier: Notifier
    meter: Meter
    hangup: bool
    """Whether SIGHUP asks for it."""
