"""What a month cost, when the account changes while it is asked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetd import wiring
from fleetd.model.machine import Utilization
from fleetd.planner.billing import UNKNOWN_BILL
from fleetd.wiring import looking
from tests.support.build import token_name
from tests.support.config_text import config_text
from tests.support.fakecloud import FakeCloud


class _At:
    def now(self) -> datetime:
        return datetime(2026, 3, 2, tzinfo=UTC)


class _Leaving(FakeCloud):
    async def utilization(self, machine_id: str, month: str) -> Utilization:
        if machine_id == "ps1":
            self.remove(machine_id)
        self._find(machine_id, "utilization")
        return await super().utilization(machine_id, month)


async def test_a_machine_that_goes_meanwhile_has_an_unknown_bill_and_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = _Leaving(_At())
    for number in (1, 2):
        cloud.add(token_name(number))

    @asynccontextmanager
    async def opened(_settings):
        yield cloud

    monkeypatch.setattr(looking, "open_cloud", opened)
    path = tmp_path / "fleetd.toml"
    path.write_text(config_text(daemon=f'[daemon]\nstate_dir = "{tmp_path}"'))
    bills = await wiring.month_bills(wiring.load_settings(path), "2026-03")
    found = {machine.id: bill for machine, bill in bills["training"]}
    assert found["ps1"] == UNKNOWN_BILL
    assert found["ps2"] != UNKNOWN_BILL
