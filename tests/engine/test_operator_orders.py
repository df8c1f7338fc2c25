"""An operator's start, stop or restart through the daemon, on virtual time: what is done, said and kept."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from fleetd.engine import handle
from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import Leases
from fleetd.model.errors import OrderDeclined, RateLimited, Refused, Unavailable
from fleetd.model.fleet import IdleRule
from fleetd.model.journal import MachineOrder, VetoOrder
from fleetd.model.reasons import Activity, Verb
from tests.support.build import fleet, token_name
from tests.support.rig import Rig, rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual

ADA = "ada (uid 1000)"
RULE = IdleRule(("gpu",), after=timedelta(minutes=30), min_uptime=timedelta(minutes=10))


def handle_of(world: Rig) -> EngineHandle:
    return EngineHandle(world.daemon, Leases(world.journal), world.clock)


def stop(subject: str = "ps1", **fields) -> MachineOrder:
    fields.setdefault("keep_off", timedelta(hours=4))
    return MachineOrder(Verb.STOP, subject, "its fan is loud", **fields)


async def recorded(world: Rig) -> list[tuple[str, str | None, str, str]]:
    return [(e.verb, e.machine, str(e.outcome), e.actor) for _, e in await world.journal.history()]


def test_an_ordered_stop_stays_off_for_its_time_and_is_not_made_up_for() -> None:
    async def story() -> None:
        # respect_manual = 0: stops at the provider's console are fought at once; an order through fleetd is not.
        async with rig(fleet(target=2, respect_manual=timedelta(0))) as world, world.daemon_running():
            await anyio.sleep(300)
            handle = handle_of(world)
            answer = await handle.request(stop(world.reconciler.last.observation.machines[0].name), ADA)
            assert (answer.result, answer.machine, answer.transition.verb) == ("begun", "ps1", "stop")
            await anyio.sleep(3.9 * 3600)
            assert world.cloud.writes() == ["create", "create", "stop ps1"]
            (blocked,) = handle.status().blocked
            assert (blocked.reason, blocked.machine) == ("respect_manual", "ps1")
            assert blocked.detail == "ada (uid 1000): its fan is loud"
            assert blocked.until == answer.kept_off_until
            await anyio.sleep(0.2 * 3600)
            assert world.cloud.writes()[3:] == ["start ps1"], "its time is over"
            assert ("stop", "ps1", "reached", ADA) in await recorded(world)

    run_virtual(story)


def test_a_release_lets_it_start_again_at_once() -> None:
    async def story() -> None:
        wanted = fleet(target=1, respect_manual=timedelta(0))
        async with rig(wanted) as world, world.daemon_running():
            await anyio.sleep(300)
            handle = handle_of(world)
            await handle.request(stop(), ADA)
            await anyio.sleep(300)
            assert await handle.lift("hold", "ps1", "bob") == 1, "made by its name, ended by its id"
            await anyio.sleep(300)
            assert world.cloud.writes() == ["create", "stop ps1", "start ps1"]

    run_virtual(story)


def test_a_persons_start_ends_what_a_persons_stop_left() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.daemon_running():
            await anyio.sleep(300)
            handle = handle_of(world)
            for _ in range(2):  # as often as one likes
                await handle.request(stop(), ADA)
                await anyio.sleep(300)
                answer = await handle.request(MachineOrder(Verb.START, "ps1", "wanted back"), "bob")
                assert answer.result == "begun"
                assert [(h.actor, h.reason) for h in answer.lifted] == [(ADA, "its fan is loud")]
                assert handle.status().vetoes == ()
                await anyio.sleep(300)
            assert world.cloud.writes() == ["create", *["stop ps1", "start ps1"] * 2]
            assert [row for row in await recorded(world) if row[0] == "release"] == [
                ("release", "ps1", "observed", "bob")
            ] * 2

    run_virtual(story)


@pytest.mark.parametrize(
    ("kind", "subject", "verbs", "reason"),
    [
        ("hold", "ps1", {Verb.START}, "held"),
        ("hold", "ps1", set(Verb), "held"),
        ("freeze", "training", {Verb.START}, "frozen"),
        ("freeze", None, set(Verb), "frozen"),
    ],
)
def test_a_persons_start_ends_nobodys_veto(kind: str, subject: str | None, verbs: set[Verb], reason: str) -> None:
    """A hold that forbids starts alone looks like what a stop leaves, and is not."""

    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.daemon_running():
            await anyio.sleep(300)
            handle = handle_of(world)
            await handle.request(stop(), ADA)
            await anyio.sleep(300)
            await handle.veto(VetoOrder(kind, subject, frozenset(verbs), "mine", timedelta(hours=1)), "eve")
            with pytest.raises(OrderDeclined, match="the hold that the last stop left on it is ended") as declined:
                await handle.request(MachineOrder(Verb.START, "ps1", "wanted back"), "bob")
            assert declined.value.reason == reason
            assert [v.actor for v in handle.status().vetoes] == ["eve"]
            assert "start ps1" not in world.cloud.writes()

    run_virtual(story)


@pytest.mark.parametrize("note", ["", "nonsense", "{}", '["1", null, true, 1e3]', "[" * 20_000])
def test_an_odd_note_of_what_was_kept_off_costs_no_veto(note: str) -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.daemon_running():
            await anyio.sleep(300)
            handle = handle_of(world)
            await handle.request(stop(), ADA)
            await anyio.sleep(300)
            await world.journal.put_note("kept_off", note)
            with pytest.raises(OrderDeclined, match="an operator holds it"):
                await handle.request(MachineOrder(Verb.START, "ps1", "wanted back"), "bob")
            assert len(handle.status().vetoes) == 1

    run_virtual(story)


def test_what_an_ordered_stop_leaves_behind_survives_a_crash(tmp_path: Path) -> None:
    async def story() -> None:
        wanted = fleet(target=1, respect_manual=timedelta(0))
        async with rig(wanted, state=tmp_path) as world:
            with anyio.move_on_after(400):
                async with anyio.create_task_group() as group:
                    group.start_soon(world.daemon.run)
                    await anyio.sleep(300)
                    await handle_of(world).request(stop(), ADA)
                    await anyio.sleep_forever()
            cloud = world.cloud
        async with rig(wanted, state=tmp_path, cloud=cloud, seed=2) as world, world.daemon_running():
            await anyio.sleep(3600)
            assert cloud.writes() == ["create", "stop ps1"]

    run_virtual(story)


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.RESTART])
@pytest.mark.parametrize(("says", "reason"), [(Activity.ACTIVE, "busy"), (Activity.UNKNOWN, "activity_unknown")])
def test_a_machine_in_use_is_left_alone_unless_the_operator_knows(verb: Verb, says: Activity, reason: str) -> None:
    async def story() -> None:
        source = ScriptedSource(says=lambda _m: says)
        async with rig(fleet(target=1, idle=RULE), sources={"gpu": source}) as world, world.daemon_running():
            await anyio.sleep(300)
            handle = handle_of(world)
            with pytest.raises(OrderDeclined) as caught:
                await handle.request(MachineOrder(verb, "ps1", "looks odd"), ADA)
            assert caught.value.reason == reason
            await anyio.sleep(3600)
            assert world.cloud.writes() == ["create"]
            assert await world.journal.holds(now=world.clock.now()) == []
            order = MachineOrder(verb, "ps1", "on fire", even_if_busy=True)
            assert (await handle.request(order, ADA)).result == "begun"
            assert world.cloud.writes() == ["create", f"{verb} ps1"]

    run_virtual(story)


def test_a_machine_that_turns_busy_at_the_last_look_is_left_alone_and_no_hold_stays() -> None:
    async def story() -> None:
        source = ScriptedSource()
        async with rig(fleet(target=1, idle=RULE), sources={"gpu": source}) as world, world.daemon_running():
            await anyio.sleep(300)

            def show_begins(operation: str, _machine: str | None) -> None:
                if operation == "show":
                    source.says = lambda _m: Activity.ACTIVE

            world.cloud.before = show_begins
            with pytest.raises(OrderDeclined, match="asked again right before the call"):
                await handle_of(world).request(stop(), ADA)
            assert world.cloud.writes() == ["create"]
            assert await world.journal.holds(now=world.clock.now()) == []

    run_virtual(story)


def test_orders_that_come_while_a_pass_looks_are_for_that_pass_or_the_next_and_never_lost() -> None:
    async def story() -> None:
        async with rig(fleet(target=2)) as world, world.daemon_running():
            await anyio.sleep(300)
            world.cloud.latency = 1.0
            handle, answers = handle_of(world), []

            async def ask(delay: float, subject: str) -> None:
                await anyio.sleep(delay)
                answers.append((await handle.request(stop(subject), ADA)).result)

            world.daemon.wake()
            async with anyio.create_task_group() as group:
                group.start_soon(ask, 1.6, "ps1")  # the listing is under way
                group.start_soon(ask, 3.1, "ps2")  # the first stop is
            assert answers == ["begun", "begun"]
            assert world.cloud.writes()[2:] == ["stop ps1", "stop ps2"]

    run_virtual(story)


def test_an_order_ends_with_the_pass_that_fails_and_is_never_carried_out_later() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.daemon_running():
            await anyio.sleep(300)
            world.cloud.before = lambda op, _id: Unavailable("connection refused") if op == "list" else None
            with pytest.raises(OrderDeclined, match="the pass failed: connection refused"):
                await handle_of(world).request(stop(), ADA)
            world.cloud.before = lambda _op, _id: None
            await anyio.sleep(3600)
            assert world.cloud.writes() == ["create"]
            assert ("stop", "ps1", "not_sent", ADA) in await recorded(world)

    run_virtual(story)


def test_the_providers_refusal_reaches_the_operator() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.daemon_running():
            await anyio.sleep(300)
            world.cloud.before = lambda op, _id: Refused("payment required") if op == "stop" else None
            with pytest.raises(OrderDeclined, match="payment required"):
                await handle_of(world).request(stop(), ADA)
            assert await world.journal.holds(now=world.clock.now()) == []

    run_virtual(story)


def test_whom_an_order_names_must_be_one_machine_of_ours() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            world.cloud.add("training-backup")
            async with world.daemon_running():
                await anyio.sleep(300)
                for subject in ("training-backup", "training-nobody"):
                    with pytest.raises(LookupError, match=f"{subject}: no machine of ours"):
                        await handle_of(world).request(stop(subject), ADA)

    run_virtual(story)


def test_nobody_waits_for_a_pass_that_hangs() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.daemon_running() as daemon:
            await anyio.sleep(300)
            world.cloud.latency = 1e6
            daemon.wake()
            begun = anyio.current_time()
            with pytest.raises(OrderDeclined, match="no pass has come to it within 30 s"):
                await handle_of(world).request(stop(), ADA)
            assert anyio.current_time() - begun <= 30

    run_virtual(story)


def test_an_order_that_no_pass_came_to_is_never_carried_out() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.daemon_running():
            await anyio.sleep(300)
            world.cloud.before = lambda _op, _id: RateLimited("slow down", operation="list", retry_after=120.0)
            await anyio.sleep(60)
            with pytest.raises(OrderDeclined, match="no pass has come to it within 30 s: list: slow down"):
                await handle_of(world).request(stop(), ADA)
            world.cloud.before = lambda _op, _id: None
            await anyio.sleep(300)
            assert world.cloud.writes() == ["create"]
            assert [e for e in await recorded(world) if e[0] == "stop"] == [("stop", "ps1", "not_sent", ADA)]

    run_virtual(story)


@pytest.mark.parametrize("looking", [True, False], ids=["a pass looks", "between passes"])
def test_an_order_to_a_daemon_that_is_told_to_stop_is_declined_at_once(looking) -> None:
    """It stands in history, and nothing is carried out by the next process."""

    async def story() -> None:
        heard: list[tuple[str, float]] = []

        async def give(world: Rig) -> None:
            try:
                await handle_of(world).request(stop(), ADA)
            except OrderDeclined as error:
                heard.append((error.reason, anyio.current_time()))

        async with rig(fleet(target=1)) as world:
            async with world.daemon_running():
                await anyio.sleep(300)
                listed = world.cloud.list_machines

                async def slow(*args: object, **fields: object) -> object:
                    await anyio.sleep(20)
                    return await listed(*args, **fields)

                async with anyio.create_task_group() as group:
                    if looking:
                        world.cloud.list_machines = slow  # type: ignore[method-assign, assignment]
                        group.start_soon(give, world)
                        await anyio.sleep(10)
                    world.daemon.stop()
                    at = anyio.current_time()
                    group.start_soon(give, world)
                assert heard == [("shutting_down", at)] * (1 + looking)
                assert handle_of(world).status().daemon.stopping_since is not None
            assert world.cloud.writes() == ["create"]
            said = [e for e in await recorded(world) if e[0] == "stop"]
            assert said == [("stop", "ps1", "not_sent", ADA)] * (1 + looking)

    run_virtual(story)


def test_an_order_that_a_pass_is_at_is_undecided_and_not_withdrawn(monkeypatch) -> None:
    monkeypatch.setattr(handle, "DECIDED_WITHIN", 5.0)

    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.daemon_running():
            await anyio.sleep(300)
            show = world.cloud.show

            async def slow(machine_id: str) -> object:
                await anyio.sleep(10)
                return await show(machine_id)

            world.cloud.show = slow  # type: ignore[method-assign, assignment]
            assert (await handle_of(world).request(stop(), ADA)).result == "undecided"
            await anyio.sleep(40)
            assert world.cloud.writes() == ["create", "stop ps1"]

    run_virtual(story)


def test_an_order_is_decided_in_time_however_long_the_interval() -> None:
    async def story() -> None:
        async with rig(fleet(target=1), interval=3600) as world:
            world.cloud.add(token_name(1), machine_type="P4000")
            async with world.daemon_running():
                await anyio.sleep(300)
                answer = await handle_of(world).request(MachineOrder(Verb.RESTART, "ps1", "its GPU hangs"), ADA)
                assert answer.result == "begun"

    run_virtual(story)


def test_vetoes_are_in_history_with_machine_fleet_and_actor() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            name = world.cloud.add(token_name(1), machine_type="P4000").name
            async with world.daemon_running():
                await anyio.sleep(60)
                handle = handle_of(world)
                held = await handle.veto(VetoOrder("hold", name, frozenset(Verb), "a run", timedelta(hours=1)), ADA)
                assert held.machines == ("ps1",)
                odd = VetoOrder("hold", "training-typo", frozenset(Verb), "a run", timedelta(hours=1))
                with pytest.raises(LookupError, match="no machine of ours is called training-typo"):
                    await handle.veto(odd, ADA)
                with pytest.raises(LookupError, match="has no fleet trainig; it has training"):
                    await handle.veto(VetoOrder("freeze", "trainig", frozenset(Verb), "x", timedelta(hours=1)), ADA)
                await handle.veto(VetoOrder("freeze", None, frozenset(Verb), "calm", timedelta(hours=1)), ADA)
                await handle.lift("hold", "ps1", "bob")
                await handle.lift("freeze", None, "bob")
            entries = [e for _, e in await world.journal.history() if e.verb != "daemon"]
            assert [(e.verb, e.fleet, e.machine, e.name, e.actor) for e in entries] == [
                ("hold", "training", "ps1", name, ADA),
                ("freeze", "", None, "everything", ADA),
                ("release", "training", "ps1", name, "bob"),
                ("unfreeze", "", None, "everything", "bob"),
            ]
            until = f"{held.expires_at:%Y-%m-%d %H:%M:%S}"
            assert entries[0].evidence == f"a run; until {until} UTC"

    run_virtual(story)


def test_a_veto_is_shown_at_once_although_no_pass_ends() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            world.cloud.before = lambda _op, _id: Unavailable("connection refused", operation="list")
            async with world.daemon_running():
                handle = handle_of(world)
                assert handle.status().vetoes == ()
                await handle.veto(VetoOrder("freeze", None, frozenset(Verb), "calm", timedelta(hours=1)), ADA)
                assert [(v.kind, v.actor) for v in handle.status().vetoes] == [("freeze", ADA)]
                await anyio.sleep(3601)
                assert handle.status().vetoes == (), "it is over, and still nobody could look"

    run_virtual(story)
