"""Everything that one rendering of the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fleetd.model.journal import HistoryEntry
from fleetd.model.report import Report
from fleetd.ops.page.record import Record


@dataclass(frozen=True, slots=True)
class Scene:
    """Values only: the same scene gives the same page, to the byte."""

    report: Report
    """How everything stands, as ``Seat.status`` gives it."""
    now: datetime
    record: Record = field(default_factory=Record)
    history: Sequence[HistoryEntry] | None = ()
    """The last entries, oldest first; None when the journal cannot be read."""
    version: str = ""
    """Of fleetd."""
