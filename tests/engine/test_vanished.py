"""Many machines that vanish at once: a pass has its budget of looks there too, and the rest waits for its turn."""

from __future__ import annotations

import anyio
import pytest

from fleetd.cloud.rate import Admission
from fleetd.model.fleet import Guards, Limit
from fleetd.model.plan import Listing
from tests.support.build import fleet, token_name
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual

MANY = 300
LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_creates_per_pass=1000)


async def filled(world: Rig) -> None:
    for n in range(1, MANY + 1):
        world.cloud.add(token_name(n), machine_type="P4000")
    await world.reconciler.run_pass()
    assert world.reconciler.last is not None
    assert world.reconciler.last.plan.fleets["training"].up == MANY
    world.cloud.admission = Admission(10, 10)


def test_no_pass_takes_much_longer_and_all_are_replaced_in_the_end() -> None:
    async def story() -> None:
        async with rig(fleet(target=MANY, guards=LOOSE)) as world, world.passes_by_hand() as reconciler:
            await filled(world)
            for n in range(1, 251):
                world.cloud.remove(f"ps{n}")
            looked = 0
            for _ in range(5):
                before = len(world.cloud.calls)
                report = await reconciler.run_pass()
                shows = [c.machine for c in world.cloud.calls[before:] if c.operation == "show"]
                looked += len(shows)
                assert report.duration_s <= 20, "a quarter of an interval's calls, and a listing"
                view = report.plan.fleets["training"]
                assert view.up == 50
                assert "create" not in world.cloud.writes(), "so many at once: creates wait until it is seen again"
                await anyio.sleep(10)
            assert looked == 250, "each is looked at once"
            world.cloud.admission = None
            for _ in range(20):
                await reconciler.run_pass()
                await anyio.sleep(30)
            assert sorted(world.cloud.states().values()).count("ready") == MANY
            assert world.cloud.writes().count("create") == 250

    run_virtual(story)


@pytest.mark.parametrize("lacked", [250])
def test_a_listing_that_lacks_what_is_there_is_rejected_however_many_it_lacks(lacked: int) -> None:
    async def story() -> None:
        async with rig(fleet(target=MANY, guards=LOOSE)) as world, world.passes_by_hand() as reconciler:
            await filled(world)
            world.cloud.listing = lambda listing: Listing(listing.machines[lacked:])
            for _ in range(3):
                report = await reconciler.run_pass()
                assert report.observation.rejected is not None
                assert report.duration_s <= 20
                await anyio.sleep(30)
            assert world.cloud.writes() == []

    run_virtual(story)
