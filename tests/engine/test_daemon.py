"""The daemon's life: passes at their pace, reloads, shutdown, crashes, a provider that is down."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.config.reading import load as load_file
from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import Leases
from fleetd.model.errors import ConfigError, Fault, RateLimited, StateUnusable, Unauthorized, Unavailable
from fleetd.model.fleet import AutoSnapshot, ShutdownTimeout
from fleetd.model.machine import SnapshotSight
from fleetd.model.plan import Check
from fleetd.model.settings import Schedules, Settings
from fleetd.store.sqlite import SqliteJournal
from tests.support.build import fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import rig, settings
from tests.support.virtual_alarms import VirtualAlarms
from tests.support.virtual_time import run_virtual, virtual_clock


def events(logs: list[dict[str, object]], *names: str) -> list[str]:
    return [str(line["event"]) for line in logs if line["event"] in names]


def test_a_daemon_converges_says_so_once_and_keeps_quiet() -> None:
    async def story() -> None:
        with capture_logs() as logs:
            async with rig(fleet(target=2)) as world, world.daemon_running():
                await anyio.sleep(3600)
                reads = sum(c.operation == "list" for c in world.cloud.calls)
                assert 110 <= reads <= 150, "a pass every 30 s, give or take a tenth, and the transitions' ticks"
                assert world.cloud.writes() == ["create", "create"]
        loud = [line["event"] for line in logs if line["log_level"] != "debug"]
        assert loud == [
            "daemon.started",
            "machine.create_requested",
            "machine.create_requested",
            "pass.finished",
            "machine.became_ready",
            "machine.became_ready",
            "fleet.converged",
            "daemon.stop_requested",
            "daemon.stopped",
        ]

    run_virtual(story)


def test_a_finished_transition_wakes_the_next_pass() -> None:
    async def story() -> None:
        async with rig(fleet(target=1), interval=600, poll=5) as world, world.daemon_running() as daemon:
            await anyio.sleep(120)
            assert daemon.reconciler.last is not None
            assert daemon.reconciler.last.converged, "ten minutes early"

    run_virtual(story)


def test_a_provider_that_is_down_is_reported_once_and_its_return_once() -> None:
    async def story() -> None:
        with capture_logs() as logs:
            async with rig(fleet(target=1)) as world, world.daemon_running():
                await anyio.sleep(300)
                world.cloud.before = lambda _op, _id: Unavailable("connection refused", operation="list")
                await anyio.sleep(1800)
                world.cloud.before = lambda _op, _id: Unauthorized("Invalid API token", operation="list", status=400)
                await anyio.sleep(600)
                world.cloud.before = lambda _op, _id: None
                await anyio.sleep(300)
        said = events(logs, "provider.unavailable", "provider.key_refused", "provider.recovered")
        assert said == ["provider.unavailable", "provider.key_refused", "provider.recovered"]
        back = next(line for line in logs if line["event"] == "provider.recovered")
        assert 2350 <= back["duration_s"] <= 2450

    run_virtual(story)


@pytest.mark.parametrize(
    ("asked", "waits"), [(240.0, 240.0), (90_000.0, 300.0)], ids=["as asked", "five minutes at most"]
)
def test_a_provider_that_asks_to_be_left_alone_is_whatever_wakes_the_daemon(asked: float, waits: float) -> None:
    async def story() -> None:
        with capture_logs() as logs:
            async with rig(fleet(target=1)) as world, world.daemon_running() as daemon:
                await anyio.sleep(300)
                handle = EngineHandle(daemon, Leases(world.journal), world.clock)
                world.cloud.before = lambda _op, _id: RateLimited("slow down", operation="list", retry_after=asked)
                before, beats = len(world.cloud.calls), world.notifier.said.count("alive")
                await anyio.sleep(40)
                assert len(world.cloud.calls) == before + 1
                turned_away = world.cloud.calls[-1].at
                ends = handle.status().daemon.provider_until
                assert ends is not None
                assert abs((ends - turned_away).total_seconds() - waits) < 1
                while (world.clock.now() - turned_away).total_seconds() < waits - 30:
                    await anyio.sleep(20)
                    daemon.wake()
                    assert handle.alive() is None, "it waits on purpose"
                assert len(world.cloud.calls) == before + 1
                assert world.notifier.said.count("alive") - beats >= (waits - 60) / 10
                world.cloud.before = lambda _op, _id: None
                await anyio.sleep(60)
                again = world.cloud.calls[before + 1].at - turned_away
                assert waits <= again.total_seconds() <= waits + 10
                assert daemon.last_error is None
        down = next(line for line in logs if line["event"] == "provider.unavailable")
        assert down["retry_after_s"] == waits
        said = [line for line in logs if line["event"] == "provider.said_wait"]
        assert [line["retry_after_s"] for line in said] == [waits]

    run_virtual(story)


@pytest.mark.parametrize("waiting", ["as it was asked to", "for others that wake it"])
def test_stop_ends_a_wait_at_once(waiting: str) -> None:
    async def story() -> None:
        async with rig(fleet(target=1), interval=3600) as world:
            async with world.daemon_running() as daemon:
                await anyio.sleep(300)
                if waiting == "as it was asked to":
                    world.cloud.before = lambda _op, _id: RateLimited("slow", operation="list", retry_after=600.0)
                daemon.wake()
                await anyio.sleep(20 if waiting == "as it was asked to" else 2)
                calls, begun = len(world.cloud.calls), anyio.current_time()
                daemon.stop()
            assert anyio.current_time() - begun < 1
            assert len(world.cloud.calls) == calls

    run_virtual(story)


def test_the_supervisor_hears_of_progress_only() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.daemon_running():
            await anyio.sleep(100)
            assert [word for word in world.notifier.said if word != "alive"][:2] == [
                "status training 0/1, 1 under way",
                "ready",
            ]

            async def hang(*_args: object) -> None:
                await anyio.sleep_forever()

            world.cloud.list_machines = hang  # type: ignore[method-assign, assignment]
            await anyio.sleep(60)
            beats = world.notifier.said.count("alive")
            await anyio.sleep(600)
            assert world.notifier.said.count("alive") == beats, "a pass that hangs feeds no watchdog"

    run_virtual(story)


@pytest.mark.parametrize("looking", ["closer, for a check", "for what a listing lacks", "for snapshots"])
def test_a_provider_that_is_slow_about_each_machine_is_no_hang(looking: str) -> None:
    async def story() -> None:
        timeout = ShutdownTimeout(hours=24, enforce=True)
        policed = fleet(target=10, shutdown_timeout=timeout, auto_snapshot=AutoSnapshot("day", 7))
        async with rig(policed) as world, world.passes_by_hand() as reconciler:
            ids = [world.cloud.add(token_name(n)).id for n in range(10)]
            if looking == "for what a listing lacks":
                await reconciler.run_pass()
                for machine_id in ids:
                    world.cloud.remove(machine_id)
            if looking == "for snapshots":
                world.cloud.snapshot_sights = {m: SnapshotSight(m, world.clock.now()) for m in ids}
            asked = "snapshots" if looking == "for snapshots" else "show"
            prompt, turn = getattr(world.cloud, asked), anyio.Lock()

            async def slow(machine_id: str) -> object:
                async with turn:
                    await anyio.sleep(60)
                    return await prompt(machine_id)

            setattr(world.cloud, asked, slow)
            before, began = world.notifier.said.count("alive"), anyio.current_time()
            await reconciler.run_pass()
            assert anyio.current_time() - began >= 10 * 60
            assert world.notifier.said.count("alive") - before >= 10

    run_virtual(story)


def test_stop_lets_the_call_under_way_end_and_journals_it() -> None:
    async def story() -> None:
        async with rig(fleet(target=4)) as world:
            world.cloud.latency = 3.0
            async with world.daemon_running() as daemon:
                await anyio.sleep(4.0)  # listed, and the first create is on its way
                daemon.stop()
            assert world.cloud.writes() == ["create"]
            (intent,) = await world.journal.open_intents()
            assert intent.machine_id == "ps1"
            assert intent.accepted_at is not None

    run_virtual(story)


def test_a_pass_that_does_not_end_is_cut_off() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            begun = anyio.current_time()
            async with world.daemon_running() as daemon:
                world.cloud.latency = 1e6
                await anyio.sleep(100)
                daemon.stop()
            assert anyio.current_time() - begun < 130

    run_virtual(story)


def test_a_good_reload_is_swapped_whole_and_acted_on_at_once() -> None:
    wanted: list[Settings] = []

    async def story() -> None:
        with capture_logs() as logs:
            world_of = rig(fleet(target=1), load=lambda: wanted[-1], interval=600)
            async with world_of as world, world.daemon_running() as daemon:
                await anyio.sleep(200)
                wanted.append(settings(fleet(target=3), interval=600))
                daemon.reload()
                await anyio.sleep(200)
                assert world.cloud.writes() == ["create"] * 3
                assert "reloading" in world.notifier.said
                assert ("reload", "True") in world.meter.said
        assert events(logs, "config.reloaded") == ["config.reloaded"]

    run_virtual(story)


def test_checks_ring_however_often_the_config_is_reloaded() -> None:
    async def story() -> None:
        want = replace(settings(fleet(target=1), interval=600), schedules=Schedules("every 15m", "every 15m"))
        alarms = VirtualAlarms(virtual_clock())
        here = rig(fleet(target=1), load=lambda: want, interval=600, alarms=alarms)
        async with here as world, world.daemon_running() as daemon:
            rung: list[Check] = []
            daemon.reconciler.checks.rung = rung.append
            for _ in range(12):
                daemon.reload()
                await anyio.sleep(600)
            assert rung.count(Check.SNAPSHOT) == 8, "every 15 minutes for two hours"

    run_virtual(story)


@pytest.mark.parametrize(
    ("by", "times"),
    [
        pytest.param(-7200, 5, id="two hours back"),
        pytest.param(7200, 5, id="two hours ahead"),
        pytest.param(20, 4, id="not so far that it matters"),
    ],
)
def test_checks_ring_in_time_although_the_wall_clock_was_set(by: int, times: int) -> None:
    async def story() -> None:
        schedules = Schedules(shutdown_timeout_check="every 15m", snapshot_check="0 3 * * *")
        alarms = VirtualAlarms(virtual_clock())
        here = rig(fleet(target=1), interval=60, alarms=alarms, schedules=schedules)
        async with here as world, world.daemon_running() as daemon:
            rung: list[Check] = []
            daemon.reconciler.checks.rung = rung.append
            await anyio.sleep(100)
            world.clock.step(by)
            await anyio.sleep(3740)
            assert rung.count(Check.SHUTDOWN_TIMEOUT) == times, "once for the step, then every 15 minutes"

    with capture_logs() as logs:
        run_virtual(story)
    said = [(e["log_level"], e["by_s"]) for e in logs if e["event"] == "clock.was_set"]
    assert said == ([("warning", by)] if times == 5 else [])


@pytest.mark.parametrize(
    ("change", "path"),
    [
        pytest.param("fault", "fleets.training.target", id="a fault"),
        pytest.param("provider", "provider.base_url", id="another provider"),
        pytest.param("poll", "daemon.poll: changed: restart fleetd to use it", id="another poll"),
        pytest.param("state", "daemon.state: changed: .* stop all of them first", id="another database"),
    ],
)
def test_a_bad_reload_changes_nothing(change, path) -> None:
    def load() -> Settings:
        new = settings(fleet(target=9))
        if change == "fault":
            raise ConfigError("test.toml", (Fault("fleets.training.target", "expected a whole number"),))
        if change == "provider":
            return replace(new, provider=replace(new.provider, base_url="http://127.0.0.2"))
        if change == "state":
            return replace(new, daemon=replace(new.daemon, state="postgresql://elsewhere/fleetd"))
        return settings(fleet(target=9), poll=7)

    async def story() -> None:
        with capture_logs() as logs:
            async with rig(fleet(target=1), load=load) as world, world.daemon_running() as daemon:
                await anyio.sleep(100)
                with pytest.raises(ConfigError, match=path):
                    daemon.reload()
                await anyio.sleep(100)
                assert world.cloud.writes() == ["create"]
                assert daemon.reloading.rejection is not None
                assert daemon.reloading.rejection.at == world.clock.now() - timedelta(seconds=100)
                assert re.search(path, daemon.reloading.rejection.why)
                assert ("reload", "False") in world.meter.said
        assert events(logs, "config.reload_rejected") == ["config.reload_rejected"]

    run_virtual(story)


def test_what_only_a_start_reads_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "fleetd.toml"
    lines = ["version = 1", "[provider]", 'kind = "simulator"', "max_concurrency = 4", "", "[daemon]", 'poll = "9s"']
    file.write_text("\n".join(lines) + "\n")
    new = load_file(file)
    old = replace(
        new, provider=replace(new.provider, max_concurrency=10), daemon=replace(new.daemon, poll=timedelta(seconds=5))
    )

    async def story() -> None:
        async with rig(fleet(target=1), load=lambda: new) as world, world.daemon_running() as daemon:
            daemon.reconciler.settings = old
            with pytest.raises(ConfigError) as refused:
                daemon.reload()
            assert [(f.line, f.path) for f in refused.value.faults] == [
                (4, "provider.max_concurrency"),
                (7, "daemon.poll"),
            ]

    run_virtual(story)


def test_a_fleet_that_leaves_the_config_is_released_and_left_alone() -> None:
    async def story() -> None:
        other = fleet("inference", 1)
        world_of = rig(fleet(target=1), other, load=lambda: settings(other))
        async with world_of as world, world.daemon_running() as daemon:
            await anyio.sleep(200)
            before = world.cloud.writes()
            daemon.reload()
            await anyio.sleep(3600)
            assert world.cloud.writes() == before
            assert sorted(world.cloud.states().values()) == ["ready", "ready"]

    run_virtual(story)


def test_a_full_disk_stops_the_writes_and_not_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_args: object, **_kwargs: object) -> None:
        raise StateUnusable("the disk is full")

    async def story() -> None:
        with capture_logs() as logs:
            async with rig(fleet(target=1)) as world:
                with monkeypatch.context() as patch:
                    patch.setattr(world.journal, "write_intent", full)
                    async with world.daemon_running():
                        await anyio.sleep(100)
                        assert world.cloud.writes() == []
                        patch.undo()
                        await anyio.sleep(200)
                        assert world.cloud.writes() == ["create"]
        assert "journal.failed" in events(logs, "journal.failed")

    run_virtual(story)


@pytest.mark.parametrize("after", [0.505, 0.515, 0.525, 0.6, 5.0, 40.0, 90.0])
def test_a_crash_loses_no_machine_and_doubles_none(tmp_path: Path, after: float) -> None:
    """The process ends at some moment without a word, and another takes over its state directory."""

    async def story() -> None:
        cloud = FakeCloud(virtual_clock(), latency=0.01)
        async with rig(fleet(target=3), cloud=cloud, state=tmp_path) as world:
            with anyio.move_on_after(after):
                await world.daemon.run()
        journal = await SqliteJournal.open_read_only(tmp_path / "journal.db")
        await journal.aclose()
        async with rig(fleet(target=3), cloud=cloud, state=tmp_path, seed=2) as world, world.daemon_running():
            await anyio.sleep(600)
            assert sorted(cloud.states().values()) == ["ready"] * 3
            assert cloud.writes().count("create") == 3

    run_virtual(story)


def test_the_daemon_counts_as_alive_while_the_provider_is_down_or_hangs_and_not_when_a_pass_does_not_end() -> None:
    async def story() -> None:
        async with rig(fleet(target=1), interval=1) as world, world.daemon_running() as daemon:
            handle = EngineHandle(daemon, Leases(world.journal), world.clock)
            await anyio.sleep(100)
            assert (handle.alive(), handle.ready()) == (None, None)
            world.cloud.before = lambda _op, _id: Unavailable("no answer within 30 s", operation="list")
            for latency in (0.01, 30.0):  # refused at once; and a provider that hangs until the request's timeout
                world.cloud.latency = latency
                for _ in range(200):
                    await anyio.sleep(3)
                    assert handle.alive() is None
            assert handle.ready() == "list: no answer within 30 s"
            world.cloud.latency = 1e6
            await anyio.sleep(400)
            assert str(handle.alive()).startswith("no pass has begun for ")

    run_virtual(story)
