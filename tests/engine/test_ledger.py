"""Prices that change, and bills that are written down before their machines go."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.billing_records import ASKED_AT_ONCE, EVERY
from fleetd.engine.observed_prices import ObservedPrices
from fleetd.engine.prices import Prices
from fleetd.model.errors import NotFound
from fleetd.model.fleet import Guards, ScaleIn
from fleetd.model.machine import Machine, Utilization
from fleetd.store.sqlite import SqliteJournal
from tests.support.build import fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import rig
from tests.support.virtual_time import run_virtual, virtual_clock

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


class _Still:
    def now(self) -> datetime:
        return NOW


def on_virtual_time(story: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @functools.wraps(story)
    def run() -> None:
        run_virtual(story)

    return run


class Billing(FakeCloud):
    """Bills every machine by a rate that can change, and forgets those that went."""

    rate: Decimal | None = Decimal("0.51")
    silent: bool = False

    async def utilization(self, machine_id: str, month: str) -> Utilization:
        await self._begin("utilization", machine_id)
        machine = self._find(machine_id, "utilization")
        if self.silent:
            raise NotFound("no bill", operation="utilization", status=404)
        assert machine.created_at is not None
        begins = max(machine.created_at, datetime.fromisoformat(f"{month}-01T00:00:00+00:00"))
        used = max(0.0, (self.clock.now() - begins).total_seconds())
        return Utilization(machine_id, month, used, self.rate, used, Decimal("5.00"))


def asked(cloud: FakeCloud) -> list[str | None]:
    return [c.machine for c in cloud.calls if c.operation == "utilization"]


def kinds(*rates: str | None, kind: str = "P4000") -> list[Machine]:
    return [
        Machine(f"ps{n}", token_name(n), "ready", machine_type=kind, hourly_rate=None if r is None else Decimal(r))
        for n, r in enumerate(rates, start=1)
    ]


@pytest.fixture
async def journal(tmp_path):
    opened = await SqliteJournal.open(tmp_path / "journal.db", executor=InlineExecutor())
    yield opened
    await opened.aclose()


@pytest.mark.parametrize(
    ("configured", "seen", "used"),
    [
        pytest.param(None, [["0.51"]], "0.51", id="learnt"),
        pytest.param(None, [["0.51"], ["0.78"]], "0.78", id="it went up"),
        pytest.param(None, [["0.78"], ["0.51"]], "0.51", id="it went down"),
        pytest.param(None, [["0.51"], ["0"]], "0.51", id="a 0 lifts no cap"),
        pytest.param(None, [["0.51"], [None]], "0.51", id="it does not say"),
        pytest.param(None, [["0.51", "0.60"]], "0.60", id="several: the highest"),
        pytest.param("0.40", [["0.51"]], "0.51", id="the config is too low"),
        pytest.param("0.60", [["0.51"]], "0.60", id="the config is higher"),
        pytest.param("0", [["0.51"]], "0.51", id="the config's 0"),
        pytest.param("0", [["0"]], None, id="nothing but 0"),
    ],
)
async def test_prices_are_learnt_with_every_check_and_the_higher_counts(journal, configured, seen, used) -> None:
    prices = Prices(FakeCloud(_Still()), journal, ObservedPrices(journal))
    config = {} if configured is None else {"P4000": Decimal(configured)}
    for rates in seen:
        await prices.learn(kinds(*rates), config, NOW)
    assert prices.known(config).get("P4000") == (None if used is None else Decimal(used))
    again = Prices(FakeCloud(_Still()), journal, ObservedPrices(journal))
    await again.load()
    assert again.known(config) == prices.known(config)


async def test_a_price_that_is_a_tenth_away_is_reported_once_for_each_pair(journal) -> None:
    prices = Prices(FakeCloud(_Still()), journal, ObservedPrices(journal))
    with capture_logs() as logs:
        for rate in ("0.51", "0.51", "0.78", "0.52"):
            await prices.learn(kinds(rate), {"P4000": Decimal("0.50")}, NOW)
    said = [(line["configured"], line["hourly"], line["used"]) for line in logs if line["event"] == "price.differed"]
    assert said == [("0.50", "0.78", "0.78")]


@pytest.mark.parametrize("note", ["[1]", "{", '{"P4000": "x"}', '{"P4000": "NaN"}', '{"P4000": "0"}', "null"])
async def test_a_note_of_prices_that_cannot_be_read_is_learnt_anew(journal, note) -> None:
    await journal.put_note("prices", note)
    prices = Prices(FakeCloud(_Still()), journal, ObservedPrices(journal))
    await prices.load()
    assert prices.known({}) == {}


@on_virtual_time
async def test_what_a_machine_was_billed_is_written_before_it_is_destroyed() -> None:
    options = {"scale_in": ScaleIn.DESTROY, "allow_destroy": True}
    cloud = Billing(virtual_clock())
    async with rig(fleet(target=1, **options), cloud=cloud) as r, r.daemon_running():
        await anyio.sleep(3600)
        r.configure(fleet(target=0, **options))
        r.daemon.wake()
        await anyio.sleep(120)
        assert cloud.states() == {}
        (bill,) = await r.journal.bills(month=f"{r.clock.now():%Y-%m}")
    assert bill.seconds_used is not None
    assert 3500 < bill.seconds_used < 3800
    assert bill.hourly_rate == Decimal("0.51")
    assert bill.gone


@on_virtual_time
async def test_every_machine_is_asked_about_every_six_hours_a_few_at_a_time() -> None:
    count = 3 * ASKED_AT_ONCE
    cloud = Billing(virtual_clock())
    for n in range(1, count + 1):
        cloud.add(token_name(n))
    async with rig(fleet(target=count), cloud=cloud) as r, r.passes_by_hand() as reconciler:
        for _ in range(5):
            await reconciler.run_pass()
        for at in range(2):
            await anyio.sleep(EVERY.total_seconds() * at)
            cloud.calls.clear()
            for passes in range(1, 5):
                await reconciler.run_pass()
                assert len(asked(cloud)) <= passes * ASKED_AT_ONCE
            assert sorted(asked(cloud)) == sorted(f"ps{n}" for n in range(1, count + 1)) * at
        assert len(await r.journal.bills(month=f"{r.clock.now():%Y-%m}")) == count


@on_virtual_time
async def test_what_a_machine_cost_before_it_was_first_seen_is_asked_for_at_once() -> None:
    """Adopted, or the journal is new: it may leave the config, or be destroyed, before six hours are over."""
    cloud = Billing(virtual_clock())
    cloud.add(token_name(1))
    await anyio.sleep(2 * 3600)
    async with rig(fleet(target=2), cloud=cloud) as r, r.passes_by_hand() as reconciler:
        for _ in range(2):
            await reconciler.run_pass()
        bills = {b.machine_id: b for b in await r.journal.bills(month=f"{r.clock.now():%Y-%m}")}
        assert round(bills["ps1"].seconds_used or 0) == 7200
        for _ in range(3):
            await anyio.sleep(60)
            await reconciler.run_pass()
        assert asked(cloud).count("ps1") <= 2, "the price, and the bill"


@on_virtual_time
async def test_a_provider_that_tells_nothing_of_a_machine_is_not_asked_in_every_pass() -> None:
    cloud = Billing(virtual_clock())
    cloud.silent = True
    cloud.add(token_name(1))
    async with rig(fleet(target=1), cloud=cloud) as r, r.passes_by_hand() as reconciler:
        await anyio.sleep((EVERY + timedelta(hours=1)).total_seconds())
        await reconciler.run_pass()
        await anyio.sleep(EVERY.total_seconds())
        cloud.calls.clear()
        for _ in range(5):
            await reconciler.run_pass()
        assert len(asked(cloud)) <= 1
        assert await r.journal.bills(month=f"{r.clock.now():%Y-%m}") == []


@pytest.mark.parametrize("step", [timedelta(days=-1), timedelta(days=1), timedelta(hours=-40)])
def test_a_clock_that_is_set_has_no_machine_asked_about_in_every_pass(step: timedelta) -> None:
    async def story() -> None:
        cloud = Billing(virtual_clock())
        async with rig(fleet(target=2), cloud=cloud) as world, world.daemon_running():
            world.clock.step(40 * 3600)  # not back beyond the machines' own dates
            await anyio.sleep(900)
            before = len(asked(cloud))
            world.clock.step(step.total_seconds())
            await anyio.sleep(3600)
            assert len(asked(cloud)) - before <= 2 * 2

    run_virtual(story)


@on_virtual_time
async def test_the_address_of_our_create_is_released_by_the_call() -> None:
    parameters = {"region": "East Coast (NY2)", "machineType": "P4000", "assignPublicIp": True}
    options = {"scale_in": ScaleIn.DESTROY, "allow_destroy": True, "parameters": parameters}
    cloud = FakeCloud(virtual_clock())
    async with rig(fleet(target=2, guards=Guards(), **options), cloud=cloud) as r, r.daemon_running():
        await anyio.sleep(600)
        r.configure(fleet(target=1, **options))
        r.daemon.wake()
        await anyio.sleep(600)
    (destroy,) = [c for c in cloud.calls if c.operation == "destroy"]
    assert destroy.detail == {"release_public_ip": True}


@pytest.mark.parametrize(
    ("restarts", "has", "releases"),
    [(False, "172.0.0.1", True), (True, "172.0.0.1", True), (False, "172.7.7.7", False), (True, "172.7.7.7", False)],
)
def test_an_address_that_a_person_gave_a_machine_is_not_released(
    tmp_path: Path, restarts: bool, has: str, releases: bool
) -> None:
    async def story() -> None:
        parameters = {"region": "East Coast (NY2)", "machineType": "P4000", "assignPublicIp": True}
        options: dict[str, Any] = {"scale_in": ScaleIn.DESTROY, "allow_destroy": True, "parameters": parameters}
        cloud = FakeCloud(virtual_clock())
        async with rig(fleet(target=1, **options), cloud=cloud, state=tmp_path) as r, r.daemon_running():
            await anyio.sleep(60)
            (made,) = [m.id for m in (await cloud.list_machines()).machines]
            cloud.set(made, public_ip="172.0.0.1")
            await anyio.sleep(600)
            cloud.set(made, public_ip=has)
            if not restarts:
                r.configure(fleet(target=0, **options))
                await anyio.sleep(600)
        if restarts:
            async with rig(fleet(target=0, **options), cloud=cloud, state=tmp_path) as r, r.daemon_running():
                await anyio.sleep(600)
        (destroy,) = [c for c in cloud.calls if c.operation == "destroy"]
        assert (destroy.detail == {"release_public_ip": True}) is releases

    run_virtual(story)


@on_virtual_time
async def test_an_address_that_is_left_behind_is_told() -> None:
    parameters = {"region": "East Coast (NY2)", "machineType": "P4000", "assignPublicIp": True}
    cloud = FakeCloud(virtual_clock())
    with capture_logs() as logs:
        async with rig(fleet(target=1, parameters=parameters), cloud=cloud) as r, r.daemon_running():
            await anyio.sleep(60)
            (made,) = (await cloud.list_machines()).machines
            cloud.set(made.id, public_ip="172.0.0.1")
            await anyio.sleep(600)
            cloud.remove(made.id)
            await anyio.sleep(600)
    told = [line for line in logs if line["event"] == "address.was_left"]
    assert [(line["fleet"], line["machine"], line["name"], line["address"]) for line in told] == [
        ("training", made.id, made.name, "172.0.0.1")
    ]


async def test_a_price_is_told_when_it_changes_and_without_keep_not_at_all(journal) -> None:
    prices = Prices(FakeCloud(_Still()), journal, ObservedPrices(journal))
    with capture_logs() as logs:
        for rate in ("0.51", "0.51", "0.78"):
            await prices.learn(kinds(rate), {}, NOW)
        await prices.learn(kinds("0.99"), {}, NOW, keep=False)
    told = [(line["hourly"], line["before"]) for line in logs if line["event"] == "price.learnt"]
    assert [hourly for hourly, _ in told] == ["0.51", "0.78"]
    assert told[1][1] == "0.51"
    again = Prices(FakeCloud(_Still()), journal, ObservedPrices(journal))
    await again.load()
    assert again.known({}) == {"P4000": Decimal("0.78")}
