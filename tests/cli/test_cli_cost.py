"""What a month cost, when the account changes while it is asked."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from fleetd import wiring
from fleetd.cli.cost import cost_document, cost_view
from fleetd.model.errors import CloudError, MalformedAnswer, NotFound, Refused, Unauthorized, Unavailable
from fleetd.model.journal import BilledMonth, HistoryEntry, MachineFacts
from fleetd.model.machine import Utilization
from fleetd.planner.amounts import Amount
from fleetd.planner.billing import MonthBills
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring import dry_run
from tests.support.build import token_name
from tests.support.config_text import config_text
from tests.support.fakecloud import FakeCloud


class _At:
    def now(self) -> datetime:
        return datetime(2026, 3, 2, tzinfo=UTC)


def destroyed(machine: str, at: datetime) -> HistoryEntry:
    return HistoryEntry(at, "training", machine, "training-gone99", "destroy", "over_target", "reached")


class _Leaving(FakeCloud):
    async def utilization(self, machine_id: str, month: str) -> Utilization:
        if machine_id == "ps1":
            self.remove(machine_id)
        self._find(machine_id, "utilization")
        return await super().utilization(machine_id, month)


async def month(
    cloud: FakeCloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *history: HistoryEntry,
    bills: Sequence[BilledMonth] = (),
    facts: Sequence[MachineFacts] = (),
) -> MonthBills:
    @asynccontextmanager
    async def opened(_settings):
        yield cloud

    monkeypatch.setattr(dry_run, "open_cloud", opened)
    path = tmp_path / "fleetd.toml"
    path.write_text(config_text(daemon=f'[daemon]\nstate_dir = "{tmp_path}"'))
    journal = await SqliteJournal.open(tmp_path / "journal.db")
    for entry in history:
        await journal.append_history(entry)
    await journal.put_bills(bills)
    await journal.put_facts(facts)
    await journal.aclose()
    return await wiring.month_bills(wiring.load_settings(path), "2026-03")


async def test_a_machine_that_goes_meanwhile_is_not_told_of_and_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = _Leaving(_At())
    for number in (1, 2):
        cloud.add(token_name(number))
    found = await month(cloud, tmp_path, monkeypatch)
    assert [m.id for m, _ in found.bills["training"]] == ["ps2"]
    assert [m.id for m in found.untold["training"]] == ["ps1"]


@pytest.mark.parametrize("told", [True, False])
async def test_a_machine_that_was_destroyed_in_the_month_is_in_its_cost_as_far_as_the_provider_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    class Remembers(FakeCloud):
        async def utilization(self, machine_id: str, month: str) -> Utilization:
            if machine_id == "ps9" and not told:
                raise NotFound("no such machine", operation="utilization", status=404)
            return Utilization(machine_id, month, 7200.0, Decimal("0.50"), 0.0, Decimal(5))

    cloud = Remembers(_At())
    cloud.add(token_name(1))
    gone = destroyed("ps9", datetime(2026, 3, 1, 12, tzinfo=UTC))
    found = await month(cloud, tmp_path, monkeypatch, gone)
    document = cost_document(found)
    fleet = document["fleets"]["training"]
    assert [(m["id"], m["gone"]) for m in fleet["machines"]] == [("ps1", False), ("ps9", True)][: 1 + told]
    assert [m["id"] for m in fleet["untold"]] == [] if told else ["ps9"]
    assert document["total"]["compute"] == ("2.00" if told else None)
    assert document["total"]["known"]["compute"] == ("2.00" if told else "1.00")
    screen = Console(width=100, file=io.StringIO())
    screen.print(cost_view(found))
    text = screen.file.getvalue()
    assert "training-gone99 (gone)" in text
    assert ("not in the sums: 1 machine of which" in text) is not told


class _OddOfOne(FakeCloud):
    """Tells of one machine nothing that helps."""

    odd: CloudError

    async def utilization(self, machine_id: str, month: str) -> Utilization:
        if machine_id == "ps1":
            raise self.odd
        return Utilization(machine_id, month, 7200.0, Decimal("0.50"), 0.0, Decimal(5))


ODD = [NotFound("no bill"), MalformedAnswer("a list"), Refused("not now"), Unavailable("500")]
NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("odd", ODD, ids=lambda error: type(error).__name__)
async def test_what_is_wrong_with_one_machines_bill_keeps_no_other_back(
    odd: CloudError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = _OddOfOne(_At())
    cloud.odd = odd
    for number in (1, 2):
        cloud.add(token_name(number))
    found = await month(cloud, tmp_path, monkeypatch)
    assert [m.id for m, _ in found.bills["training"]] == ["ps2"]
    assert [m.id for m in found.untold["training"]] == ["ps1"]
    assert cost_document(found)["total"]["known"]["compute"] == "1.00"


async def test_a_key_that_is_refused_is_not_one_machines_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = _OddOfOne(_At())
    cloud.odd = Unauthorized("Invalid API token")
    cloud.add(token_name(1))
    with pytest.raises(ExceptionGroup) as caught:
        await month(cloud, tmp_path, monkeypatch)
    assert caught.group_contains(Unauthorized)


@pytest.mark.parametrize("odd", ODD, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("state", "last_state", "off", "hours"),
    [
        pytest.param("ready", "ready", False, "14.0", id="it runs"),
        pytest.param("off", "ready", False, "14.0", id="it went off unseen"),
        pytest.param("off", "off", True, "5.0", id="it was seen to go off"),
        pytest.param("ready", "off", True, "14.0", id="and was started again"),
    ],
)
async def test_an_old_word_on_a_machine_that_is_there_is_not_its_bill(
    odd: CloudError,
    state: str,
    last_state: str,
    off: bool,
    hours: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Written at noon of the month's last day: two hours. It may have run on, to the month's end."""
    cloud = _OddOfOne(_At())
    cloud.odd = odd
    cloud.add(token_name(1), state)
    bill = BilledMonth("2026-03", "ps1", "training", token_name(1), NOON, 7200.0, Decimal("0.50"), 0.0, Decimal(5))
    bill = replace(bill, off=off, more_seconds=3 * 3600.0 if off else 0.0)
    fact = MachineFacts("ps1", "training", token_name(1), NOON, NOON + timedelta(days=1), last_state)
    found = await month(cloud, tmp_path, monkeypatch, bills=[bill], facts=[fact])
    ((_, told),) = found.bills["training"]
    assert told.hours == Amount(Decimal(2), Decimal(hours))
    assert told.at_most
    (row,) = cost_document(found)["fleets"]["training"]["machines"]
    assert (row["hours"], row["known"]["hours"], row["known"]["compute"]) == (hours, "2.0", "1.00")
    assert cost_document(found)["total"]["known"] == row["known"], "the lower bound"


async def test_a_sum_of_what_may_be_less_and_what_is_not_known_is_neither_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(FakeCloud):
        async def utilization(self, machine_id: str, month: str) -> Utilization:
            del month
            raise NotFound(f"no bill of {machine_id}")

    cloud = Silent(_At())
    for number in (1, 2):
        cloud.add(token_name(number))
    bill = BilledMonth("2026-03", "ps1", "training", token_name(1), NOON, 7200.0, Decimal("0.50"), 0.0, Decimal(5))
    found = await month(cloud, tmp_path, monkeypatch, bills=[bill])
    screen = Console(width=100, file=io.StringIO())
    screen.print(cost_view(found))
    text = screen.file.getvalue()
    assert ">= <=" not in text
    assert "~ $7.00" in text
    assert "~ : some parts may be less" in text
