"""An entry of the listing that cannot be read is that machine's problem; none of ours is lost behind one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.model.errors import Ambiguous, MalformedAnswer, NotFound
from fleetd.model.fleet import Guards, Limit, ScaleIn
from fleetd.model.machine import UNREADABLE, Machine
from fleetd.model.plan import Listing
from tests.support.build import fleet
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual

LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=10)


def unreadable(machine: Machine, *, name: str = "") -> Machine:
    return Machine(machine.id, name, UNREADABLE, unreadable="Expected `str`, got `null` - at `$.name`")


def without_id(machine_id: str) -> Callable[[Listing], Listing]:
    def change(listing: Listing) -> Listing:
        kept = tuple(m for m in listing.machines if m.id != machine_id)
        return replace(listing, machines=kept, unidentified=len(listing.machines) - len(kept))

    return change


def without_name(machine_id: str, *, name: str = "") -> Callable[[Listing], Listing]:
    def change(listing: Listing) -> Listing:
        odd = tuple(unreadable(m, name=name) if m.id == machine_id else m for m in listing.machines)
        return replace(listing, machines=odd)

    return change


async def passes(world: Rig, count: int) -> None:
    for _ in range(count):
        await world.reconciler.run_pass()
        await anyio.sleep(30)


def show_fails(error: Exception, machine_id: str) -> Callable[[str, str | None], Exception | None]:
    return lambda operation, asked: error if (operation, asked) == ("show", machine_id) else None


@pytest.mark.parametrize("hidden", [without_id, without_name], ids=["no id", "no name"])
@pytest.mark.parametrize(
    "error",
    [
        None,
        MalformedAnswer("name", operation="show"),
        NotFound("Machine not found", operation="show", status=404),
    ],
    ids=["show finds it", "show is odd as well", "show does not find it"],
)
@pytest.mark.parametrize("state", ["ready", "off"])
def test_a_machine_of_ours_that_cannot_be_read_keeps_its_place_and_stops_no_fleet(hidden, error, state) -> None:
    async def story() -> None:
        both = (fleet(target=2, guards=LOOSE), fleet("other", target=1))
        async with rig(*both) as world, world.passes_by_hand():
            await passes(world, 5)
            if state == "off":
                world.configure(fleet(target=1, guards=LOOSE), both[1])
                await passes(world, 5)
            before = sorted(world.cloud.writes())
            (odd,) = [n for n, m in enumerate(world.cloud._machines.values()) if m.state == state][:1]
            machine_id = list(world.cloud._machines)[odd]
            world.cloud.listing = hidden(machine_id)
            if error is not None:
                world.cloud.before = show_fails(error, machine_id)
            with capture_logs() as logs:
                await passes(world, 20)
            assert sorted(world.cloud.writes()) == before, (
                "nothing was made in its place, nothing stopped because of it"
            )
            assert [e for e in logs if e["event"] == "observation.rejected"] == []
            odd_said = [e for e in logs if e["event"] in {"machine.was_unreadable", "listing.was_odd"}]
            assert len(odd_said) == 1
            # Other fleets go on.
            first = world.reconciler.settings.fleets[0]
            world.configure(first, fleet("other", target=2))
            await passes(world, 4)
            assert world.cloud.writes().count("create") == before.count("create") + 1

    run_virtual(story)


def test_a_foreign_machine_that_cannot_be_read_is_never_touched_and_hides_nobodys_end() -> None:
    async def story() -> None:
        both = (fleet(target=2, allow_destroy=True, scale_in=ScaleIn.DESTROY, guards=LOOSE),)
        async with rig(*both) as world, world.passes_by_hand():
            foreign = world.cloud.add("alice")
            world.cloud.listing = without_id(foreign.id)
            await passes(world, 5)
            ours = next(m for m in world.cloud._machines.values() if m.id != foreign.id)
            world.cloud.remove(ours.id)  # at the console
            await passes(world, 8)
            assert world.cloud.writes().count("create") == 3, "it is gone, and another takes its place"
            world.configure(fleet(target=0, allow_destroy=True, scale_in=ScaleIn.DESTROY, guards=LOOSE))
            await passes(world, 10)
            assert list(world.cloud.states()) == ["alice"]
            assert await world.journal.open_intents() == []

    run_virtual(story)


@pytest.mark.parametrize("hidden", [without_id, without_name], ids=["no id", "no name"])
def test_a_lost_create_is_not_repeated_while_its_machine_may_be_one_that_cannot_be_read(hidden) -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            lost = Ambiguous("no answer", operation="create")
            world.cloud.after = lambda operation, _id: lost if operation == "create" else None
            world.cloud.listing = hidden("ps1")
            await passes(world, 10)
            assert world.cloud.writes() == ["create"]
            world.cloud.listing = lambda listing: listing
            await passes(world, 4)
            assert world.cloud.writes() == ["create"]
            assert world.reconciler.last is not None
            assert world.reconciler.last.converged

    run_virtual(story)


def test_more_missing_than_entries_without_an_id_is_a_bad_listing() -> None:
    async def story() -> None:
        async with rig(fleet(target=3)) as world, world.passes_by_hand():
            await passes(world, 5)
            world.cloud.listing = lambda listing: Listing((), unidentified=1)
            with capture_logs() as logs:
                await passes(world, 3)
            assert world.cloud.writes() == ["create"] * 3
            (said,) = [e for e in logs if e["event"] == "observation.rejected"]
            assert "ps1, ps2, ps3" in said["reason"]

    run_virtual(story)


def test_many_unreadable_entries_are_said_in_few_lines() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            odd = tuple(Machine(f"x{n}", "", UNREADABLE, unreadable="no") for n in range(500))
            world.cloud.listing = lambda listing: replace(listing, machines=(*listing.machines, *odd))
            with capture_logs() as logs:
                await passes(world, 5)
            assert sum(e["event"] in {"machine.was_unreadable", "listing.was_odd"} for e in logs) == 11

    run_virtual(story)
