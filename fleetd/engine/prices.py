"""Prices that the config does not name, learnt from what the provider bills."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import structlog

from fleetd.cloud.port import Cloud
from fleetd.model.errors import CloudError
from fleetd.model.machine import Machine
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

_NOTE = "prices"


class Prices:
    """Dollars an hour by machine type. The config's word goes before what was learnt."""

    def __init__(self, cloud: Cloud, journal: Journal) -> None:
        self._cloud = cloud
        self._journal = journal
        self._learnt: dict[str, Decimal] = {}

    async def load(self) -> None:
        """Read what an earlier process learnt."""
        note = await self._journal.get_note(_NOTE)
        self._learnt = {kind: Decimal(price) for kind, price in json.loads(note or "{}").items()}

    def known(self, configured: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """All prices."""
        return {**self._learnt, **configured}

    async def learn(self, machines: Sequence[Machine], configured: Mapping[str, Decimal], now: datetime) -> None:
        """Take the rate of one machine of every type whose price is not known: as it says, else by asking."""
        known = self.known(configured)
        for kind in sorted({m.machine_type for m in machines if m.machine_type is not None} - set(known)):
            of_kind = sorted((m for m in machines if m.machine_type == kind), key=lambda m: m.id)
            told = (m.hourly_rate for m in of_kind if m.hourly_rate is not None)
            rate = next(told, None) or await self._ask(of_kind[0], now)
            if rate is not None:
                self._learnt[kind] = rate
                log.info("price.learnt", machine_type=kind, hourly=str(rate))
                prices = {k: str(v) for k, v in sorted(self._learnt.items())}
                await self._journal.put_note(_NOTE, json.dumps(prices))

    async def _ask(self, machine: Machine, now: datetime) -> Decimal | None:
        able = self._cloud.capabilities
        if not able.utilization or able.utilization_computed:
            return None
        try:
            return (await self._cloud.utilization(machine.id, f"{now:%Y-%m}")).hourly_rate
        except CloudError as error:
            log.debug("check.look_failed", machine=machine.id, error=str(error))
            return None
