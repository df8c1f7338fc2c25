"""The pass, the executor and the followers together, on virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.model.errors import Ambiguous, MalformedAnswer, RateLimited, Refused, Unauthorized, Unavailable
from fleetd.model.fleet import Guards, Limit, ScaleIn
from fleetd.model.journal import Hold
from fleetd.model.plan import Listing
from fleetd.model.reasons import Verb
from tests.support.build import PARAMETERS, fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual, virtual_clock

LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=10)


async def settle_down(world: Rig, seconds: float = 300) -> None:
    """Passes every 30 s for a while."""
    for _ in range(int(seconds // 30)):
        await world.reconciler.run_pass()
        await anyio.sleep(30)


def up(world: Rig) -> int:
    return sum(state == "ready" for state in world.cloud.states().values())


def test_from_nothing_to_the_target_and_no_write_after() -> None:
    async def story() -> None:
        async with rig(fleet(target=3)) as world, world.passes_by_hand():
            await settle_down(world)
            assert up(world) == 3
            assert world.cloud.writes() == ["create"] * 3
            assert world.reconciler.last is not None
            assert world.reconciler.last.converged
            assert await world.history() == [f"create ps{n} reached" for n in (1, 2, 3)]

    run_virtual(story)


def test_down_and_up_again_reuses_the_same_machines() -> None:
    async def story() -> None:
        async with rig(fleet(target=5, guards=LOOSE)) as world, world.passes_by_hand():
            world.cloud.add("training-backup")
            await settle_down(world)
            world.configure(fleet(target=3, guards=LOOSE))
            await settle_down(world)
            assert sorted(world.cloud.states().values()) == ["off"] * 2 + ["ready"] * 4
            world.configure(fleet(target=5, guards=LOOSE))
            await settle_down(world)
            verbs = [w.split()[0] for w in world.cloud.writes()]
            assert [verbs.count(v) for v in ("create", "stop", "start", "destroy")] == [5, 2, 2, 0]
            assert "ps1" not in {c.machine for c in world.cloud.calls if c.operation in {"stop", "start"}}

    run_virtual(story)


def test_creates_start_slowly_and_a_refusal_ends_the_batch() -> None:
    async def story() -> None:
        async with rig(fleet(target=8)) as world, world.passes_by_hand():
            world.cloud.before = lambda op, _id: Refused("templateId not found") if op == "create" else None
            await world.reconciler.run_pass()
            assert world.cloud.writes() == ["create"]
            await anyio.sleep(30)
            report = await world.reconciler.run_pass()
            assert world.cloud.writes() == ["create"]
            assert [str(s.reason) for s in report.skips] == ["refused_recently"]
            assert "templateId not found" in report.skips[0].detail
            world.cloud.before = lambda _op, _id: None
            await settle_down(world)
            assert up(world) == 8

    run_virtual(story)


@pytest.mark.parametrize(
    ("step", "creates"),
    [
        pytest.param(0.0, 21, id="steady"),
        pytest.param(-40.0, 21, id="set back a bit"),
        pytest.param(-7200.0, 21, id="set back by hours"),
        pytest.param(7200.0, 3, id="set forward"),
    ],
)
def test_no_create_is_made_on_an_observation_that_has_grown_old_meanwhile(step: float, creates: int) -> None:
    """Creates are slow, and the wall clock is set during the first."""

    async def story() -> None:
        fleets = [fleet(name, target=7) for name in ("a", "b", "c")]
        async with rig(*fleets) as world, world.passes_by_hand():
            made: list[str] = []

            def before(operation: str, _machine: str | None) -> None:
                if operation == "create":
                    made.append(operation)
                    if len(made) == 1:
                        world.clock.step(step)

            world.cloud.latency = 1.0
            world.cloud.before = before
            report = await world.reconciler.run_pass()
            assert len(made) == creates
            left = {(s.fleet, str(s.verb), str(s.reason), s.count) for s in report.skips}
            assert left == (
                {(n, "create", "observation_stale", 6) for n in ("a", "b", "c")} if creates == 3 else set()
            )
            await settle_down(world, 900)
            assert up(world) == 21

    run_virtual(story)


@pytest.mark.parametrize("executed", [True, False])
def test_a_lost_create_is_looked_for_and_never_doubled(executed) -> None:
    lost = [Ambiguous("timed out", operation="create")]

    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            hook = lambda op, _id: lost.pop() if op == "create" and lost else None
            if executed:
                world.cloud.after = hook
            else:
                world.cloud.before = hook
            await world.reconciler.run_pass()
            await anyio.sleep(60)
            await world.reconciler.run_pass()
            assert world.cloud.writes() == ["create"], "nothing is repeated within the settle time"
            await settle_down(world)
            assert up(world) == 1
            assert len(world.cloud.states()) == 1
            assert world.cloud.writes() == ["create"] * (1 if executed else 2)
            assert world.meter.said.count(("action", "training", "create", "lost")) == (0 if executed else 1)

    run_virtual(story)


@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize("verb", ["start", "stop"])
def test_a_lost_start_or_stop_is_settled_by_looking(verb, executed) -> None:
    lost = [Ambiguous("reset", operation=verb)]

    async def story() -> None:
        target = 1 if verb == "start" else 0
        async with rig(fleet(target=target, guards=LOOSE)) as world, world.passes_by_hand():
            world.cloud.add(token_name(1), "off" if verb == "start" else "ready", machine_type="P4000")
            hook = lambda op, _id: lost.pop() if op == verb and lost else None
            if executed:
                world.cloud.after = hook
            else:
                world.cloud.before = hook
            await settle_down(world)
            assert list(world.cloud.states().values()) == ["ready" if verb == "start" else "off"]
            assert world.cloud.writes() == [f"{verb} ps1"] * (1 if executed else 2)

    run_virtual(story)


def test_a_create_that_was_surely_not_sent_is_simply_made_again() -> None:
    fault = [RateLimited("slow down"), Unavailable("connection refused")]

    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            world.cloud.before = lambda op, _id: fault.pop() if op == "create" and fault else None
            await settle_down(world)
            assert world.cloud.writes() == ["create"] * 3
            assert await world.history() == [
                "create " + line.split()[1] + " not_sent" for line in (await world.history())[:2]
            ] + ["create ps1 reached"]

    run_virtual(story)


def test_a_machine_that_is_made_and_left_off_is_no_surprise() -> None:
    async def story() -> None:
        made_off = fleet(target=1)
        made_off = replace(made_off, parameters={**made_off.parameters, "startOnCreate": False})
        async with rig(made_off) as world, world.passes_by_hand():
            await settle_down(world, 600)
            assert not [line for line in await world.history() if line.startswith("outside")]
            assert world.cloud.writes() == ["create", "start ps1"]

    run_virtual(story)


def test_starts_of_machines_of_another_type_are_backed_off_from_too() -> None:
    async def story() -> None:
        async with rig(fleet(target=2, machine_type="P5000")) as world, world.passes_by_hand():
            for number in (1, 2):
                world.cloud.add(token_name(number), "off", machine_type="P4000", region="East Coast (NY2)")
            world.cloud.no_capacity = True
            await settle_down(world, 3600)
            starts = [write for write in world.cloud.writes() if write.startswith("start")]
            assert len(starts) == 12, "two machines, at once and after 1, 2, 5, 10 and 30 minutes"
            assert {(b.region, b.machine_type) for b in await world.journal.backoffs()} == {
                ("East Coast (NY2)", "P4000")
            }, "where the lack is, and not what the config asks for"
            world.cloud.no_capacity = False
            await settle_down(world, 3600)
            assert up(world) == 2
            assert await world.journal.backoffs() == []

    run_virtual(story)


@pytest.mark.parametrize("typed", ["East Coast (NY2)", "ny2", "NY2"])
def test_a_capacity_failure_backs_off_and_makes_no_second_machine(typed: str) -> None:
    """By whatever name the config calls the region; machines come back under its full one."""

    async def story() -> None:
        wanted = fleet(target=1, parameters={**PARAMETERS, "region": typed})
        async with rig(wanted) as world, world.passes_by_hand():
            world.cloud.defaults = {"region": "East Coast (NY2)"}
            world.cloud.no_capacity = True
            await settle_down(world, 3600)
            assert len(world.cloud.states()) == 1
            made, started, *_ = [entry for _, entry in await world.journal.history() if entry.machine == "ps1"]
            assert (made.verb, started.verb) == ("create", "start")
            waited = started.ts - timedelta(seconds=started.duration_s or 0) - made.ts
            assert waited >= timedelta(minutes=1), "its start waits for as long as another create would"
            assert [(b.region, b.machine_type) for b in await world.journal.backoffs()] == [
                ("East Coast (NY2)", "P4000")
            ]
            writes = world.cloud.writes()
            assert writes[0] == "create"
            assert set(writes[1:]) == {"start ps1"}
            # 1 + 2 + 5 + 10 + 30 minutes and a minute of trying each: four or five starts within the hour
            assert 4 <= len(writes[1:]) <= 5
            report = world.reconciler.last
            assert report is not None
            assert "insufficient capacity" in report.skips[0].detail
            world.cloud.no_capacity = False
            await settle_down(world, 3600)
            assert up(world) == 1

    run_virtual(story)


def test_a_stuck_create_times_out_and_is_not_replaced() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            world.cloud.stuck = True
            await settle_down(world, 1500)
            assert await world.history() == ["create ps1 timed_out"]
            assert world.cloud.writes() == ["create"]
            report = world.reconciler.last
            assert report is not None
            assert [str(s.reason) for s in report.skips] == ["timed_out"]

    run_virtual(story)


def test_a_listing_that_lacks_a_machine_is_rejected_as_long_as_show_finds_it() -> None:
    async def story() -> None:
        async with rig(fleet(target=2)) as world, world.passes_by_hand():
            await settle_down(world)
            world.cloud.listing = lambda listing: Listing(listing.machines[:1])
            for _ in range(5):
                report = await world.reconciler.run_pass()
                assert report.observation.rejected is not None
                await anyio.sleep(30)
            assert world.cloud.writes() == ["create"] * 2

    run_virtual(story)


def test_a_listing_that_is_older_than_what_show_has_told_is_rejected() -> None:
    async def story() -> None:
        async with rig(fleet(target=2)) as world, world.passes_by_hand():
            await settle_down(world)
            world.cloud.listing = listed_as("ps1", "off")
            report = await world.reconciler.run_pass()
            name = report.memory.facts["ps1"].name
            why = f"the listing has ps1 ({name}) in state off, which show finds in state ready"
            assert report.observation.rejected == why
            assert world.cloud.writes() == ["create"] * 2, "nothing is started in its place"
            assert not [line for line in await world.history() if line.startswith("outside")], "nobody did anything"

    run_virtual(story)


def test_one_machine_that_cannot_be_verified_stops_no_other() -> None:
    async def story() -> None:
        async with rig(fleet("a", target=2), fleet("b", target=1)) as world, world.passes_by_hand():
            await settle_down(world)
            left = world.reconciler.recall.facts["ps1"]
            assert left.fleet == "a"
            (lost,) = (f.machine_id for f in world.reconciler.recall.facts.values() if f.fleet == "b")
            world.cloud.human("stop", "ps1")
            world.cloud.remove(lost)
            world.cloud.before = lambda op, m: MalformedAnswer("no events") if op == "show" and m == "ps1" else None
            with capture_logs() as logs:
                await settle_down(world)
            report = world.reconciler.last
            assert report is not None
            assert report.observation.sane
            assert (report.plan.fleets["a"].up, report.plan.fleets["a"].unknown) == (1, 1), "it keeps its place"
            assert report.plan.fleets["b"].converged, "what b had lost is there again"
            assert world.cloud.writes() == ["create"] * 4
            assert world.reconciler.recall.facts["ps1"] == left, "what was believed last"
            (said,) = [line for line in logs if line["event"] == "fleet.was_blocked"]
            assert (said["fleet"], said["machine"], said["reason"]) == ("a", "ps1", "observation_rejected")
            assert said["detail"] == "the listing has ps1 in state off, and it could not be verified: no events"

            world.cloud.before = lambda _op, _m: None
            await world.reconciler.run_pass()
            assert world.reconciler.recall.facts["ps1"].last_state == "off"
            assert "outside ps1 observed" in await world.history(), "it is said as soon as show tells"

    run_virtual(story)


@pytest.mark.parametrize(("seen", "was"), [("off", "ready"), ("ready", "off")])
def test_a_machine_that_cannot_be_verified_is_never_acted_on(seen: str, was: str) -> None:
    async def story() -> None:
        async with rig(fleet(target=2, guards=LOOSE)) as world, world.passes_by_hand():
            for n, state in enumerate(("ready", was, "ready" if was == "off" else "off"), start=1):
                world.cloud.add(token_name(n), state, machine_type="P4000")
            await world.reconciler.run_pass()
            world.cloud.listing = listed_as("ps2", seen)
            world.cloud.before = lambda op, m: Unavailable("HTTP 503") if op == "show" and m == "ps2" else None
            await settle_down(world)
            assert world.cloud.writes() == [], "nothing is started in its place, and nothing is given up for it"
            world.configure(fleet(target=0, guards=LOOSE))
            await settle_down(world)
            assert "stop ps1" in world.cloud.writes()
            assert not [call for call in world.cloud.writes() if call.endswith("ps2")]

    run_virtual(story)


def listed_as(machine_id: str, state: str) -> Callable[[Listing], Listing]:
    """The listing has one machine in a state of a while ago."""
    return lambda listing: Listing(
        tuple(replace(m, state=state) if m.id == machine_id else m for m in listing.machines)
    )


@pytest.mark.parametrize("show_fails", [False, True])
@pytest.mark.parametrize("destroyed_by_us", [True, False])
def test_an_old_listing_brings_no_machine_back_and_none_goes_in_its_place(
    destroyed_by_us: bool, show_fails: bool
) -> None:
    def broken(op: str, machine_id: str | None) -> Exception | None:
        return Unavailable("HTTP 503") if op == "show" and machine_id == "ps2" else None

    async def story() -> None:
        want = fleet(target=3, scale_in=ScaleIn.DESTROY, allow_destroy=True)
        async with rig(want) as world, world.passes_by_hand():
            await settle_down(world)
            old = await world.cloud.list_machines()
            world.configure(replace(want, target=2))
            if not destroyed_by_us:
                world.cloud.remove("ps2")
            await settle_down(world, 120)
            assert ("destroy ps2" in world.cloud.writes()) is destroyed_by_us
            done = world.cloud.writes()
            world.cloud.listing = lambda _listing: old
            world.cloud.before = broken if show_fails else world.cloud.before
            for _ in range(20):
                report = await world.reconciler.run_pass()
                assert report.observation.rejected is None, "who lists the dead for ever stops nobody"
                assert [m.id for m in report.observation.machines] == ["ps1", "ps3"]
                assert report.converged
                await anyio.sleep(30)
            assert world.cloud.writes() == done
            assert sorted(world.cloud.states().values()) == ["ready", "ready"]
            outside = [line for line in await world.history() if line.startswith("outside")]
            assert len(outside) == (not destroyed_by_us), "it went once"

    run_virtual(story)


def test_a_machine_that_went_and_that_show_finds_again_is_back() -> None:
    async def story() -> None:
        async with rig(fleet(target=2)) as world, world.passes_by_hand():
            await settle_down(world)
            lost = world.cloud._machines["ps1"]
            world.cloud.remove("ps1")
            await world.reconciler.run_pass()
            assert world.reconciler.recall.facts["ps1"].gone_at is not None
            world.cloud._machines["ps1"] = lost
            report = await world.reconciler.run_pass()
            assert "ps1" in {m.id for m in report.observation.machines}
            fact = world.reconciler.recall.facts["ps1"]
            assert (fact.gone_at, fact.destroyed, fact.up_since is not None) == (None, False, True)

    run_virtual(story)


def test_what_really_changed_is_looked_at_once_and_answered_at_once() -> None:
    async def story() -> None:
        async with rig(fleet(target=2, respect_manual=timedelta(0))) as world, world.passes_by_hand():
            await settle_down(world)
            world.cloud.human("stop", "ps1")
            looks = len([c for c in world.cloud.calls if c.operation == "show"])
            await world.reconciler.run_pass()
            assert world.cloud.writes() == ["create", "create", "start ps1"]
            shows = [c for c in world.cloud.calls if c.operation == "show"][looks:]
            assert len(shows) == 2, "to believe the listing, and right before the call"

    run_virtual(story)


def test_machines_that_are_gone_are_replaced() -> None:
    async def story() -> None:
        async with rig(fleet(target=2)) as world, world.passes_by_hand():
            await settle_down(world)
            world.cloud.remove("ps1")
            await settle_down(world)
            assert up(world) == 2
            assert world.cloud.writes() == ["create"] * 3
            assert "outside ps1 observed" in await world.history()

    run_virtual(story)


@pytest.mark.parametrize(("seen", "target"), [("ready", 0), ("off", 1)], ids=["stop", "start"])
def test_an_action_is_dropped_when_the_fresh_look_differs(seen: str, target: int) -> None:
    async def story() -> None:
        async with rig(fleet(target=target, guards=LOOSE)) as world, world.passes_by_hand():
            machine = world.cloud.add(token_name(1), seen, machine_type="P4000")
            stale = Listing((machine,))
            world.cloud.listing = lambda _listing: stale
            world.cloud.set(machine.id, state="restarting")
            report = await world.reconciler.run_pass()
            assert world.cloud.writes() == []
            assert [str(s.reason) for s in report.skips] == ["fresh_look_differs"]

    run_virtual(story)


def test_an_adopted_machine_that_was_renamed_is_foreign_from_then_on() -> None:
    async def story() -> None:
        async with rig(fleet(target=0, guards=LOOSE, adopt=("old-*",))) as world, world.passes_by_hand():
            machine = world.cloud.add("old-1", machine_type="P4000")
            stale = Listing((machine,))
            world.cloud.listing = lambda _listing: stale
            world.cloud.set(machine.id, name="mine-now")
            await world.reconciler.run_pass()
            assert world.cloud.writes() == []

    run_virtual(story)


@pytest.mark.parametrize("afterwards", ["stopped", "destroyed"])
def test_a_machine_that_adopt_released_is_not_watched_any_more(afterwards: str) -> None:
    def looks(world: Rig) -> int:
        return sum(c.operation == "show" and c.machine == "ps1" for c in world.cloud.calls)

    async def story() -> None:
        async with rig(fleet(target=1, adopt=("old-*",))) as world, world.passes_by_hand():
            world.cloud.add("old-1", machine_type="P4000")
            await settle_down(world, 60)
            before = looks(world)
            world.configure(fleet(target=1))
            if afterwards == "stopped":
                world.cloud.human("stop", "ps1")
            else:
                world.cloud.remove("ps1")
            world.cloud.before = lambda op, m: Unavailable("HTTP 500") if op == "show" and m == "ps1" else None
            await settle_down(world)
            assert looks(world) == before
            assert world.cloud.writes() == ["create"], "nothing stands in the way of the fleet"
            assert not [line for line in await world.history() if line.startswith("outside")]

    run_virtual(story)


def test_a_hold_that_arrives_between_plan_and_call_is_obeyed() -> None:
    async def story() -> None:
        async with rig(fleet(target=0, guards=LOOSE)) as world, world.passes_by_hand():
            world.cloud.add(token_name(1), machine_type="P4000")

            def hold_on_first_show(operation: str, _machine: str | None) -> None:
                if operation == "show":
                    group.start_soon(hold)

            async def hold() -> None:
                now = world.clock.now()
                await world.journal.add_hold(
                    Hold(
                        id=0,
                        kind="hold",
                        subject="ps1",
                        verbs=frozenset(Verb),
                        reason="training until five",
                        actor="ada",
                        created_at=now,
                        expires_at=now + timedelta(hours=4),
                    )
                )

            async with anyio.create_task_group() as group:
                world.cloud.before = hold_on_first_show
                world.reconciler.executor._preflight._last_word = lambda _a, _m, _c: anyio.sleep(1)
                report = await world.reconciler.run_pass()
            assert world.cloud.writes() == []
            assert "held" in {str(s.reason) for s in report.skips}

    run_virtual(story)


@pytest.mark.parametrize(
    ("then", "writes"),
    [((), []), ((fleet(target=1, guards=LOOSE),), []), ((fleet(target=0, guards=LOOSE),), ["stop ps1"])],
    ids=["released", "changed", "the same"],
)
def test_a_plan_ends_where_a_reload_changes_its_fleet(then, writes) -> None:
    async def story() -> None:
        async with rig(fleet(target=0, guards=LOOSE)) as world, world.passes_by_hand():
            world.cloud.add(token_name(1), machine_type="P4000")

            def reload_on_first_show(operation: str, _machine: str | None) -> None:
                if operation == "show":
                    world.configure(*(then or (fleet("other", target=0),)))

            world.cloud.before = reload_on_first_show
            report = await world.reconciler.run_pass()
            assert world.cloud.writes() == writes
            assert [str(s.reason) for s in report.skips] == ([] if writes else ["config_changed"])

    run_virtual(story)


def test_creates_end_where_a_reload_releases_their_fleet() -> None:
    async def story() -> None:
        async with rig(fleet(target=5)) as world, world.passes_by_hand():

            def reload_on_first_create(operation: str, _machine: str | None) -> None:
                if operation == "create":
                    world.configure(fleet("other", target=0))

            world.cloud.before = reload_on_first_create
            report = await world.reconciler.run_pass()
            assert world.cloud.writes() == ["create"]
            assert {str(s.reason) for s in report.skips} == {"config_changed", "slow_start"}

    run_virtual(story)


def test_destroys_are_verified_gone() -> None:
    async def story() -> None:
        destroying = fleet(
            target=0, scale_in=ScaleIn.DESTROY, allow_destroy=True, guards=LOOSE, adopt=(token_name(1),)
        )
        async with rig(destroying) as world, world.passes_by_hand():
            world.cloud.add(token_name(1), machine_type="P4000")
            world.cloud.add("training-backup", "off")
            await settle_down(world)
            assert list(world.cloud.states()) == ["training-backup"]
            assert world.cloud.writes() == ["destroy ps1"]
            assert "destroy ps1 reached" in await world.history()

    run_virtual(story)


def test_following_many_costs_one_listing_a_tick() -> None:
    async def story() -> None:
        wanted = fleet(target=200, guards=Guards(max_creates_per_pass=200))
        async with rig(wanted) as world, world.passes_by_hand():
            await settle_down(world, 120)
            assert up(world) == 200
            reads = [c for c in world.cloud.calls if c.operation in {"list", "show"}]
            assert len(reads) < 50

    run_virtual(story)


def test_a_refused_key_stops_everything_but_the_looking() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            world.cloud.before = lambda _op, _id: Unauthorized("Invalid API token")
            with pytest.raises(Unauthorized):
                await world.reconciler.run_pass()
            assert world.cloud.writes() == []

    run_virtual(story)


def test_orphans_are_told_once_until_there_are_none() -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        made = [cloud.add(token_name(n, "research"), state) for n, state in ((1, "ready"), (2, "off"))]
        cloud.add("research-desk")
        with capture_logs() as logs:
            async with rig(fleet(target=0), cloud=cloud) as world, world.passes_by_hand():
                for _ in range(3):
                    await world.reconciler.run_pass()
                for machine in made:
                    cloud.remove(machine.id)
                await world.reconciler.run_pass()
                cloud.add(token_name(3, "research"))
                await world.reconciler.run_pass()
                assert cloud.writes() == []
        said = [line for line in logs if line["event"] == "fleet.was_orphaned"]
        assert [(line["fleet"], line["count"], line["up"]) for line in said] == [
            ("research", 2, 1),
            ("research", 1, 1),
        ]

    run_virtual(story)


def test_a_pass_that_the_guard_on_creates_has_cut_goes_on_from_the_same_look() -> None:
    async def story() -> None:
        async with rig(fleet(target=40)) as world, world.daemon_running():
            await anyio.sleep(2)
            assert world.cloud.writes() == ["create"] * 40
            assert [c.operation for c in world.cloud.calls].count("list") == 1

    run_virtual(story)


@pytest.mark.parametrize("what", ["an ending", "a reload", "time"])
def test_a_pass_that_goes_on_looks_anew_when_anything_else_has_happened(what: str) -> None:
    async def story() -> None:
        async with rig(fleet(target=40)) as world, world.passes_by_hand() as reconciler:
            await reconciler.run_pass()
            if what == "an ending":
                world.follower.endings += 1
            elif what == "a reload":
                world.configure(fleet(target=40))
            else:
                await anyio.sleep(16)
            world.cloud.calls.clear()
            await reconciler.run_pass()
            assert [c.operation for c in world.cloud.calls].count("list") >= 1
            assert world.cloud.writes() == ["create"] * 10

    run_virtual(story)
