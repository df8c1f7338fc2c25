"""The cloud port: all that the engine knows of a provider.

Contract for every implementation:

* One call is one logical request. Reads (``list_machines``, ``show``, ``snapshots``, ``availability``,
  ``utilization``) are
  retried inside the adapter, with jittered backoff, honouring Retry-After. **Writes are never retried inside
  the adapter**: a hold may have arrived since, so whether to repeat one is the engine's decision.
* A write that may have been carried out although its answer is lost raises ``Ambiguous``. One that certainly was
  not (no connection), or that does no harm when made again (429 to a stop), raises a ``RetryLater``. One that was
  declined raises an ``AskHuman``.
* An answer is about what was asked, or it is not understood: one that names another machine is ``MalformedAnswer``
  for a read and ``Ambiguous`` for a write, whatever its status (``about.py``).
* ``NotFound`` is what the provider said, not proof that a machine is gone.
* A call waits in a queue for the rate limit. Listings go first, then writes, then looks at single machines; who
  must not wait between a look and a write takes a ``place`` beforehand.
* Every call is bounded by the configured request timeout; cancellation is passed through.
* Errors and log lines never hold the API key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from fleetd.model.errors import CloudError
from fleetd.model.machine import Machine, SnapshotSight, Utilization
from fleetd.model.plan import Listing
from fleetd.model.reasons import Verb


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a dialect can say, so that one planner serves all."""

    utilization: bool
    """Whether a machine's use in a month can be told."""
    snapshots_visible: bool
    """Whether it can be told when a machine's newest snapshot was made."""
    page_size: int
    """Machines in one listing page: what polling by listing costs."""
    utilization_computed: bool = False
    """That use is worked out from events and rates, and not what the provider bills."""


@dataclass(frozen=True, slots=True)
class MachineChange:
    """What an update may change; None leaves a field as it is."""

    shutdown_timeout_hours: int | None = None
    shutdown_timeout_forces: bool | None = None
    snapshots_enabled: bool | None = None
    snapshot_frequency: str | None = None
    """hour, day, week; "none" clears it."""
    snapshot_keep: int | None = None


Leave = Callable[[], None]
"""Asked right before the first byte of a write leaves the process. Raises ``Withheld``: then none does."""


Progress = Callable[[], None]
"""A sign of life."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of machines that somebody waits for."""

    machines: Mapping[str, Machine | CloudError]
    """By id: the machine, with its events where they came along; or why nothing is known of it, ``NotFound``
    included. Of one that is missing here nothing is said: it may be there."""
    requests: int
    """What it took."""


def freely() -> None:
    """A ``Leave`` that holds nothing back, and a ``Progress`` that nobody hears."""


class Cloud(Protocol):
    """A provider, reached with one key."""

    @property
    def capabilities(self) -> Capabilities:
        """What this dialect can do."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """In sentences, what cannot be read at the moment although the provider answers."""
        ...

    async def list_machines(self, progress: Progress = freely) -> Listing:
        """Every machine the key can see, deduplicated by id. ``progress`` is called after every page.

        Returns a ``Listing`` with ``complete=False`` when a later page failed or pages shifted; raises when
        nothing could be read at all.

        Raises:
            Unauthorized, RateLimited, Unavailable, MalformedAnswer, Refused.
        """
        ...

    async def find(self, machine_ids: Collection[str]) -> Found:
        """Look at these machines, in as few requests as that takes; for who looks often and needs no proof.

        It reads single machines and such pages of the listing as have several of them. No page is read twice, so
        what is missing on them proves nothing. Errors are in the answer, each beside the machine that it leaves
        unknown.
        """
        ...

    async def show(self, machine_id: str) -> Machine:
        """One machine, with its events, newest first; without them, and ``not_looked``, where only they fail.

        Raises:
            NotFound: the provider does not know the id (or the key may no longer see it).
            Unauthorized, RateLimited, Unavailable, MalformedAnswer, Refused.
        """
        ...

    async def create(self, name: str, parameters: Mapping[str, object]) -> Machine:
        """Create one machine. ``parameters`` are the dialect's own names and values.

        Raises:
            Ambiguous: it may exist now; look for ``name`` in complete listings.
            Unavailable: certainly not created.
            Unauthorized, Refused.
        """
        ...

    async def start(self, machine_id: str) -> None:
        """Start it; a no-op when it is up. Raises like every write: NotFound, Ambiguous, RetryLater, AskHuman."""
        ...

    async def stop(self, machine_id: str) -> None:
        """Stop it, users are kicked out; a no-op when it is off. Raises like ``start``."""
        ...

    async def restart(self, machine_id: str) -> None:
        """Restart it, again if it is restarting already. Raises like ``start``."""
        ...

    async def destroy(self, machine_id: str, *, release_public_ip: bool = False) -> None:
        """Destroy it and every snapshot derived from it. Raises like ``start``.

        ``release_public_ip``: give its static public address back to the vendor, who bills for it otherwise. Where
        the dialect has no such parameter it is left out.
        """
        ...

    async def update(self, machine_id: str, change: MachineChange) -> None:
        """Change attributes. Raises like ``start``."""
        ...

    async def snapshots(self, machine_id: str) -> SnapshotSight:
        """How old the machine's newest snapshot is.

        Raises:
            Unsupported: not ``snapshots_visible``.
            NotFound, Unauthorized, RateLimited, Unavailable, MalformedAnswer, Refused.
        """
        ...

    async def utilization(self, machine_id: str, month: str) -> Utilization:
        """Use and rates in one billing month (``YYYY-MM``). Raises ``Unsupported`` where nothing tells it."""
        ...

    def place(self, verb: Verb, *, behind: int = 0, leave: Leave = freely) -> AbstractAsyncContextManager[Cloud]:
        """Wait for a place in the rate limit, and hold it: the cloud that it yields does not wait any more.

        The place is good for one write and for the looks that belong to it, one call after the other.

        Args:
            verb: the write.
            behind: how many writes of the same fleet go before it; the queue lets fleets go side by side.
            leave: asked right before the write leaves. Where it holds the write back, the call raises ``Withheld``.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        ...


Json = dict[str, Any]
"""A JSON object exactly as the provider sent it."""
Rows = list[Json]


class MachinesApi(Protocol):
    """A dialect's machines API call for call, for ``fleetd machines``: the provider's names in, its JSON out.

    Calls that are safe to repeat are retried (everything but create and restart). Errors are those of ``Cloud``.
    """

    async def list(self, filters: Mapping[str, object]) -> list[Json]:
        """All machines that match; pages are fetched and joined, each id once. Raises if any page fails."""
        ...

    async def show(self, machine_id: str) -> Json:
        """One machine with its events."""
        ...

    async def create(self, parameters: Mapping[str, object]) -> Json:
        """Create one machine; parameters by the API's names, its name included."""
        ...

    async def start(self, machine_id: str) -> Json | None:
        """Start it. The answer's body, or None when it has none."""
        ...

    async def stop(self, machine_id: str) -> Json | None:
        """Stop it."""
        ...

    async def restart(self, machine_id: str) -> Json | None:
        """Restart it."""
        ...

    async def destroy(self, machine_id: str, *, release_public_ip: bool | None = None) -> Json | None:
        """Destroy it; its public address is kept unless released."""
        ...

    async def update(self, machine_id: str, changes: Mapping[str, object]) -> Json | None:
        """Change attributes, by the API's names."""
        ...

    async def set_access(self, machine_id: str, user_id: str, *, enable_access: bool) -> Json | None:
        """Give a user access to the machine, or take it away."""
        ...

    async def utilization(self, machine_id: str, billing_month: str) -> Json:
        """Use in one billing month (``YYYY-MM``)."""
        ...

    async def availability(self, region: str, machine_type: str) -> Json:
        """Whether such a machine can be had now: ``{"available": bool}``."""
        ...

    async def all_templates(self) -> Rows:
        """What a machine can be made from: the vendor's templates, then the account's own."""
        ...

    async def networks(self) -> Rows:
        """The account's private networks."""
        ...

    async def wait_for(self, machine_id: str, state: str, *, timeout: float, poll: float = 5.0) -> Json:
        """Poll ``show`` until the machine is in ``state`` and return it.

        ``state`` is off, serviceready or ready; ready satisfies serviceready. ``timeout`` and ``poll`` in seconds.

        Raises:
            WaitEnded: timed_out, gone or failed_to_start.
            ValueError: a state that cannot be waited for.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        ...
