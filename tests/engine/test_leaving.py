"""A machine that somebody else destroys, and that the provider goes on showing, holds up nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.handle import EngineHandle
from fleetd.model.errors import Refused
from fleetd.model.fleet import Guards, ScaleIn
from fleetd.model.machine import MachineEvent
from fleetd.model.plan import Listing
from fleetd.model.report import Report
from fleetd.words.explaining import explain_machine
from tests.support.build import fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual, virtual, virtual_clock

GOING = MachineEvent("destroy", "in progress", handle="d")
DONE = MachineEvent("deactivate", "done", handle="d")
FAILED = MachineEvent("destroy", "error", error="it is locked", handle="d")


def report(world: Rig) -> Report:
    return EngineHandle(world.daemon, None, world.clock).status()  # type: ignore[arg-type]


def without(machine_id: str) -> Callable[[Listing], Listing]:
    return lambda listing: replace(listing, machines=tuple(m for m in listing.machines if m.id != machine_id))


def world_of_three() -> FakeCloud:
    cloud = FakeCloud(virtual_clock(), takes=20, defaults={"region": "East Coast (NY2)"})
    for n in (1, 2):
        cloud.add(token_name(n), machine_type="P4000")
    cloud.add(token_name(1, "other"), machine_type="P4000")
    return cloud


@pytest.mark.parametrize(
    ("state", "event", "listed"),
    [
        pytest.param("destroying", None, True, id="by its state"),
        pytest.param("deleted", None, True, id="by another word"),
        pytest.param("Terminating", GOING, True, id="by both"),
        pytest.param("off", DONE, True, id="by its event, off"),
        pytest.param("hibernating", GOING, True, id="by its event, in an odd state"),
        pytest.param("destroying", None, False, id="not listed, by its state"),
        pytest.param("deleted", None, False, id="not listed, by another word"),
        pytest.param("off", DONE, False, id="not listed, by its event, off"),
        pytest.param("hibernating", GOING, False, id="not listed, by its event, in an odd state"),
        pytest.param("ready", GOING, False, id="not listed, by its event, still up"),
    ],
)
def test_its_place_is_free_and_nothing_else_waits(state: str, event: MachineEvent | None, listed: bool) -> None:
    async def story() -> None:
        cloud = world_of_three()
        async with rig(fleet(target=2), fleet("other", target=1), cloud=cloud) as world, world.daemon_running():
            await anyio.sleep(60)
            cloud.set("ps1", state=state)
            if event is not None:
                cloud._events["ps1"].insert(0, event)
            if not listed:
                cloud.listing = without("ps1")
            cloud.set("ps3", state="off")
            cloud._events["ps3"].insert(0, MachineEvent("start", "error", error="lost power", handle="x"))
            await anyio.sleep(120)
            assert sorted(cloud.writes()) == ["create", "start ps3"], "replaced, and the other fleet went on"
            await anyio.sleep(3600)
            assert sorted(cloud.writes()) == ["create", "start ps3"], "replaced once"
            status = report(world)
            rows = {m.id: m for m in status.machines}
            assert rows["ps1"].standing == "leaving"
            assert status.fleets["training"].leaving == 1
            assert status.fleets["training"].converged
            assert any(
                "Its place is free" in line for line in explain_machine(status, rows["ps1"], world.clock.now())
            )
            cloud.remove("ps1")
            await anyio.sleep(120)
            assert sorted(cloud.writes()) == ["create", "start ps3"], "gone at last, and long replaced"
            assert report(world).fleets["training"].leaving == 0

    run_virtual(story)


@virtual
async def test_one_that_comes_back_counts_again() -> None:
    cloud = world_of_three()
    async with rig(fleet(target=2), cloud=cloud) as world, world.daemon_running():
        await anyio.sleep(60)
        cloud.set("ps1", state="destroying")
        await anyio.sleep(300)
        assert cloud.writes() == ["create"]
        cloud.set("ps1", state="ready")
        await anyio.sleep(300)
        assert [w.split()[0] for w in cloud.writes()] == ["create", "stop"], "one too many is up, and goes"
        assert report(world).fleets["training"].up == 2


@pytest.mark.parametrize(
    ("state", "event", "listed", "minutes"),
    [
        pytest.param("hibernating", None, True, 60, id="listed in a state that says nothing"),
        pytest.param("ready", FAILED, True, 60, id="a destroy that failed"),
        pytest.param("hibernating", FAILED, True, 60, id="a destroy that failed, in an odd state"),
        pytest.param("hibernating", None, False, 9, id="not listed, in a state that says nothing, not for long"),
    ],
)
def test_one_that_may_stay_keeps_its_place(
    state: str, event: MachineEvent | None, listed: bool, minutes: int
) -> None:
    async def story() -> None:
        cloud = world_of_three()
        async with rig(fleet(target=2), cloud=cloud) as world, world.daemon_running():
            await anyio.sleep(60)
            cloud.set("ps1", state=state)
            if event is not None:
                cloud._events["ps1"].insert(0, event)
            if not listed:
                cloud.listing = without("ps1")
            await anyio.sleep(60 * minutes)
            assert cloud.writes() == []
            assert world.reconciler.last is not None
            assert world.reconciler.last.observation.sane

    run_virtual(story)


@virtual
async def test_one_that_is_not_listed_any_more_in_a_state_that_says_nothing_is_given_up_at_last() -> None:
    cloud = world_of_three()
    async with rig(fleet(target=2), cloud=cloud) as world, world.daemon_running():
        await anyio.sleep(60)
        cloud.set("ps1", state="archived")
        cloud.listing = without("ps1")
        await anyio.sleep(12 * 60)
        assert cloud.writes() == ["create"]


@virtual
async def test_a_listing_that_lacks_a_machine_which_is_up_is_rejected_as_ever() -> None:
    cloud = world_of_three()
    async with rig(fleet(target=2), cloud=cloud) as world, world.daemon_running():
        await anyio.sleep(60)
        cloud.listing = without("ps1")
        await anyio.sleep(60)
        assert cloud.writes() == []
        assert world.reconciler.last is not None
        assert not world.reconciler.last.observation.sane


@virtual
async def test_a_destroy_of_ours_that_is_late_is_no_deed_of_somebody_else_and_the_next_one_waits() -> None:
    going = fleet(
        target=0,
        adopt=("ps1", "ps2"),
        guards=Guards(max_destroys_per_pass=1),
        scale_in=ScaleIn.DESTROY,
        allow_destroy=True,
    )
    cloud = FakeCloud(virtual_clock(), takes=20)
    cloud.add(token_name(1), state="off")
    cloud.add(token_name(2), state="off")
    cloud.vain["destroy"] = "endless"
    with capture_logs() as logs:
        async with rig(going, cloud=cloud) as world, world.daemon_running():
            await anyio.sleep(60)
            (first,) = cloud.writes()
            cloud.set(first.split()[1], state="destroying")
            await anyio.sleep(30 * 60)
            assert cloud.writes() == [first], "ten minutes under way, and late since"
            await anyio.sleep(15 * 60)
            assert len(cloud.writes()) == 2
    assert [line["event"] for line in logs if line["event"] == "machine.transition_timed_out"]
    assert not [line for line in logs if line["event"] == "machine.changed_outside"]


TOO_LATE = 45 * 60.0
"""Seconds after a destroy's deadline from which on its effect is no late one any more."""


@pytest.mark.parametrize("shown_leaving", [True, False], ids=["shown leaving", "gone at once"])
@pytest.mark.parametrize(
    ("answer", "away", "ours"),
    [
        pytest.param(None, 60.0, True, id="accepted, and late"),
        pytest.param(None, TOO_LATE, False, id="accepted, and too late"),
        pytest.param(Refused("not allowed", operation="destroy", status=403), 60.0, False, id="declined"),
    ],
)
def test_a_machine_that_is_gone_by_our_late_destroy_is_our_deed(
    shown_leaving: bool, answer: Exception | None, away: float, ours: bool
) -> None:
    async def story() -> None:
        going = fleet(target=0, adopt=("ps1",), scale_in=ScaleIn.DESTROY, allow_destroy=True)
        cloud = FakeCloud(virtual_clock(), takes=20)
        cloud.add(token_name(1), state="off")
        cloud.vain["destroy"] = "endless"
        cloud.before = lambda op, _id: answer if op == "destroy" else None
        with capture_logs() as logs:
            async with rig(going, cloud=cloud) as world, world.daemon_running():
                await anyio.sleep(30 if answer else 11 * 60)
                cloud.before = lambda op, _id: (
                    Refused("enough", operation=op, status=403) if op == "destroy" else None
                )
                await anyio.sleep(away)
                if shown_leaving:
                    cloud.set("ps1", state="destroying")
                    await anyio.sleep(60)
                cloud.remove("ps1")
                await anyio.sleep(60)
                rows = [e for _, e in await world.journal.history() if e.machine == "ps1"]
                fact = world.reconciler.recall.facts["ps1"]
        outside = [line for line in logs if line["event"] == "machine.changed_outside"]
        late = [line for line in logs if line["event"] == "machine.changed_late"]
        assert fact.destroyed is ours
        if ours:
            assert not outside
            assert [(line["action"], line["became"]) for line in late] == [("destroy", "gone")]
            assert (rows[-1].verb, rows[-1].outcome, rows[-1].actor) == ("destroy", "reached", "fleetd")
        else:
            assert not late
            assert [line["became"] for line in outside][-1:] == ["gone"]
            assert (rows[-1].verb, rows[-1].outcome, rows[-1].actor) == ("outside", "observed", "outside")

    run_virtual(story)
