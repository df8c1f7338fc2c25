"""People: what they do in the vendor's console, at fleetd's own controls, and with the machines themselves."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import timedelta

from fleetd.model.errors import FleetdError, StoreError
from fleetd.model.journal import MachineOrder, VetoOrder
from fleetd.model.reasons import Verb
from fleetd.simulator.records import MachineRecord, Refusal
from fleetd.simulator.world import World
from fleetd.store.sqlite import SqliteJournal
from tests.sim.life import Killed, Site
from tests.sim.record import Act, Record, Veto
from tests.support.inline_executor import InlineExecutor


class People:
    """Everybody who is not fleetd. Whom they choose is drawn; what they did goes into the record."""

    def __init__(self, world: World, site: Site, record: Record, rng: random.Random, end: float) -> None:
        self._world = world
        self._site = site
        self._record = record
        self._rng = rng
        self._end = end

    async def act(self, what: str) -> None:
        """One person does one thing, to a machine that is there."""
        machines = self._alive()
        if not machines:
            return
        machine = self._rng.choice(machines)
        if what == "order":
            await self._order(machine)
            return
        try:
            self._do(what, machine)
        except Refusal:
            return  # the console says no

    async def veto(self, kind: str, verbs: tuple[str, ...] | None, lasts: float) -> None:
        """A hold on a machine, or a freeze of a fleet or of everything."""
        machines = self._alive()
        subject: str | None = None
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
        if await self._acknowledged(order):
            now = self._now()
            self._record.vetoes.append(
                Veto(order.kind, subject, order.verbs, now, self._record.wall(now) + order.lasts)
            )

    async def lift_all(self) -> None:
        """Every hold and freeze is ended."""
        life = self._site.alive
        keys = dict.fromkeys((v.kind, v.subject) for v in self._record.vetoes)
        for kind, subject in keys:
            try:
                if life is not None and life.engine is not None:
                    await life.engine.seat.lift(kind, subject, "ada")
                else:
                    journal = await SqliteJournal.open(self._site.journal, executor=InlineExecutor())
                    await journal.remove_holds(kind=kind, subject=subject)
                    await journal.aclose()
            except (StoreError, Killed):
                continue
            for veto in self._record.vetoes:
                if (veto.kind, veto.subject) == (kind, subject):
                    veto.until = min(veto.until, self._now())

    def settle_in(self) -> None:
        """Whoever works in the calm goes on working, and nobody else begins to."""
        for spans in self._record.uses.values():
            spans[:] = [
                (begins, self._end + 1 if begins <= self._now() < ends else min(ends, self._now()))
                for begins, ends in spans
            ]

    async def _acknowledged(self, order: VetoOrder) -> bool:
        life = self._site.alive
        try:
            if life is not None and life.engine is not None:
                await life.engine.seat.veto(order, "ada")
                return True
            now = self._site.clock.now()
            self._site.state.mkdir(mode=0o700, exist_ok=True)
            journal = await SqliteJournal.open(self._site.journal, executor=InlineExecutor())
            try:
                await journal.add_hold(
                    kind=order.kind,
                    subject=order.subject,
                    verbs=order.verbs,
                    reason=order.reason,
                    actor="ada",
                    now=now,
                    expires_at=now + order.lasts,
                )
            finally:
                await journal.aclose()
        except (StoreError, LookupError, Killed):
            return False  # not written, not known, or nobody there any more
        return True

    async def _order(self, machine: MachineRecord) -> None:
        life = self._site.alive
        if life is None or life.engine is None:
            return
        verb = self._rng.choice((Verb.STOP, Verb.START, Verb.RESTART))
        forced = self._rng.random() < 0.3
        self._record.acts.append(Act(self._now(), verb, machine.id, ordered=True, forced=forced))
        with suppress(LookupError, FleetdError, Killed):
            await life.engine.seat.request(MachineOrder(verb, machine.id, "it hangs", even_if_busy=forced), "ada")

    def _do(self, what: str, machine: MachineRecord) -> None:
        world = self._world
        match what:
            case "use":
                self._use(machine)
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
        self._record.acts.append(Act(self._now(), what, machine.id))

    def _use(self, first: MachineRecord) -> None:
        """Some people begin to work, each on a machine that is up; most for hours."""
        now = self._now()
        count = self._rng.choice((1, 1, 3, 8))
        ready = [m for m in self._alive() if m.state in {"ready", "serviceready"}]
        self._rng.shuffle(ready)
        for machine in [m for m in (first, *ready) if m.state in {"ready", "serviceready"}][:count]:
            lasts = self._rng.choice((600, 3600, 4 * 3600, 12 * 3600))
            self._record.uses.setdefault(machine.id, []).append((now, min(now + lasts, self._end + 1)))

    def _alive(self) -> list[MachineRecord]:
        return [m for m in self._world.listed() if not m.deleting]

    def _now(self) -> float:
        return self._world.advance()
