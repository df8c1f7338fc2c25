"""Commands that people give on either host: ``fleetd hold``, ``freeze``, ``release``, ``unfreeze``, ``step-down``."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from fleetd.engine.vetoes import lift as lift_from
from fleetd.model.answers import Lifted, SteppingDown, VetoTaken
from fleetd.model.errors import FleetdError
from fleetd.model.journal import Hold
from fleetd.model.machine import Machine
from fleetd.model.reasons import Verb
from fleetd.ops.control_errors import NoAnswer, NoDaemon
from fleetd.simulator.records import MachineRecord
from fleetd.wiring.replicas import ask_holder, between_replicas
from tests.sim.replicas.driver import WAY
from tests.sim.replicas.life import ReplicaSite
from tests.sim.replicas.record import Kept, ReplicaRecord
from tests.support.virtual_time import virtual_loop

HANGS = 30.0
"""Seconds after which whoever waits for a command gives up. What it asked for may be done all the same."""


class People:
    """What they forbade and when goes into the record."""

    def __init__(self, record: ReplicaRecord) -> None:
        self._record = record
        self.answers = record.seen

    async def veto(
        self, site: ReplicaSite, kind: str, machine: MachineRecord | None, fleet: str | None, lasts: float
    ):
        """A hold on a machine, or a freeze of a fleet or of everything."""
        subject = fleet if machine is None else machine.id
        verbs = frozenset(Verb)
        settings = site.load()
        about = {} if subject is None else {"subject": subject}
        attended = True

        async def give() -> None:
            nonlocal attended
            body = {"kind": kind, "verbs": sorted(verbs), "reason": "somebody needs it", "seconds": lasts}
            try:
                await ask_holder(settings, VetoTaken, "POST", "/veto", body | about)
            except NoAnswer:
                raise
            except NoDaemon:
                attended = False
                now = site.clock.now()
                async with between_replicas(settings) as journal:
                    await journal.add_hold(
                        Hold(
                            id=0,
                            kind=kind,
                            subject=subject,
                            verbs=verbs,
                            reason="somebody needs it",
                            actor="ada",
                            created_at=now,
                            expires_at=now + timedelta(seconds=lasts),
                        )
                    )

        if not await self._command(site, give):
            self.answers[f"{kind}: not answered"] += 1
            return
        now = virtual_loop().time()
        given = site.clock.now() if not attended else self._record.true(now)
        self.answers[f"{kind}: {'given' if attended else 'left while none acted'}"] += 1
        self._record.vetoes.append(
            Kept(
                kind,
                subject,
                verbs,
                now,
                given + timedelta(seconds=lasts),
                machine_id=None if machine is None else machine.id,
                unattended=not attended,
            )
        )

    async def lift_all(self, site: ReplicaSite) -> bool:
        """End every veto; whether all of them have."""
        done = True
        for kind, subject in dict.fromkeys((v.kind, v.subject) for v in self._record.vetoes):
            done &= await self._lift(site, kind, subject)
        return done

    async def step_down(self, site: ReplicaSite) -> bool:
        """Have the holder give the lease to a standby."""
        settings = site.load()

        async def ask() -> None:
            await ask_holder(settings, SteppingDown, "POST", "/step-down", {})

        return await self._command(site, ask)

    async def _lift(self, site: ReplicaSite, kind: str, subject: str | None) -> bool:
        settings = site.load()
        for veto in self._record.vetoes:  # from now on nobody can rely on it
            if (veto.kind, veto.subject) == (kind, subject):
                veto.until = min(veto.until, virtual_loop().time())

        async def lift() -> None:
            about = {} if subject is None else {"subject": subject}
            try:
                await ask_holder(settings, Lifted, "POST", "/lift", {"kind": kind, **about})
            except NoAnswer:
                raise
            except NoDaemon:
                async with between_replicas(settings) as journal:
                    found: list[tuple[Machine, str]] = []
                    await lift_from(journal, kind, subject, found, site.clock.now())

        return await self._command(site, lift)

    async def _command(self, site: ReplicaSite, call: Callable[[], Awaitable[None]]) -> bool:
        """Run it as a process of its own on a host; whether it said that it was done."""
        way = site.new_way(f"{site.name}-command")
        context = contextvars.Context()
        context.run(WAY.set, way)

        async def run() -> bool:
            with suppress(FleetdError, TimeoutError):
                async with asyncio.timeout(HANGS):
                    await call()
                return True
            return False

        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(run(), context=context)
        try:
            return bool(await task)
        finally:
            way.close()
            site.ways.remove(way)
