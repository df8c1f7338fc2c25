"""What a create is answered with is believed only where it can be the machine that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import anyio
import pytest

from fleetd.model.errors import Ambiguous, NotFound, RetryLater
from fleetd.model.fleet import Guards, Limit, ScaleIn
from fleetd.model.machine import Machine
from fleetd.model.reasons import Reason
from tests.support.build import fleet
from tests.support.fakecloud import FakeCloud
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual, virtual_clock

LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=10)


class Confused(FakeCloud):
    """Answers the first create with something else than it made."""

    confuse: Callable[[Machine], Machine] | None = None

    async def create(self, name: str, parameters: Mapping[str, object]) -> Machine:
        made = await super().create(name, parameters)
        confuse, self.confuse = self.confuse, None
        return made if confuse is None else confuse(made)


async def passes(world: Rig, seconds: float) -> None:
    for _ in range(int(seconds // 30)):
        await world.reconciler.run_pass()
        await anyio.sleep(30)


ANSWERS: dict[str, Callable[[Machine, Machine], Machine]] = {
    "another machine": lambda _made, alice: alice,
    "another's name": lambda made, alice: replace(made, name=alice.name),
    "another's id": lambda made, alice: replace(made, id=alice.id),
    "an unknown machine": lambda made, _alice: replace(made, id="ps999", name="bob-desktop"),
}


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_a_create_answered_with_another_machine_is_ambiguous(answers) -> None:
    wanted = fleet(target=2, scale_in=ScaleIn.DESTROY, allow_destroy=True, guards=LOOSE)

    async def story() -> None:
        cloud = Confused(virtual_clock())
        alice = cloud.add("alice-workstation")
        cloud.confuse = lambda made: answers(made, alice)
        async with rig(wanted, cloud=cloud) as world, world.passes_by_hand():
            await passes(world, 300)
            assert world.reconciler.last is not None
            assert world.reconciler.last.converged
            assert world.cloud.writes() == ["create"] * 2
            assert alice.id not in world.reconciler.last.owned
            world.configure(replace(wanted, target=0))
            await passes(world, 300)
            assert world.cloud.states() == {"alice-workstation": "ready"}
            assert not [w for w in world.cloud.writes() if alice.id in w.split()]

    run_virtual(story)


UNSEEN_IDS: dict[str, Callable[[Confused, Machine], str]] = {
    "an id that nobody knows": lambda _cloud, _made: "ps-nobody",
    "its id in capitals": lambda _cloud, made: made.id.upper() + "X",
    "the id of a machine that somebody made meanwhile": lambda cloud, _made: cloud.add("carol-new").id,
}


@pytest.mark.parametrize("answered", UNSEEN_IDS.values(), ids=UNSEEN_IDS)
def test_the_id_in_an_answer_is_a_claim_until_the_machine_is_seen_under_its_name(answered) -> None:
    wanted = fleet(target=2, scale_in=ScaleIn.DESTROY, allow_destroy=True, guards=LOOSE)

    async def story() -> None:
        cloud = Confused(virtual_clock())
        cloud.confuse = lambda made: replace(made, id=answered(cloud, made))
        async with rig(wanted, cloud=cloud) as world, world.passes_by_hand():
            await passes(world, 400)
            assert world.reconciler.last is not None
            assert world.reconciler.last.converged
            assert world.cloud.writes() == ["create"] * 2
            strangers = {cloud.named(name).id for name in cloud.states() if name == "carol-new"}
            assert not strangers & world.reconciler.last.owned.keys()
            world.configure(replace(wanted, target=0))
            await passes(world, 300)
            assert set(world.cloud.states()) <= {"carol-new"}
            assert not [w for w in world.cloud.writes() if strangers & set(w.split())]

    run_virtual(story)


NAMED_AT_FIRST: dict[str, str] = {
    "a number": "99999999",
    "what a person called it": "alice-workstation",
    "another fleet's": "inference-7k2m9q0c",
}


@pytest.mark.parametrize("called", NAMED_AT_FIRST.values(), ids=NAMED_AT_FIRST)
def test_a_machine_that_is_shown_under_another_name_for_a_while_is_not_made_twice(called) -> None:
    async def story() -> None:
        cloud = Confused(virtual_clock())
        async with rig(fleet(target=2), cloud=cloud) as world, world.passes_by_hand():
            await world.reconciler.run_pass()
            made, drawn = next((m.id, m.name) for m in map(cloud.named, cloud.states()))
            cloud.set(made, name=called)
            await passes(world, 300)
            assert cloud.writes() == ["create"] * 2
            cloud.set(made, name=drawn, state="ready")
            await passes(world, 120)
            assert cloud.writes() == ["create"] * 2
            assert world.reconciler.last is not None
            assert world.reconciler.last.converged
            assert made in world.reconciler.last.owned

    run_virtual(story)


def test_a_machine_that_is_never_seen_under_the_name_of_its_create_is_nobody_s_after_the_deadline() -> None:
    wanted = fleet(target=2, scale_in=ScaleIn.DESTROY, allow_destroy=True, guards=LOOSE)

    async def story() -> None:
        cloud = Confused(virtual_clock())
        async with rig(wanted, cloud=cloud) as world, world.passes_by_hand():
            await world.reconciler.run_pass()
            made = next(cloud.named(name).id for name in cloud.states())
            cloud.set(made, name="carol-new", state="ready")
            await passes(world, wanted.guards.deadlines.create.total_seconds() + 300)
            assert cloud.writes() == ["create"] * 3
            world.configure(replace(wanted, target=0))
            await passes(world, 300)
            assert cloud.states() == {"carol-new": "ready"}
            assert not [w for w in cloud.writes() if made in w.split()]

    run_virtual(story)


@pytest.mark.parametrize("shows", [NotFound("no such machine"), RetryLater("busy")], ids=["not found", "busy"])
def test_a_create_that_timed_out_unseen_gives_no_claim_on_whatever_has_its_id(shows) -> None:
    wanted = fleet(target=2, scale_in=ScaleIn.DESTROY, allow_destroy=True, guards=LOOSE)

    async def story() -> None:
        cloud = Confused(virtual_clock())
        async with rig(wanted, cloud=cloud) as world, world.passes_by_hand():
            await world.reconciler.run_pass()
            made = next(cloud.named(name).id for name in cloud.states())
            cloud.set(made, name="")
            hidden = True
            cloud.listing = lambda found: (
                replace(found, machines=tuple(m for m in found.machines if m.id != made), unidentified=1)
                if hidden
                else found
            )
            cloud.before = lambda op, of: shows if hidden and (op, of) == ("show", made) else None
            await passes(world, wanted.guards.deadlines.create.total_seconds() + 60)
            hidden = False
            cloud.set(made, name="carol-new", state="ready")
            await passes(world, 300)
            world.configure(replace(wanted, target=0))
            await passes(world, 300)
            assert cloud.states() == {"carol-new": "ready"}
            assert not [w for w in cloud.writes() if made in w.split()]

    run_virtual(story)


def test_two_creates_whose_answers_were_swapped_keep_their_fleets() -> None:
    async def story() -> None:
        cloud = Confused(virtual_clock())
        made: dict[str, Machine] = {}

        async def create(name: str, parameters: Mapping[str, object]) -> Machine:
            made[name] = await FakeCloud.create(cloud, name, parameters)
            await anyio.sleep(1)  # the other one is made meanwhile
            (other,) = (m for m in made.values() if m.name != name)
            return replace(made[name], id=other.id)

        cloud.create = create  # type: ignore[method-assign]
        async with (
            rig(fleet("left", target=1), fleet("right", target=1), cloud=cloud) as world,
            world.passes_by_hand(),
        ):
            await passes(world, 400)
            assert world.reconciler.last is not None
            owned = world.reconciler.last.owned
            assert {m.name.partition("-")[0]: owned[m.id].fleet for m in made.values()} == {
                "left": "left",
                "right": "right",
            }
            assert world.cloud.writes() == ["create"] * 2

    run_virtual(story)


def test_two_creates_answered_with_one_machine_are_not_both_believed() -> None:
    async def story() -> None:
        cloud = Confused(virtual_clock())
        first: list[str] = []

        async def create(name: str, parameters: Mapping[str, object]) -> Machine:
            made = await FakeCloud.create(cloud, name, parameters)
            first.append(made.id)
            return replace(made, id=first[0])

        cloud.create = create  # type: ignore[method-assign]
        async with rig(fleet(target=4), cloud=cloud) as world, world.passes_by_hand():
            await passes(world, 400)
            assert world.cloud.writes() == ["create"] * 4
            assert len({f.machine_id for f in world.reconciler.recall.facts.values()}) == 4

    run_virtual(story)


def test_a_lost_create_is_not_settled_by_a_machine_that_another_intent_has() -> None:
    """A person gave our own machine a name that we had drawn."""

    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            world.cloud.before = lambda op, _id: Ambiguous("lost") if op == "create" else None
            await world.reconciler.run_pass()
            (lost,) = await world.journal.open_intents()
            world.cloud.before = lambda _op, _id: None
            world.configure(fleet(target=2))
            await world.reconciler.run_pass()
            ((machine_id, _),) = world.reconciler.recall.facts.items()
            world.cloud.set(machine_id, name=lost.name)
            await passes(world, 30)
            still = {i.name: i.machine_id for i in await world.journal.open_intents()}
            assert still[lost.name] is None

    run_virtual(story)


@pytest.mark.parametrize("retry_after", [None, 600.0])
def test_a_create_answered_too_many_requests_may_have_been_carried_out(retry_after) -> None:
    async def story() -> None:
        async with rig(fleet(target=1), fleet("inference", target=0)) as world, world.passes_by_hand():
            error = Ambiguous("Too many requests", operation="create", status=429)
            error.retry_after = retry_after
            world.cloud.after = lambda op, _id: error if op == "create" else None
            hidden_until = anyio.current_time() + 4
            world.cloud.listing = lambda found: (
                replace(found, machines=()) if anyio.current_time() < hidden_until else found
            )
            for _ in range(4):
                await world.reconciler.run_pass()
                await anyio.sleep(2)
            world.cloud.after = lambda _op, _id: None
            began = anyio.current_time()
            world.configure(fleet(target=1), fleet("inference", target=1))
            await world.reconciler.run_pass()
            assert world.cloud.writes() == ["create"] * (2 if retry_after is None else 1)
            if retry_after is not None:
                assert world.reconciler.last is not None
                (skip,) = [s for s in world.reconciler.last.skips if s.fleet == "inference"]
                assert skip.reason is Reason.PROVIDER_SAID_WAIT
            while len(world.cloud.writes()) < 2:
                await passes(world, 30)
            if retry_after is not None:
                assert anyio.current_time() - began >= 600 - 10
            await passes(world, 120)
            assert sorted(world.cloud.states().values()) == ["ready"] * 2
            assert world.cloud.writes() == ["create"] * 2

    run_virtual(story)
