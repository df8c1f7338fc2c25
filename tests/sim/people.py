"""People: what they do in the vendor's console, at fleetd's own controls, and with the machines themselves."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel

from fleetd.model.errors import FleetdError, StoreError
from fleetd.model.journal import Hold, MachineOrder, VetoOrder
from fleetd.model.reasons import Verb
from fleetd.simulator.lifecycle import Fate
from fleetd.simulator.records import MachineRecord, Refusal
from fleetd.simulator.world import World
from fleetd.store.sqlite import SqliteJournal
from tests.sim.life import Killed, Life, Site
from tests.sim.record import Act, Lease, Record, Veto
from tests.support.inline_executor import InlineExecutor


class People:
    """Everybody who is not fleetd. Whom they choose is drawn; what they did goes into the record."""

    def __init__(self, world: World, site: Site, record: Record, rng: random.Random, end: float) -> None:
        self._world = world
        self._site = site
        self._record = record
        self._rng = rng
        self._end = end
        self._races = 0
        self._racing: set[asyncio.Task[None]] = set()
        self._addresses: dict[str, str] = {}
        """The addresses that belong to machines which have another's now."""

    async def act(self, what: str, more: Mapping[str, Any]) -> None:
        """One person does one thing, to a machine that is there."""
        machines = self._alive()
        if not machines:
            return
        machine = self._rng.choice(machines)
        match what:
            case "order":
                await self._order(machine)
                return
            case "lease":
                await self._work(machine, more)
                return
            case "lease_race":
                self._races += more["count"]
                return
            case "held_rename":
                await self._rename_held(machine, more)
                return
            case "address":
                await self._share_address(machine, more)
                return
            case "price":
                price = Decimal(more["hourly"])
                self._world.set_price(more["machine_type"], price)
                self._record.prices.append((self._now(), more["machine_type"], price))
                return
        try:
            self._do(what, machine, more)
        except Refusal:
            return  # the console says no

    async def veto(self, kind: str, verbs: tuple[str, ...] | None, lasts: float) -> None:
        """A hold on a machine, or a freeze of a fleet or of everything."""
        machines = self._alive()
        subject: str | None = None
        machine: MachineRecord | None = None
        if kind == "hold":
            if not machines:
                return
            machine = self._rng.choice(machines)
            subject = machine.name if self._rng.random() < 0.2 else machine.id
        elif kind == "freeze":
            settings = self._record.config(self._now())
            if settings is None:
                return
            subject = self._rng.choice(settings.fleets).name
        order = VetoOrder(
            "hold" if kind == "hold" else "freeze",
            subject,
            frozenset(Verb) if verbs is None else frozenset(Verb(v) for v in verbs),
            "somebody needs it",
            timedelta(seconds=lasts),
        )
        await self._impose(order, machine)

    async def _impose(self, order: VetoOrder, machine: MachineRecord | None) -> None:
        name = "" if machine is None else machine.name
        attended = await self._acknowledged(order, machine)
        if attended is not None:
            now = self._now()
            id_ = None if machine is None else machine.id
            expires = (self._record.latest(now) if attended else self._record.wall(now)) + order.lasts
            self._record.vetoes.append(
                Veto(
                    order.kind,
                    order.subject,
                    order.verbs,
                    now,
                    expires,
                    machine_id=id_,
                    name=name,
                    unattended=not attended,
                )
            )

    async def lift_all(self) -> None:
        """Every hold and freeze is ended."""
        life = self._site.alive
        for veto in self._record.vetoes:
            for subject in dict.fromkeys((veto.machine_id or veto.subject, veto.subject)):
                try:
                    if life is not None and life.engine is not None:
                        await life.engine.handle.lift(veto.kind, subject, "ada")
                    else:
                        journal = await SqliteJournal.open(self._site.journal, executor=InlineExecutor())
                        await journal.remove_holds(kind=veto.kind, subject=subject)
                        await journal.aclose()
                except (StoreError, LookupError, Killed):
                    continue
                veto.until = min(veto.until, self._now())

    def called(self, _life: Life, name: str, arguments: Sequence[Any]) -> None:
        """fleetd is about to make a call: whoever races with it takes a lease on the machine."""
        if self._races > 0 and name in {"show", "stop", "destroy", "restart"} and arguments:
            self._races -= 1
            turns = self._rng.randrange(0, 12)
            # The task is not fleetd's: it must not die with the process, nor is it that process's to await.
            context = contextvars.Context()
            task = asyncio.get_running_loop().create_task(self._race(str(arguments[0]), turns), context=context)
            self._racing.add(task)
            task.add_done_callback(self._racing.discard)

    def settle_in(self) -> None:
        """Whoever works in the calm goes on working, and nobody else begins to."""
        for spans in self._record.uses.values():
            spans[:] = [
                (begins, self._end + 1 if begins <= self._now() < ends else min(ends, self._now()))
                for begins, ends in spans
            ]

    def give_back(self) -> None:
        """Every machine has its own address again."""
        for machine_id, address in self._addresses.items():
            with suppress(Refusal):
                self._world.readdress(machine_id, address)
        self._addresses.clear()

    async def _race(self, machine_id: str, turns: int) -> None:
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        await self._lease(machine_id, self._rng.choice((600.0, 3600.0)))

    async def _work(self, machine: MachineRecord, more: Mapping[str, Any]) -> None:
        """A job takes leases on its machine, one after the other."""
        for _ in range(more["count"]):
            await self._lease(machine.id, more["for"])
            await anyio.sleep(more["every"])

    async def _lease(self, machine_id: str, lasts: float) -> None:
        life, calm = self._site.alive, self._record.calm_from - self._now()
        if life is None or life.engine is None or calm < 1:
            return
        lasting = timedelta(seconds=min(lasts, calm))
        try:
            await life.engine.handle.lease(machine_id, "job", lasting, "ada")
        except (LookupError, FleetdError, Killed):
            return  # no, says fleetd; or nobody is there any more
        now = self._now()
        for lease in self._record.leases:
            if lease.machine_id == machine_id:
                lease.until = min(lease.until, now)
        self._record.leases.append(Lease(machine_id, now, self._record.latest(now) + lasting))

    async def _rename_held(self, machine: MachineRecord, more: Mapping[str, Any]) -> None:
        """Somebody holds a machine, by its name or by its id, and then gives it another name at the console."""
        subject = machine.name if more["by"] == "name" else machine.id
        lasts = timedelta(seconds=max(1.0, min(more["for"], self._record.calm_from - self._now())))
        await self._impose(VetoOrder("hold", subject, frozenset(Verb), "somebody needs it", lasts), machine)
        await anyio.sleep(more["after"])
        with suppress(Refusal):
            self._do("rename", machine, {})

    async def _share_address(self, machine: MachineRecord, more: Mapping[str, Any]) -> None:
        """Another machine has the same private address for a while, as overlapping networks have it."""
        others = [m for m in self._alive() if m.id != machine.id and m.private_ip is not None]
        if machine.private_ip is None or not others:
            return
        other = self._rng.choice(others)
        self._addresses.setdefault(other.id, str(other.private_ip))
        self._world.readdress(other.id, machine.private_ip)
        await anyio.sleep(more["for"])
        if other.id in self._addresses:
            with suppress(Refusal):
                self._world.readdress(other.id, self._addresses.pop(other.id))

    async def _acknowledged(self, order: VetoOrder, machine: MachineRecord | None) -> bool | None:
        """Whether a daemon took it, or the journal alone; None where neither did."""
        life = self._site.alive
        try:
            if life is not None and life.engine is not None:
                await life.engine.handle.veto(order, "ada")
                return True
            now = self._site.clock.now()
            self._site.state.mkdir(mode=0o700, exist_ok=True)
            journal = await SqliteJournal.open(self._site.journal, executor=InlineExecutor())
            try:
                await journal.add_hold(
                    Hold(
                        id=0,
                        kind=order.kind,
                        subject=order.subject if machine is None else machine.id,
                        verbs=order.verbs,
                        reason=order.reason,
                        actor="ada",
                        created_at=now,
                        expires_at=now + order.lasts,
                    )
                )
            finally:
                await journal.aclose()
        except (StoreError, LookupError, Killed):
            return None  # not written, not known, or nobody there any more
        return False

    async def _order(self, machine: MachineRecord) -> None:
        life = self._site.alive
        if life is None or life.engine is None:
            return
        verb = self._rng.choice((Verb.STOP, Verb.START, Verb.RESTART))
        forced = self._rng.random() < 0.3
        self._record.acts.append(Act(self._now(), verb, machine.id, ordered=True, forced=forced))
        with suppress(LookupError, FleetdError, Killed):
            await life.engine.handle.request(MachineOrder(verb, machine.id, "it hangs", even_if_busy=forced), "ada")

    def _do(self, what: str, machine: MachineRecord, more: Mapping[str, Any]) -> None:
        world = self._world
        match what:
            case "use":
                self._use(machine, more)
                return
            case "look_alike":
                name = self._rng.choice(
                    (machine.name, machine.name.upper(), f"{machine.name}-copy", "training-backup")
                )
                made = world.add_machine(name, self._rng.choice(("ready", "off", "provisioning")), age_seconds=0)
                machine = made
            case "rename":
                world.human_rename(machine.id, f"mine-{self._rng.randrange(1000)}")
            case "start":
                world.human_start(machine.id)
            case "stop":
                world.human_stop(machine.id)
            case "restart":
                world.human_restart(machine.id)
            case "destroy":
                world.human_destroy(machine.id)
            case "slow_destroy":
                lasts = more["for"]
                world.human_destroy(machine.id, Fate(lingers=True, lingers_seconds=lasts))
                what = "destroy"
        self._record.acts.append(Act(self._now(), what, machine.id))

    def _use(self, first: MachineRecord, more: Mapping[str, Any]) -> None:
        """Some people begin to work, each on a machine that is up."""
        now = self._now()
        ready = [m for m in self._alive() if m.state in {"ready", "serviceready"}]
        self._rng.shuffle(ready)
        for machine in [m for m in (first, *ready) if m.state in {"ready", "serviceready"}][: more["count"]]:
            lasts = more["for"]
            self._record.uses.setdefault(machine.id, []).append((now, min(now + lasts, self._end + 1)))
            if more["starves"]:  # the work starves what would tell of it
                gap = (now - 1, min(now + lasts + 1, self._record.calm_from))
                self._record.gaps.setdefault(machine.id, []).append(gap)

    def _alive(self) -> list[MachineRecord]:
        return [m for m in self._world.listed() if not m.deleting]

    def _now(self) -> float:
        return self._world.advance()
