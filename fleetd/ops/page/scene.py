"""Everything that one rendering of a page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from fleetd.model.journal import HistoryEntry
from fleetd.model.report import FleetReport, MachineReport, Report
from fleetd.model.settings import Settings
from fleetd.ops.page import links
from fleetd.ops.page.drawing import PATIENCE
from fleetd.ops.page.record import Record


@dataclass(frozen=True, slots=True)
class Known:
    """What the pages show of a config."""

    zones: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Of each window, by fleet and its name: the IANA name of the zone that it is written in."""
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    """Dollars an hour by machine type."""
    config: str | None = None
    """Its file, absolute: a command is copied into a shell that stands elsewhere."""

    @classmethod
    def of(cls, settings: Settings, config: str | None = None) -> Known:
        """Of the config in force; ``config``: the absolute path of its file."""
        zones = {(fleet.name, window.name): window.timezone for fleet in settings.fleets for window in fleet.windows}
        return cls(zones, settings.costs.prices, config)


@dataclass(frozen=True, slots=True)
class Scene:
    """Values only: the same scene gives the same page, to the byte."""

    report: Report
    """How everything stands, as ``DaemonHandle.status`` gives it."""
    now: datetime
    record: Record = field(default_factory=Record)
    history: Sequence[HistoryEntry] | None = ()
    """The entries that the page is to show, oldest first; None when the journal cannot be read."""
    version: str = ""
    """Of fleetd."""
    known: Known = field(default_factory=Known)
    """What the config says that the report does not."""
    patience: timedelta = PATIENCE
    """A look this young holds until now."""
    root: str = ""
    """The way from this page to ``/``."""

    def fleet_link(self, name: str) -> str:
        """To a fleet's page."""
        return self.root + links.fleet_path(name)

    def machine_link(self, machine: MachineReport) -> str:
        """To a machine's page."""
        return self.root + links.machine_path(machine)

    def history_link(self, **filters: str | None) -> str:
        """To the history, with these filters."""
        return self.root + links.history_path(**filters)

    def zone(self, name: str, fleet: FleetReport) -> str | None:
        """The zone of the window that is open, or of the one that opens next."""
        windows = (fleet.window, fleet.next.window if fleet.next is not None else None)
        zones = self.known.zones
        return next((zones[name, w] for w in windows if w is not None and (name, w) in zones), None)
