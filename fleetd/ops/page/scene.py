"""Everything that one rendering of the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fleetd.model.journal import HistoryEntry
from fleetd.ops.page.record import Record


@dataclass(frozen=True, slots=True)
class Scene:
    """Values only: the same scene gives the same page, to the byte."""

    document: Mapping[str, Any]
    """The status document, as ``Seat.status`` gives it."""
    now: datetime
    record: Record = field(default_factory=Record)
    history: Sequence[HistoryEntry] | None = ()
    """The last entries, oldest first; None when the journal cannot be read."""
    version: str = ""
    """Of fleetd."""
