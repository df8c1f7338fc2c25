"""The simulated account: machines that boot, run, cost and end, in a time of their own.

There is no timer and no task in here. Whenever the world is looked at it first catches up with its clock
(``advance``), so that a machine's state is a function of what was asked of it and of the time. Everything random
comes from the seed: the same requests at the same times give the same world, byte for byte.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Unpack

from fleetd.model.machine import month_of
from fleetd.simulator import lifecycle
from fleetd.simulator.account import Account
from fleetd.simulator.admission import Changes, Foreign, NewMachine, admit
from fleetd.simulator.catalogue import storage_monthly
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.disks import Disks, busy
from fleetd.simulator.lifecycle import KIND_FATE, Fate
from fleetd.simulator.records import (
    Change,
    EventRecord,
    MachineRecord,
    Refusal,
    ScriptRecord,
    Usage,
    UserRecord,
)
from fleetd.simulator.state import Durations, WorldState


class World(Disks):
    """One account at the simulated vendor.

    Args:
        seed: of everything random in it.
        clock: world time; by default the running event loop's, from the real date on, at ``speed``.
        speed: world seconds a second, when no clock is given.
        durations: how long transitions take.
        vendor_timer: whether the vendor stops machines whose shutdownTimeoutInHours has passed since they booted.
    """

    def __init__(
        self,
        *,
        seed: int | str = 0,
        clock: WorldClock | None = None,
        speed: float = 1.0,
        durations: Durations | None = None,
        vendor_timer: bool = True,
    ) -> None:
        self.clock = clock or WorldClock(speed=speed)
        self.state = WorldState(seed, self.clock, durations or Durations(), vendor_timer=vendor_timer)
        self.account = Account(self.state, self.advance)
        """Users, networks and scripts."""
        self.arranged: dict[str, tuple[Sequence[MachineRecord], list[MachineRecord]]] = {}
        """By order: the machines that were sorted by their dates last, and how they stand then."""

    @property
    def timeline(self) -> list[Change]:
        """Every change of every machine's state, in order: what a checker integrates bills over."""
        return self.state.timeline

    @property
    def machines(self) -> dict[str, MachineRecord]:
        """Every machine that exists, visible or not, by id. Look with ``advance`` first."""
        return self.state.machines

    def stream(self, name: str) -> random.Random:
        """A source of randomness of its own, from the same seed: using it does not disturb the world's."""
        return random.Random(f"{self.state.seed}:{name}")

    def advance(self) -> float:
        """Catch up with the clock. Returns world seconds since the epoch."""
        lifecycle.advance(self.state, max(self.clock.seconds(), self.state.t))
        return self.state.t

    def listed(self) -> list[MachineRecord]:
        """The machines that a listing shows now, oldest first."""
        t = self.advance()
        return [record for record in self.state.machines.values() if record.listed_from <= t]

    def shown(self, machine_id: str) -> MachineRecord:
        """One machine, as long as it can be seen.

        Raises:
            Refusal: no such machine.
        """
        t = self.advance()
        record = self.state.machines.get(machine_id)
        if record is None or record.shown_from > t:
            raise Refusal("Machine not found", subject="machine", missing=True)
        return record

    def create(self, new: NewMachine, fate: Fate = KIND_FATE) -> MachineRecord:
        """Make a machine.

        Raises:
            Refusal: it cannot be as asked for.
        """
        t = self.advance()
        record = admit(self.state, new)
        if fate.without_effect:
            return record  # it is answered, and never was
        if fate.hidden_seconds > 0:
            record.listed_from = t + fate.hidden_seconds
            record.shown_from = record.listed_from if fate.hidden_from_show else record.shown_from
        self.state.machines[record.id] = record
        lifecycle.begin_create(self.state, record, fate)
        return record

    def start(self, machine_id: str, fate: Fate = KIND_FATE, cause: str = "start") -> EventRecord | None:
        """Boot it; None when it is up or coming up already.

        Raises:
            Refusal: no such machine, or it is on its way down.
        """
        record = self._alive(machine_id)
        if record.state == "stopping":
            raise busy(record)
        if record.state != "off":
            return None
        if fate.without_effect:
            return lifecycle.begin_nothing(self.state, record, "start", fate)
        lifecycle.begin_start(self.state, record, fate, cause)
        return record.event

    def stop(self, machine_id: str, fate: Fate = KIND_FATE, cause: str = "stop") -> EventRecord | None:
        """Shut it down; None when it is off or on its way there.

        Raises:
            Refusal: no such machine, or one that is being made or upgraded.
        """
        record = self._alive(machine_id)
        if record.state in {"provisioning", "upgrading"}:
            raise busy(record)
        if record.state in {"off", "stopping"}:
            return None
        if fate.without_effect:
            return lifecycle.begin_nothing(self.state, record, "stop", fate)
        lifecycle.begin_stop(self.state, record, fate, cause)
        return record.event

    def restart(self, machine_id: str, fate: Fate = KIND_FATE, cause: str = "restart") -> EventRecord:
        """Restart it, again if it is restarting.

        Raises:
            Refusal: no such machine, or it does not run.
        """
        record = self._alive(machine_id)
        if record.state not in {"ready", "serviceready", "restarting"}:
            raise busy(record)
        if fate.without_effect:
            return lifecycle.begin_nothing(self.state, record, "restart", fate)
        lifecycle.begin_restart(self.state, record, fate, cause)
        return _current(record)

    def destroy(
        self, machine_id: str, fate: Fate = KIND_FATE, *, release_ip: bool = False, cause: str = "destroy"
    ) -> EventRecord:
        """Shut it down for good; asked again while it goes, nothing more happens.

        Raises:
            Refusal: no such machine.
        """
        record = self.shown(machine_id)
        if fate.without_effect and not record.deleting:
            return lifecycle.begin_nothing(self.state, record, "deactivate", fate)
        if not record.deleting:
            lifecycle.begin_destroy(self.state, record, cause, fate, release_ip=release_ip)
        return _current(record)

    def upgrade(self, machine_id: str, machine_type: str) -> EventRecord:
        """Change the machine type. The type must be known.

        Raises:
            Refusal: no such machine, or one that is in transition.
        """
        record = self._alive(machine_id)
        if record.state not in {"off", "ready"}:
            raise busy(record)
        lifecycle.begin_upgrade(self.state, record, machine_type)
        return _current(record)

    def update(self, machine_id: str, changes: Changes, fate: Fate = KIND_FATE) -> MachineRecord:
        """Set attributes.

        Raises:
            Refusal: no such machine.
        """
        record = self._alive(machine_id)
        if fate.without_effect:
            return record
        for name, value in changes.items():
            setattr(record, name, value)
        if "public_ip_type" in changes and not record.young:
            self._readdress(record)
        if "snapshot_frequency" in changes or "auto_snapshots" in changes:
            record.due.pop("snapshot", None)
        lifecycle.arm_timers(self.state, record)
        self.state.reprice(record)
        self.state.touch(record)
        return record

    def set_access(self, machine_id: str, user_id: str, *, enable: bool) -> UserRecord:
        """Let a user onto the machine, or no longer.

        Raises:
            Refusal: no such machine or user.
        """
        record = self._alive(machine_id)
        user = self.state.users.get(user_id)
        if user is None:
            raise Refusal("User not found", subject="user", missing=True)
        record.accessors = [u for u in record.accessors if u != user_id] + ([user_id] if enable else [])
        self.state.touch(record)
        return user

    def assign_script(self, script_id: str, machine_id: str, *, assign: bool) -> ScriptRecord:
        """Have a script run whenever the machine boots, or no longer.

        Raises:
            Refusal: no such script or machine.
        """
        record, script = self._alive(machine_id), self.account.script(script_id)
        if assign:
            record.script_id = script_id
        elif record.script_id == script_id:
            record.script_id = None
        self.state.touch(record)
        return script

    def usage(self, machine_id: str, month: str) -> Usage:
        """What it has used in a calendar month (``YYYY-MM``, UTC), so far.

        Raises:
            Refusal: no such machine.
        """
        record = self.shown(machine_id)
        since, ends = map(self.clock.since_epoch, month_of(month))
        until = min(self.state.t, ends)
        return Usage(
            record.billed_seconds(since, until),
            record.hourly,
            record.stored_seconds(since, until),
            storage_monthly(record.size_gb),
        )

    def set_capacity(self, region: str, machine_type: str, *, available: bool) -> None:
        """Sell a machine type out in a region, or have it again."""
        pair = (region, machine_type)
        (self.state.no_capacity.discard if available else self.state.no_capacity.add)(pair)

    def set_price(self, machine_type: str, hourly: Decimal) -> None:
        """From now on the machines of a type cost so many dollars an hour."""
        self.advance()
        self.state.prices[machine_type] = hourly
        for record in self.state.machines.values():
            self.state.reprice(record)
            self.state.touch(record)

    def readdress(self, machine_id: str, private_ip: str | None) -> None:
        """A machine has another private address, which may be another one's as well.

        Raises:
            Refusal: no such machine.
        """
        record = self._alive(machine_id)
        record.private_ip = private_ip
        self.state.touch(record)

    def vanish(self, machine_id: str) -> None:
        """Let a machine disappear without a trace, as if a datacenter had lost it."""
        self.advance()
        record = self.state.machines.get(machine_id)
        if record is not None:
            lifecycle.remove(self.state, record, "vanished")

    def add_machine(
        self,
        name: str,
        state: str = "ready",
        *,
        id: str | None = None,  # noqa: A002 - the API's own name for it
        age_seconds: float = 86_400.0,
        machine_type: str = "P4000",
        region: str = "East Coast (NY2)",
        template_id: str = "tbu200wi",
        size_gb: int = 50,
        **more: Unpack[Foreign],
    ) -> MachineRecord:
        """Put a machine of somebody else into the world, in any state and of any age.

        Raises:
            Refusal: it cannot be as asked for.
        """
        t = self.advance()
        new = NewMachine(name, machine_type, region, template_id, size_gb, **more)
        record = admit(self.state, new, machine_id=id)
        record.created = t - age_seconds
        self.state.machines[record.id] = record
        lifecycle.settle_in(self.state, record, state)
        return record

    def human_start(self, machine_id: str) -> None:
        """Somebody starts it in the vendor's console."""
        self.start(machine_id, cause="human start")

    def human_stop(self, machine_id: str) -> None:
        """Somebody stops it in the vendor's console."""
        self.stop(machine_id, cause="human stop")

    def human_restart(self, machine_id: str) -> None:
        """Somebody restarts it in the vendor's console."""
        self.restart(machine_id, cause="human restart")

    def human_rename(self, machine_id: str, name: str) -> None:
        """Somebody gives it another name."""
        self.update(machine_id, {"name": name})

    def human_destroy(self, machine_id: str, fate: Fate = KIND_FATE) -> None:
        """Somebody destroys it in the vendor's console; with a fate, the vendor may be slow about it."""
        self.destroy(machine_id, fate, cause="human destroy")

    def human_connect(self, machine_id: str) -> None:
        """Somebody logs in through the vendor's client, which holds the shutdown timer back unless it forces."""
        self._alive(machine_id).connected = True

    def human_disconnect(self, machine_id: str) -> None:
        """They log out; the shutdown timer counts from now."""
        record = self._alive(machine_id)
        record.connected, record.disconnected = False, self.state.t
        lifecycle.arm_timers(self.state, record)

    def _alive(self, machine_id: str) -> MachineRecord:
        record = self.shown(machine_id)
        if record.deleting:
            raise Refusal("Machine not found", subject="machine", missing=True)
        return record

    def _readdress(self, record: MachineRecord) -> None:
        wanted = record.public_ip_type == "static" or (record.public_ip_type == "dynamic" and record.billed)
        if not wanted:
            record.public_ip = None
        elif record.public_ip is None:
            record.public_ip = self.state.new_address(public=True)


def _current(record: MachineRecord) -> EventRecord:
    if record.event is None:  # pragma: no cover - every transition opens one
        raise LookupError(record.id)
    return record.event
