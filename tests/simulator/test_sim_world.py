"""How machines move through their states, in a time that the test moves."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from fleetd.simulator.admission import NewMachine
from fleetd.simulator.lifecycle import NO_CAPACITY, Fate
from fleetd.simulator.records import MachineRecord, Refusal
from fleetd.simulator.state import Durations
from fleetd.simulator.world import World
from tests.support.sim import Hand, still_world

NY = "East Coast (NY2)"
HOUR, DAY = 3600.0, 86_400.0


def new(name: str = "a", **fields: Any) -> NewMachine:
    return NewMachine(name, "P4000", NY, "tbu200wi", 50, **fields)


def journey(world: World, hand: Hand, record: MachineRecord, seconds: float = 400) -> list[tuple[float, str]]:
    """(when, state) of every change seen by looking each second."""
    seen: list[tuple[float, str]] = []
    began = hand.seconds
    while hand.seconds <= began + seconds:
        world.advance()
        if not seen or seen[-1][1] != record.state:
            seen.append((hand.seconds - began, record.state))
        hand.move(1)
    return seen


def events(record: MachineRecord) -> list[tuple[str, str]]:
    return [(e.name, e.state) for e in reversed(record.events)]


RISE = [(0, "provisioning"), (90, "starting"), (130, "serviceready"), (135, "ready")]


@pytest.mark.parametrize(
    ("fields", "fate", "states", "said"),
    [
        pytest.param({}, Fate(), RISE, [("start", "done"), ("create", "done")], id="create"),
        pytest.param(
            {"start_on_create": False},
            Fate(),
            [(0, "provisioning"), (90, "off")],
            [("create", "done")],
            id="create without start",
        ),
        pytest.param(
            {},
            Fate(capacity=NO_CAPACITY),
            [(0, "provisioning"), (90, "starting"), (100, "off")],
            [("start", "error"), ("create", "done")],
            id="create without capacity",
        ),
        pytest.param({}, Fate(stuck=True), [(0, "provisioning")], [("create", "in progress")], id="create stuck"),
        pytest.param(
            {},
            Fate(stuck=True, stuck_seconds=100),
            [(0, "provisioning"), (190, "starting"), (230, "serviceready"), (235, "ready")],
            [("start", "done"), ("create", "done")],
            id="create slow",
        ),
        pytest.param(
            {"initial_snapshot": True},
            Fate(),
            RISE,
            [("snapshot-create", "done"), ("start", "done"), ("create", "done")],
            id="create with a snapshot",
        ),
    ],
)
def test_a_create(fields: dict[str, Any], fate: Fate, states: list[tuple[float, str]], said: list[Any]) -> None:
    world, hand = still_world()
    record = world.create(new(**fields), fate)
    assert journey(world, hand, record) == states
    assert events(record) == said


@pytest.mark.parametrize(
    ("state", "verb", "fate", "states", "said"),
    [
        pytest.param(
            "off",
            "start",
            Fate(),
            [(0, "starting"), (40, "serviceready"), (45, "ready")],
            ("start", "done"),
            id="start",
        ),
        pytest.param(
            "off",
            "start",
            Fate(capacity="none left"),
            [(0, "starting"), (10, "off")],
            ("start", "error"),
            id="start without capacity",
        ),
        pytest.param("off", "start", Fate(stuck=True), [(0, "starting")], ("start", "in progress"), id="start stuck"),
        pytest.param("ready", "start", Fate(), [(0, "ready")], ("start", "done"), id="start of a ready machine"),
        pytest.param(
            "starting",
            "start",
            Fate(),
            [(0, "starting"), (40, "serviceready"), (45, "ready")],
            ("start", "done"),
            id="start of a starting machine",
        ),
        pytest.param("ready", "stop", Fate(), [(0, "stopping"), (20, "off")], ("stop", "done"), id="stop"),
        pytest.param(
            "serviceready", "stop", Fate(), [(0, "stopping"), (20, "off")], ("stop", "done"), id="stop early"
        ),
        pytest.param("off", "stop", Fate(), [(0, "off")], ("create", "done"), id="stop of a machine that is off"),
        pytest.param(
            "stopping",
            "stop",
            Fate(),
            [(0, "stopping"), (20, "off")],
            ("stop", "done"),
            id="stop of a stopping machine",
        ),
        pytest.param(
            "starting",
            "stop",
            Fate(),
            [(0, "stopping"), (20, "off")],
            ("stop", "done"),
            id="stop of a starting machine",
        ),
        pytest.param("ready", "stop", Fate(stuck=True), [(0, "stopping")], ("stop", "in progress"), id="stop stuck"),
        pytest.param(
            "ready",
            "restart",
            Fate(),
            [(0, "restarting"), (60, "serviceready"), (65, "ready")],
            ("restart", "done"),
            id="restart",
        ),
        pytest.param(
            "ready",
            "restart",
            Fate(capacity="none left"),
            [(0, "restarting"), (10, "off")],
            ("restart", "error"),
            id="restart without capacity",
        ),
    ],
)
def test_a_verb(state: str, verb: str, fate: Fate, states: list[tuple[float, str]], said: tuple[str, str]) -> None:
    world, hand = still_world()
    record = world.add_machine("a", state)
    getattr(world, verb)(record.id, fate)
    assert journey(world, hand, record, 100) == states
    assert events(record)[0] == said
    if fate.capacity:
        assert record.events[-1].error == "none left"


def test_restart_of_a_restarting_machine_begins_again() -> None:
    world, hand = still_world()
    record = world.add_machine("a", "ready")
    world.restart(record.id)
    hand.move(50)
    world.restart(record.id)
    assert journey(world, hand, record, 100) == [(0, "restarting"), (60, "serviceready"), (65, "ready")]
    assert events(record)[:2] == [("restart", "done"), ("restart", "done")]


def test_a_stop_that_breaks_a_start_off_says_so() -> None:
    world, hand = still_world()
    record = world.add_machine("a", "off")
    world.start(record.id)
    hand.move(10)
    world.stop(record.id)
    hand.move(100)
    world.advance()
    assert events(record)[:2] == [("stop", "done"), ("start", "error")]
    assert record.state == "off"


def test_looking_often_or_once_gives_the_same_world() -> None:
    seen = []
    for steps in (1, 1000):
        world, hand = still_world(seed=3, durations=Durations())
        for n in range(5):
            world.create(new(f"m{n}", auto_snapshots=True, snapshot_frequency="hour", snapshot_keep=2))
        for _ in range(steps):
            hand.move(10 * DAY / steps)
            world.advance()
        seen.append((world.timeline, [(r.state, events(r), r.snapshots) for r in world.machines.values()]))
    assert len(seen[0][0]) > 20
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("delay", "seen_after"),
    [pytest.param((0, 0), [], id="at once"), pytest.param((10, 10), [1, 9.5], id="after a delay")],
)
def test_destroy(delay: tuple[float, float], seen_after: list[float]) -> None:
    world, hand = still_world(durations=Durations(deleting=delay))
    record = world.add_machine("a", "ready", public_ip_type="static")
    address = record.public_ip
    world.snapshot(record.id, "mine")
    hand.move(100)
    event = world.destroy(record.id)
    assert event.name == "deactivate"
    for at in seen_after:
        hand.seconds = 100 + at
        assert world.listed() == [record]
        assert world.shown(record.id).state == "stopping"
        world.destroy(record.id)
        with pytest.raises(Refusal, match="Machine not found"):
            world.start(record.id)
    hand.seconds = 111
    assert world.listed() == []
    with pytest.raises(Refusal, match="Machine not found"):
        world.shown(record.id)
    assert list(world.snapshots()) == []
    assert record.billed_seconds(0, 1e9) == 100  # billing ends with the call, not with the deletion
    assert record.stored_seconds(0, 1e9) == 100 + delay[0]
    assert world.state.reserved_ips == [address]
    assert world.timeline[-1].state == "gone"


def test_destroy_can_release_the_address() -> None:
    world, _ = still_world()
    record = world.add_machine("a", "ready", public_ip_type="static")
    world.destroy(record.id, release_ip=True)
    assert world.state.reserved_ips == []


def test_a_dynamic_address_lasts_while_it_runs() -> None:
    world, hand = still_world()
    record = world.add_machine("a", "off", public_ip_type="dynamic")
    assert record.public_ip is None
    world.start(record.id)
    first = record.public_ip
    assert first is not None
    hand.move(100)
    world.stop(record.id)
    assert record.public_ip == first
    hand.move(100)
    world.advance()
    assert record.public_ip is None
    world.start(record.id)
    assert record.public_ip not in {None, first}


@pytest.mark.parametrize(
    ("timer", "hours", "forces", "connected", "off_after"),
    [
        pytest.param(True, 2, False, False, 2, id="on"),
        pytest.param(False, 2, False, False, None, id="turned off"),
        pytest.param(True, None, False, False, None, id="no timeout"),
        pytest.param(True, 2, False, True, None, id="somebody is connected"),
        pytest.param(True, 2, True, True, 2, id="forced although somebody is connected"),
    ],
)
def test_the_vendors_shutdown_timer(
    timer: bool, hours: float | None, forces: bool, connected: bool, off_after: float | None
) -> None:
    world, hand = still_world(vendor_timer=timer)
    record = world.add_machine("a", "off", shutdown_hours=hours, shutdown_forces=forces)
    world.start(record.id)
    if connected:
        world.human_connect(record.id)
    hand.seconds = 2 * HOUR - 1
    world.advance()
    assert record.state == "ready"
    hand.seconds = 3 * HOUR
    world.advance()
    assert record.state == ("ready" if off_after is None else "off")
    if off_after is not None:
        stopped = next(c for c in world.timeline if c.state == "stopping")
        assert (stopped.at, stopped.cause) == (off_after * HOUR, "vendor's shutdown timer")
        assert events(record)[0] == ("stop", "done")


def test_the_shutdown_timer_counts_from_the_last_start_and_from_a_logout() -> None:
    world, hand = still_world()
    record = world.add_machine("a", "ready", shutdown_hours=5)
    hand.seconds = 4 * HOUR
    world.restart(record.id)
    hand.seconds = 6 * HOUR
    world.human_connect(record.id)
    hand.seconds = 20 * HOUR
    world.human_disconnect(record.id)
    hand.seconds = 25 * HOUR - 1
    world.advance()
    assert record.state == "ready"
    hand.seconds = 25 * HOUR
    world.advance()
    assert record.state == "stopping"


def test_a_shorter_timeout_takes_effect_at_once() -> None:
    world, hand = still_world()
    record = world.add_machine("a", "ready", shutdown_hours=168)
    hand.seconds = 10 * HOUR
    world.update(record.id, {"shutdown_hours": 24})
    hand.seconds = 24 * HOUR
    world.advance()
    assert record.state == "stopping"


def test_automatic_snapshots_are_taken_and_thinned_out() -> None:
    world, hand = still_world(vendor_timer=False)
    record = world.add_machine("a", "ready")
    hand.seconds = DAY
    world.update(record.id, {"auto_snapshots": True, "snapshot_frequency": "day", "snapshot_keep": 3})
    hand.seconds = 10.5 * DAY
    taken = [snapshot for _, snapshot in world.snapshots()]
    assert [snapshot.created for snapshot in taken] == [8 * DAY, 9 * DAY, 10 * DAY]
    assert all(snapshot.auto for snapshot in taken)
    assert sum(e.name == "snapshot-create" for e in record.events) == 9
    world.update(record.id, {"auto_snapshots": False})
    hand.seconds = 20 * DAY
    assert len(list(world.snapshots())) == 3


def test_a_restore_point_is_kept_and_used_at_shutdown() -> None:
    world, hand = still_world()
    record = world.create(new(initial_snapshot=True, restore_point_frequency="shutdown"))
    hand.move(200)
    world.stop(record.id)
    hand.move(100)
    world.advance()
    assert record.restore_point_snapshot_id == record.snapshots[0].id
    assert events(record)[0] == ("snapshot-restore", "done")


def test_bills_and_time_line_agree() -> None:
    world, hand = still_world()
    record = world.create(new())
    hand.move(1000)
    world.stop(record.id)
    hand.move(1000)
    world.start(record.id)
    hand.move(1000)
    world.destroy(record.id)
    hand.move(1000)
    now = world.advance()
    assert record.billed_seconds(0, now) == (1000 - 90) + 20 + 1000
    changes = [*world.timeline, None]
    from_line = sum(
        (after.at if after is not None else now) - change.at
        for change, after in pairwise(changes)
        if change is not None and change.billed
    )
    assert from_line == record.billed_seconds(0, now)


def test_usage_is_split_at_the_month() -> None:
    world, hand = still_world(vendor_timer=False)  # the world begins on March 2nd, noon
    record = world.add_machine("a", "ready", age_seconds=0, size_gb=250)
    hand.seconds = 40 * DAY
    march, april = world.usage(record.id, "2026-03"), world.usage(record.id, "2026-04")
    assert (march.seconds, april.seconds) == (29.5 * DAY, 10.5 * DAY)
    assert march.storage_seconds == 29.5 * DAY
    assert (str(march.hourly), str(march.storage_monthly)) == ("0.51", "10.00")
    assert world.usage(record.id, "2026-02").seconds == 0
    assert world.usage(record.id, "2026-12").seconds == 0


def test_a_failed_start_is_not_billed() -> None:
    world, hand = still_world()
    record = world.add_machine("a", "off")
    world.start(record.id, Fate(capacity="none left"))
    hand.move(100)
    world.advance()
    assert record.billed_seconds(0, 100) == 0


def test_a_sold_out_type_fails_until_it_is_back() -> None:
    world, hand = still_world()
    world.set_capacity(NY, "P4000", available=False)
    record = world.add_machine("a", "off")
    world.start(record.id)
    hand.move(100)
    world.advance()
    assert (record.state, record.events[-1].error) == ("off", NO_CAPACITY)
    world.set_capacity(NY, "P4000", available=True)
    world.start(record.id)
    hand.move(100)
    world.advance()
    assert record.state == "ready"


@pytest.mark.parametrize(
    ("deed", "state", "cause"),
    [
        ("human_stop", "stopping", "human stop"),
        ("human_restart", "restarting", "human restart"),
        ("human_destroy", "stopping", "human destroy"),
        ("vanish", "gone", "vanished"),
    ],
)
def test_what_people_do_is_on_the_time_line(deed: str, state: str, cause: str) -> None:
    world, _ = still_world()
    record = world.add_machine("a", "ready")
    getattr(world, deed)(record.id)
    assert (world.timeline[-1].state, world.timeline[-1].cause) == (state, cause)


def test_a_taken_id_is_refused() -> None:
    world, _ = still_world()
    world.add_machine("a", id="psmine123")
    with pytest.raises(Refusal, match="taken"):
        world.add_machine("b", id="psmine123")


def test_speed_and_dates() -> None:
    world, hand = still_world(speed=60)
    record = world.create(new())
    hand.move(2.25)
    world.advance()
    assert record.state == "ready"
    assert world.clock.text(world.state.t) == "2026-03-02T12:02:15.000Z"
