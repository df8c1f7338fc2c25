"""Machines that are ours by their names alone, or by a pattern: counted, started, stopped, and not destroyed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.cli.explain import sentences_about
from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import Leases
from fleetd.engine.status import status_report
from fleetd.model.errors import Ambiguous
from fleetd.model.fleet import Fleet, Guards, Limit, ScaleIn
from fleetd.model.reasons import Reason
from fleetd.model.report import DaemonReport
from fleetd.ops.metrics import Metrics
from tests.support.build import fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual, virtual_clock

LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=10)
GOES = fleet(target=1, scale_in=ScaleIn.DESTROY, allow_destroy=True, guards=LOOSE)


async def passes(world: Rig, seconds: float) -> None:
    for _ in range(int(seconds // 30)):
        await world.reconciler.run_pass()
        await anyio.sleep(30)


def reasons(world: Rig) -> set[Reason]:
    assert world.reconciler.last is not None
    return {skip.reason for skip in world.reconciler.last.skips}


@pytest.mark.parametrize(
    ("name", "adopt", "reason"),
    [(token_name(7), (), Reason.RECOVERED), ("old-gpu-7", ("old-gpu-*",), Reason.ADOPTED_BY_GLOB)],
)
def test_it_is_started_and_stopped_as_ours_and_never_destroyed(name, adopt, reason) -> None:
    wanted = replace(GOES, adopt=adopt)

    async def story() -> None:
        async with rig(wanted) as world, world.passes_by_hand():
            theirs = world.cloud.add(name, "off", machine_type="P4000")
            await passes(world, 150)
            assert world.cloud.states() == {name: "ready"}
            world.configure(replace(wanted, target=0))
            await passes(world, 3600)
            assert world.cloud.writes() == [f"start {theirs.id}", f"stop {theirs.id}"]
            assert world.cloud.states() == {name: "off"}
            assert reason in reasons(world)
            (row,) = status_report(world.reconciler.last, daemon=DaemonReport(running=True)).machines
            assert row.unconfirmed == str(reason)
            assert world.reconciler.last is not None
            assert [(u.name, u.reason) for u in world.reconciler.last.plan.unconfirmed] == [(name, reason)]
            await world.reconciler.recall.confirm(theirs.id)
            await passes(world, 60)
            assert world.cloud.states() == {}

    run_virtual(story)


def test_a_journal_that_was_lost_destroys_nothing_and_adopt_in_the_config_confirms(tmp_path: Path) -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        async with rig(replace(GOES, target=3), cloud=cloud, state=_made(tmp_path / "one")) as world:
            async with world.passes_by_hand():
                await passes(world, 300)
            names = sorted(cloud.states())
        none = replace(GOES, target=0)
        async with rig(none, cloud=cloud, state=_made(tmp_path / "two")) as world, world.passes_by_hand():
            with capture_logs() as logs:
                await passes(world, 600)
            assert sorted(line["name"] for line in logs if line["event"] == "machine.was_recovered") == names
            assert set(cloud.states().values()) == {"off"}
            world.configure(replace(none, adopt=(names[0],)))
            await passes(world, 60)
            assert sorted(cloud.states()) == names[1:]
        async with rig(none, cloud=cloud, state=tmp_path / "two") as world, world.passes_by_hand():
            await passes(world, 600)  # a restart confirms nothing
            assert sorted(cloud.states()) == names[1:]

    run_virtual(story)


@pytest.mark.parametrize("turns_up_after", [20, 600])
def test_what_a_create_of_this_journal_made_is_not_recovered_however_late_it_turns_up(turns_up_after) -> None:
    async def story() -> None:
        async with rig(replace(GOES, scale_in=ScaleIn.DESTROY)) as world, world.passes_by_hand():
            world.cloud.after = lambda op, _id: Ambiguous("lost") if op == "create" else None
            lost: list[str] = []
            appears = anyio.current_time() + turns_up_after
            world.cloud.listing = lambda found: replace(
                found,
                machines=tuple(m for m in found.machines if m.name not in lost or anyio.current_time() > appears),
            )
            await world.reconciler.run_pass()
            world.cloud.after = lambda _op, _id: None
            lost += world.cloud.states()
            await passes(world, turns_up_after + 300)
            assert not any(f.unconfirmed for f in world.reconciler.recall.facts.values())
            assert list(world.cloud.states().values()) == ["ready"]  # where two were up, one is given up for good

    run_virtual(story)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def test_two_daemons_one_with_a_pattern_that_fits_the_others_names() -> None:
    """The second one's config adopts ``train*``, has a target of 0 and may destroy."""

    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        greedy: Fleet = fleet("rig", 0, adopt=("train*",), scale_in=ScaleIn.DESTROY, allow_destroy=True, guards=LOOSE)
        async with (
            rig(fleet(target=2), cloud=cloud) as one,
            one.passes_by_hand(),
            rig(greedy, cloud=cloud) as two,
            two.passes_by_hand(),
        ):
            for _ in range(10):
                await passes(one, 30)
                await passes(two, 30)
            assert cloud.writes() == ["create"] * 2
            assert set(cloud.states().values()) == {"ready"}

    run_virtual(story)


def test_a_lookalike_is_told_as_one_and_not_as_an_orphan() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            await passes(world, 120)
            (name,) = world.cloud.states()
            twin = world.cloud.add(name)
            with capture_logs() as logs:
                await passes(world, 90)
            said = [line for line in logs if line["event"] in {"machine.was_lookalike", "fleet.was_orphaned"}]
            assert [(s["event"], s["machine"], s["fleet"]) for s in said] == [
                ("machine.was_lookalike", twin.id, "training")
            ]
            rows = {r.id: r for r in status_report(world.reconciler.last, daemon=DaemonReport(running=True)).machines}
            assert (rows[twin.id].standing, rows[twin.id].owned) == ("look_alike", False)
            assert world.cloud.writes() == ["create"]

    run_virtual(story)


def test_a_machine_that_somebody_turns_again_and_again_is_an_alert_and_not_fought() -> None:
    async def story() -> None:
        async with rig(fleet(target=1, guards=LOOSE)) as world, world.passes_by_hand():
            await passes(world, 120)
            ((machine_id, _),) = world.reconciler.recall.facts.items()
            world.configure(fleet(target=0, guards=LOOSE))
            with capture_logs() as logs:
                off = 0
                for _ in range(
                    120
                ):  # an hour, in which another daemon starts it whenever it has been off for a while
                    await passes(world, 30)
                    off = off + 1 if "off" in world.cloud.states().values() else 0
                    if off == 2:
                        world.cloud.human("start", machine_id)
            stops = world.cloud.writes().count(f"stop {machine_id}")
            assert stops <= 10, "it grows apart: 1, 2, 5, 10, 30 minutes"
            said = [line for line in logs if line["event"] == "machine.was_fought_over"]
            assert said
            handle = EngineHandle(world.daemon, Leases(world.journal), world.clock)
            metrics = Metrics(version="1")
            metrics.show(handle.status(), world.clock.now())
            assert metrics.registry.get_sample_value("fleetd_machines_fought_over", {"fleet": "training"}) == 1
            told = " ".join(sentences_about(handle.status(), machine_id, (), world.clock.now()))
            assert "has started or stopped it" in told
            assert (said[0]["machine"], said[0]["count"], said[0]["log_level"]) == (machine_id, 3, "error")

    run_virtual(story)
