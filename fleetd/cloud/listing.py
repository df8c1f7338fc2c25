"""What came of reading a listing of more than one page, whatever the dialect's way of cutting it."""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.cloud.port import Json
from fleetd.model.errors import CloudError


@dataclass(frozen=True, slots=True)
class Reading:
    """A listing, with what is known of its completeness."""

    items: tuple[Json, ...]
    """Each id once, in the listing's order."""
    moved: bool = False
    """Whether the list moved meanwhile, so that something may be missing."""
    failure: CloudError | None = None
    """Why a page behind the first, or the second reading, failed."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing; certain only where a proof was asked for."""
        return self.failure is None and not self.moved
