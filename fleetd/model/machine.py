"""A machine as the provider shows it, in words that no dialect owns."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from fleetd.model.reasons import Word


class Phase(Word):
    """What a machine's state means to a fleet."""

    UP = "up"
    RISING = "rising"
    FALLING = "falling"
    DOWN = "down"
    UNKNOWN = "unknown"


PHASES: Mapping[str, Phase] = MappingProxyType(
    {
        "ready": Phase.UP,
        "serviceready": Phase.UP,
        "provisioning": Phase.RISING,
        "starting": Phase.RISING,
        "restarting": Phase.RISING,
        "upgrading": Phase.RISING,
        "stopping": Phase.FALLING,
        "off": Phase.DOWN,
    }
)
"""The eight states of the vendor's page (show), the same in Core and in v1."""

UNVERIFIED = "unverified"
"""Not a provider's state: what fleetd puts in its place while it cannot tell whether to believe it. Its phase is
unknown."""

UNREADABLE = "unreadable"
"""Likewise, in place of the state that an entry of a listing has when the entry cannot be read."""


RISES = frozenset({"create", "start", "restart"})
"""Names of the events that bring a machine up."""
_ENDS = frozenset({"destroy", "deactivate", "delete", "terminate"})
"""Names of those that end it (both dialects, and the words that others have for it)."""
NO_REASON = "the provider gives no reason"
WENT_BACK = f"it went back to off, and {NO_REASON}"
"""The reason for a failed start that only the machine's state shows: no event says so."""


@dataclass(frozen=True, slots=True)
class MachineEvent:
    """One entry of a machine's event list."""

    name: str
    """create, start, stop, restart, ... (both dialects)."""
    state: str
    """done, error, in progress, ... ; "new" and "cancelled" on v1."""
    error: str = ""
    """The provider's reason for a failure: the only place where a capacity failure shows."""
    handle: str = ""
    """Identifies the event; used to tell an event of this transition from an older one."""
    created_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def failed(self) -> bool:
        """Whether the provider says that this ended in an error."""
        return self.state in {"error", "cancelled"}

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended, well or not."""
        return self.state in {"in progress", "new"}

    @property
    def rises(self) -> bool:
        """Whether it brings a machine up."""
        return self.name in RISES

    @property
    def ends(self) -> bool:
        """Whether it ends a machine, and has not failed to."""
        return self.name in _ENDS and not self.failed

    @property
    def why(self) -> str:
        """The provider's reason for a failure, or that it gives none."""
        return self.error or NO_REASON


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """Automatic snapshots as the provider reports them; None where it does not say."""

    enabled: bool | None = None
    frequency: str | None = None
    """hour, day, week or month; None is "never" or "not said"."""
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """One virtual machine at the provider.

    A young machine lacks most of its fields (measured by the vendor's own clients): only ``id``, ``name``
    and ``state`` can be relied on. ``state`` is kept as the provider spells it, known or not.
    """

    id: str
    name: str
    state: str
    machine_type: str | None = None
    region: str | None = None
    created_at: datetime | None = None
    private_ip: str | None = None
    public_ip: str | None = None
    network_id: str | None = None
    hourly_rate: Decimal | None = None
    """Dollars an hour, where the dialect carries it in the machine (v1's usageRate)."""
    shutdown_timeout_hours: int | None = None
    """0: the provider says that there is none. None: it does not say."""
    shutdown_timeout_forces: bool | None = None
    snapshots: SnapshotPolicy = field(default_factory=SnapshotPolicy)
    updates_pending: bool | None = None
    events: tuple[MachineEvent, ...] | None = None
    """Newest first. None in a listing, which does not carry them; a tuple from ``show``."""
    not_looked: str | None = None
    """Why ``show`` could not read its events, which are None then: the machine is judged without them."""
    unreadable: str | None = None
    """What cannot be read of its entry in a listing. Unless ``show`` has said otherwise since, its state is
    ``UNREADABLE`` or ``UNVERIFIED`` then, and its name may be ""."""

    @property
    def phase(self) -> Phase:
        """The state's meaning; UNKNOWN for any state that fleetd does not know."""
        return PHASES.get(self.state, Phase.UNKNOWN)

    def age(self, now: datetime) -> timedelta | None:
        """Time since the provider created it; None when the provider does not say."""
        return None if self.created_at is None else now - self.created_at


@dataclass(frozen=True, slots=True)
class SnapshotSight:
    """What one look told of a machine's snapshots."""

    machine_id: str
    newest_at: datetime | None
    """When the newest one was begun that is certainly still there; None when nobody can say."""
    doubt: str = ""
    """Why nobody can say."""
    failure: MachineEvent | None = None
    """The newest attempt, when it failed and none has succeeded since."""


@dataclass(frozen=True, slots=True)
class Utilization:
    """One machine's use in one billing month (the API's ``utilization``)."""

    machine_id: str
    month: str
    """``YYYY-MM``."""
    seconds_used: float | None
    """None: nobody can say."""
    hourly_rate: Decimal | None
    storage_seconds_used: float
    storage_monthly_rate: Decimal | None


@functools.lru_cache(maxsize=128)
def month_of(month: str) -> tuple[datetime, datetime]:
    """The first instant of a billing month (``YYYY-MM``) and of the one after it, UTC."""
    year, number = (int(part) for part in month.split("-"))
    return datetime(year, number, 1, tzinfo=UTC), datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
