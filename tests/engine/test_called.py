"""One word means one machine, whichever order it is given with: by id, by name, and by the name it had before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio
import pytest

from fleetd.cli.explain import UnknownSubject, sentences_about
from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import Leases
from fleetd.model.errors import NotYet, OrderDeclined
from fleetd.model.fleet import Guards, Limit
from fleetd.model.journal import MachineOrder, VetoOrder
from fleetd.model.reasons import Verb
from tests.support.build import fleet
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual

SURE = fleet(target=3, guards=Guards(max_stops_per_pass=Limit(percent=100)))
HOLD = VetoOrder("hold", "", frozenset(Verb), "a run", timedelta(hours=4))
Way = Callable[[Rig, EngineHandle, str], Awaitable[set[str]]]


async def hold(world: Rig, handle: EngineHandle, word: str) -> set[str]:
    return {str((await handle.veto(VetoOrder("hold", word, *_rest(HOLD)), "ada")).machine)}


async def release(world: Rig, handle: EngineHandle, word: str) -> set[str]:
    for machine_id in world.reconciler.recall.facts:
        await handle.veto(VetoOrder("hold", machine_id, *_rest(HOLD)), "ada")
    before = {h.machine for h in await world.journal.holds(now=world.clock.now())}
    assert await handle.lift("hold", word, "ada") >= 1
    return {str(m) for m in before - {h.machine for h in await world.journal.holds(now=world.clock.now())}}


async def adopt(world: Rig, handle: EngineHandle, word: str) -> set[str]:
    return {str((await handle.adopt(word, "ours", "ada")).machine)}


async def lease(world: Rig, handle: EngineHandle, word: str) -> set[str]:
    await handle.lease(word, "job", timedelta(minutes=5), "ada")
    leases = Leases(world.journal)
    await leases.load(world.clock.now())
    return {m for m in world.reconciler.recall.facts if leases.in_force(m, world.clock.now()) is not None}


async def explain(world: Rig, handle: EngineHandle, word: str) -> set[str]:
    said = " ".join(sentences_about(handle.status(), word, (), world.clock.now()))
    return {m for m in world.reconciler.recall.facts if f"({m}" in said}


def order(verb: Verb) -> Way:
    async def give(world: Rig, handle: EngineHandle, word: str) -> set[str]:
        try:
            return {str((await handle.request(MachineOrder(verb, word, "why", even_if_busy=True), "ada")).machine)}
        except OrderDeclined as error:
            return {
                m
                for m, f in world.reconciler.recall.facts.items()
                if m in str(error) or _name(world, m) in str(error)
            }

    return give


def _rest(order: VetoOrder) -> tuple[frozenset[Verb], str, timedelta]:
    return order.verbs, order.reason, order.lasts


def _name(world: Rig, machine_id: str) -> str:
    return next(m.name for m in world.reconciler.last.observation.machines if m.id == machine_id)  # type: ignore[union-attr]


WAYS: dict[str, Way] = {
    "hold": hold,
    "release": release,
    "adopt": adopt,
    "lease": lease,
    "explain": explain,
    **{str(verb): order(verb) for verb in (Verb.START, Verb.STOP, Verb.RESTART)},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("by", ["id", "name", "former name", "unseen", "twice", "a stranger's", "nobody"])
def test_every_order_means_the_same_machine(way: str, by: str) -> None:
    async def story() -> None:
        async with rig(SURE) as world, world.daemon_running() as daemon:
            await anyio.sleep(300)
            handle = EngineHandle(daemon, Leases(world.journal), world.clock)
            facts = world.reconciler.recall.facts
            one, two, three = sorted(facts)
            first = facts[one].name
            world.cloud.set(one, name="my-box")
            if by == "twice":
                world.cloud.set(two, name=first)
            if by == "a stranger's":  # a person's order must not reach another machine than the one that is called so
                strange = world.cloud.add(first, "ready").id
            daemon.wake()
            await anyio.sleep(10)
            match by:
                case "unseen":  # a listing that lacks it, and is not believed
                    world.cloud.set(three, name="training-other")
                    hidden = facts[three].name
                    assert await WAYS[way](world, handle, hidden) == {three}
                case "twice" if way in {"lease", "explain"}:  # these protect, or only tell
                    assert await WAYS[way](world, handle, first) == {one, two}
                case "twice":
                    with pytest.raises(LookupError, match=f"use its id: {one} .*my-box, {first} before.*{two}"):
                        await WAYS[way](world, handle, first)
                    assert await WAYS[way](world, handle, two) == {two}
                case "a stranger's" if way in {"lease", "explain"}:
                    assert await WAYS[way](world, handle, first) == {one}
                case "a stranger's":
                    with pytest.raises(LookupError, match=f"use its id: {one} .*my-box, {first} before.*{strange}"):
                        await WAYS[way](world, handle, first)
                    assert await WAYS[way](world, handle, one) == {one}
                case "nobody" if way == "release":
                    assert await handle.lift("hold", "training-nobody", "ada") == 0
                case "nobody":
                    with pytest.raises((LookupError, UnknownSubject), match="training-nobody"):
                        await WAYS[way](world, handle, "training-nobody")
                case _:
                    word = {"id": one, "name": "my-box", "former name": first}[by]
                    assert await WAYS[way](world, handle, word) == {one}

    run_virtual(story)


@pytest.mark.parametrize("way", sorted(WAYS.keys() - {"hold", "release", "explain"}))
def test_before_the_first_pass_nobody_says_that_there_is_no_such_machine(way: str) -> None:
    async def story() -> None:
        async with rig(SURE) as world:
            handle = EngineHandle(world.daemon, Leases(world.journal), world.clock)
            with pytest.raises(NotYet, match="no pass has ended yet"):
                await WAYS[way](world, handle, "training-x")

    run_virtual(story)
