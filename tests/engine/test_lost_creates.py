"""Creates whose machines nobody can find, or that do not stay, are not made one after another: each may be billed."""

from __future__ import annotations

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.model.errors import Ambiguous
from fleetd.model.fleet import Guards, Limit
from fleetd.model.reasons import Reason
from tests.engine.test_passes import settle_down
from tests.support.build import fleet
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual

HOUR = 3600
MOST = 7
"""Creates in an hour for one place: one, another at once, and one after each of 1, 2, 5, 10 and 30 minutes."""


def cut_short(world: Rig, *, answered: bool) -> None:
    """Every machine gets the first letters of its name."""

    def after(operation: str, machine_id: str | None) -> Exception | None:
        if operation != "create":
            return None
        assert machine_id is not None
        world.cloud.set(machine_id, name=f"short-{machine_id}")
        return None if answered else Ambiguous("timed out", operation="create")

    world.cloud.after = after


def one_for_all(world: Rig) -> None:
    """Every create is answered, and no machine is made."""
    world.cloud.before = lambda op, _id: Ambiguous("not JSON", operation="create") if op == "create" else None


WAYS = {
    "answered with another name": lambda world: cut_short(world, answered=True),
    "not answered, and made under another name": lambda world: cut_short(world, answered=False),
    "not understood, and not made": one_for_all,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("target", [1, 3])
def test_creates_that_are_lost_one_after_another_grow_apart(way, target) -> None:
    async def story() -> None:
        async with rig(fleet(target=target)) as world, world.passes_by_hand():
            WAYS[way](world)
            with capture_logs() as logs:
                await settle_down(world, HOUR)
            assert 3 <= len(world.cloud.writes()) <= MOST * target
            attempts = [line["attempt"] for line in logs if line["event"] == "action.backed_off"]
            assert list(dict.fromkeys(attempts))[:3] == [1, 2, 3]
            world.cloud.before = world.cloud.after = lambda _op, _id: None
            await settle_down(world, HOUR)
            assert found(world) == target
            assert not world.reconciler.recall.setbacks.known(world.clock.now()), "a machine that came up ends it"

    run_virtual(story)


def found(world: Rig) -> int:
    """Machines that are up under a name of the fleet's."""
    return sum(s == "ready" and n.startswith("training-") for n, s in world.cloud.states().items())


def test_that_they_wait_is_said_and_they_are_made_anew_by_a_reload() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            cut_short(world, answered=True)
            await settle_down(world, 210)
            report = world.reconciler.last
            assert report is not None
            skip = next(s for s in report.skips if s.reason is Reason.NO_EFFECT)
            assert "whether one of another name is billed" in skip.detail
            assert skip.until is not None
            assert skip.until > world.clock.now()
            assert dict(report.plan.fleets["training"].no_effect) == {"create": 1}
            assert not report.plan.fleets["training"].converged
            before = len(world.cloud.writes())
            world.reconciler.recall.forget_refusals()  # as a reload does
            await world.reconciler.run_pass()
            assert len(world.cloud.writes()) == before + 1

    run_virtual(story)


def test_several_that_are_lost_in_one_moment_are_one_trouble() -> None:
    lost = [True] * 4

    async def story() -> None:
        async with rig(fleet(target=7)) as world, world.passes_by_hand():
            world.cloud.after = lambda op, _id: (
                Ambiguous("reset", operation="create")
                if op == "create" and len(world.cloud.states()) > 3 and lost and lost.pop()
                else None
            )
            forget(world)
            with capture_logs() as logs:
                await settle_down(world, 600)
            assert len([line for line in logs if line["event"] == "intent.lost"]) == 4
            assert not [line for line in logs if line["event"] == "action.backed_off"]
            assert found(world) == 7

    run_virtual(story)


def forget(world: Rig) -> None:
    """Those that were not answered have not been made."""
    answered = world.cloud.after

    def after(operation: str, machine_id: str | None) -> Exception | None:
        fault = answered(operation, machine_id)
        if fault is not None and machine_id is not None:
            world.cloud.remove(machine_id)
        return fault

    world.cloud.after = after


@pytest.mark.parametrize("lasts", [30, 200])
def test_machines_that_vanish_as_soon_as_they_are_up_are_made_ever_more_rarely(lasts) -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            up_since: dict[str, float] = {}
            with capture_logs() as logs:
                for _ in range(HOUR // 30):
                    await world.reconciler.run_pass()
                    await anyio.sleep(30)
                    for machine, state in world.cloud.states().items():
                        since = up_since.setdefault(machine, anyio.current_time()) if state == "ready" else None
                        if since is not None and anyio.current_time() - since >= lasts:
                            world.cloud.remove(world.cloud.named(machine).id)
            assert 3 <= len(world.cloud.writes()) <= MOST
            waits = [(line["action"], line["attempt"]) for line in logs if line["event"] == "action.backed_off"]
            assert waits[:3] == [("create", 1), ("create", 2), ("create", 3)]
            await settle_down(world, HOUR)
            assert found(world) == 1

    run_virtual(story)


def test_a_machine_that_a_person_destroys_is_replaced_at_once_and_so_is_half_a_fleet() -> None:
    async def story() -> None:
        loose = Guards(max_shrink=Limit(percent=100))
        async with rig(fleet(target=6, guards=loose)) as world, world.passes_by_hand():
            await settle_down(world)
            assert found(world) == 6
            for name in list(world.cloud.states())[:3]:
                world.cloud.remove(world.cloud.named(name).id)
            await settle_down(world)
            assert found(world) == 6
            assert len(world.cloud.writes()) == 9

    run_virtual(story)
