"""Vetoes are on the machine that was meant, whatever it is called by now."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import Leases
from fleetd.engine.status import status_report
from fleetd.model.fleet import Guards, Limit
from fleetd.model.journal import Hold, VetoOrder
from fleetd.model.reasons import Verb
from fleetd.model.report import DaemonReport
from tests.support.build import fleet
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual

LOOSE = Guards(max_stops_per_pass=Limit(percent=100))
EVERYTHING = frozenset(Verb)


def handle_of(world: Rig) -> EngineHandle:
    return EngineHandle(world.daemon, Leases(world.journal), world.clock)


def hold(subject: str) -> VetoOrder:
    return VetoOrder("hold", subject, EVERYTHING, "a run", timedelta(hours=4))


async def passes(world: Rig, seconds: float) -> None:
    for _ in range(int(seconds // 30)):
        await world.reconciler.run_pass()
        await anyio.sleep(30)


@pytest.mark.parametrize("by", ["name", "id"])
@pytest.mark.parametrize("released_by", ["id", "new name", "name as typed"])
def test_a_rename_ends_no_hold_and_starts_none(by, released_by) -> None:
    async def story() -> None:
        async with rig(fleet(target=2, guards=LOOSE)) as world, world.passes_by_hand():
            await passes(world, 150)
            handle = handle_of(world)
            one, two = sorted(world.reconciler.recall.facts)
            name = world.reconciler.recall.facts[one].name
            await handle.veto(hold(name if by == "name" else one), "ada")
            world.cloud.set(one, name="my-box")
            world.configure(fleet(target=0, guards=LOOSE))
            await passes(world, 150)
            assert world.cloud.writes() == ["create", "create", f"stop {two}"]
            rows = {r.id: r for r in status_report(world.reconciler.last, daemon=DaemonReport(running=True)).machines}
            assert rows[one].hold is not None
            assert rows[two].hold is None
            word = {"id": one, "new name": "my-box", "name as typed": name if by == "name" else one}[released_by]
            assert await handle.lift("hold", word, "ada") == 1
            await passes(world, 60)
            assert world.cloud.writes()[3:] == [f"stop {one}"]

    run_virtual(story)


def test_a_machine_that_gets_a_held_ones_name_is_not_held_nor_releases_it() -> None:
    async def story() -> None:
        async with rig(fleet(target=2, guards=LOOSE)) as world, world.passes_by_hand():
            await passes(world, 150)
            handle = handle_of(world)
            one, two = sorted(world.reconciler.recall.facts)
            name = world.reconciler.recall.facts[one].name
            await handle.veto(hold(name), "ada")
            world.cloud.set(one, name="my-box")
            world.cloud.set(two, name=name)
            world.configure(fleet(target=0, guards=LOOSE))
            await passes(world, 60)
            with pytest.raises(LookupError, match=f"use its id: .*{one}.*{two}"):
                await handle.lift("hold", name, "bob")
            await passes(world, 60)
            assert world.cloud.writes()[2:] == [f"stop {two}"]

    run_virtual(story)


def test_a_hold_of_an_earlier_version_is_on_its_name_and_on_its_id() -> None:
    async def story() -> None:
        async with rig(fleet(target=1, guards=LOOSE)) as world, world.passes_by_hand():
            await passes(world, 150)
            ((machine_id, fact),) = world.reconciler.recall.facts.items()
            now = world.clock.now()
            for subject in (fact.name, machine_id):
                await world.journal.add_hold(
                    Hold(
                        id=0,
                        kind="hold",
                        subject=subject,
                        verbs=EVERYTHING,
                        reason="x",
                        actor="ada",
                        created_at=now,
                        expires_at=now + timedelta(hours=1),
                    )
                )
                world.configure(fleet(target=0, guards=LOOSE))
                await passes(world, 60)
                assert world.cloud.writes() == ["create"]
                assert await handle_of(world).lift("hold", machine_id, "ada") == 1

    run_virtual(story)


def test_before_the_first_pass_a_hold_is_on_what_the_journal_knows_else_on_name_and_id() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            handle = handle_of(world)
            held = await handle.veto(hold("ps77"), "ada")
            assert (held.subject, held.machine) == ("ps77", None)
            for nothing in ("training", "training-*"):
                with pytest.raises(LookupError, match="fleetd freeze"):
                    await handle.veto(hold(nothing), "ada")
            assert len(await world.journal.holds(now=world.clock.now())) == 1

    run_virtual(story)
