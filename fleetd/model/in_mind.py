"""What a running daemon keeps in mind and not in its journal, as far as it decides what the next pass does.

Told with the report, so that ``plan`` beside a daemon assumes what the daemon's own next pass does. Small: what it
looked at, waits for, or was declined in the last minutes. Only of a daemon that runs; the default is one that has
just begun.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from fleetd.model.instant import Instant
from fleetd.model.reasons import Reason


class Declined(Struct, frozen=True, kw_only=True):
    """A call that the provider declined; see ``Setback``."""

    until: Instant
    words: str
    since: Instant | None = None
    attempt: int = 1
    why: Reason
    lasts_s: float
    """How long the wait is that ends ``until``."""


class CreatesWait(Struct, frozen=True, kw_only=True):
    """The provider asked that no create of any fleet be made for so long."""

    since: Instant
    lasts_s: float
    words: str


class SnapshotLook(Struct, frozen=True, kw_only=True):
    """What a machine's snapshots told when they were looked at; see ``SnapshotSight``."""

    at: Instant
    newest_at: Instant | None = None
    doubt: str = ""


class IdleClockTold(Struct, frozen=True, kw_only=True):
    """See ``planner.idle.IdleClock``."""

    since: Instant | None = None
    last_at: Instant | None = None
    uncovered_s: float = 0.0
    gap_s: float = 0.0


class InMind(Struct, frozen=True, kw_only=True):
    """All of it."""

    config: str = ""
    """Digest of the config in force."""
    checks: dict[str, dict[str, str]] = {}
    """By machine id, the policy checks that are not due, each with the policy by which it was made."""
    unjudged: tuple[str, ...] = ()
    """Ids of machines whose timeout is enforced, and whose events did not tell when they were started."""
    snapshots: dict[str, SnapshotLook] = {}
    """By machine id, looks of the last minutes."""
    refusals: dict[str, Declined] = {}
    """By ``setback_key``, those that are waited out."""
    creates_wait: CreatesWait | None = None
    reconfigured: bool = False
    """A reload has ended what the journal still has of creates and updates that came to nothing."""
    unanswered: tuple[int, ...] = ()
    """Ids of intents whose call is still waited for."""
    looked_at: Instant | None = None
    """When the last look at the account began."""
    looked_for: dict[int, Instant] = {}
    """By intent, since when the machine of a create is looked for whose answer was lost."""
    failing_since: Instant | None = None
    """Since when the provider has answered nothing but errors."""
    unidentified: int = 0
    """Entries without an id in the last listing that lacked nothing for it."""
    doubtful: tuple[str, ...] = ()
    """Ids of machines that were doubtful last and were looked at closer, the one longest ago first."""

    idle_clocks: dict[str, IdleClockTold] = {}
    """By machine id; the verdicts are in the report."""

    def reloaded(self) -> InMind:
        """What is left of it once another config is in force."""
        busy = {key: one for key, one in self.refusals.items() if one.why == Reason.RATE_LIMITED}
        return replace(self, refusals=busy, reconfigured=True)


NOTHING = InMind()
"""Of a daemon that has just begun."""
