"""Static public addresses that creates assigned, by machine: a destroy gives back these, and no other.

A person may have given a machine another address since, and the config may say something else by now. So what each
create asked for is kept, and the first address that its machine is seen with. Kept in the journal.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping

from fleetd.engine.notes import read_note
from fleetd.model.journal import Intent
from fleetd.model.machine import Machine
from fleetd.store.port import Journal

NOTE = "addresses"
"""The journal's note that holds them."""


class Addresses:
    """By machine id, of creates since this is kept: the address, "" where none was asked for, None until seen."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[str, str | None] = {}

    async def load(self) -> None:
        """Read what an earlier process left. What cannot be read is left out."""
        self._known = await read_note(self._journal, NOTE, _read, {})

    def known(self) -> dict[str, str | None]:
        """All that is kept."""
        return dict(self._known)

    async def expect(self, intent: Intent, machine_id: str) -> None:
        """A create has its machine."""
        await self._put({machine_id: None if intent.parameters.get("assignPublicIp") is True else ""})

    async def see(self, machines: Iterable[Machine]) -> None:
        """The first address that a machine is seen with is the one that its create assigned."""
        seen = {m.id: m.public_ip for m in machines if m.public_ip and self._known.get(m.id, "") is None}
        if seen:
            await self._put(seen)

    async def forget(self, machine_ids: Collection[str]) -> None:
        """Drop what is remembered of machines."""
        if self._known.keys() & set(machine_ids):
            self._known = {m: address for m, address in self._known.items() if m not in machine_ids}
            await self._put({})

    async def _put(self, news: Mapping[str, str | None]) -> None:
        self._known = {**self._known, **news}
        await self._journal.put_note(NOTE, json.dumps(self._known, separators=(",", ":"), sort_keys=True))


def _read(rows: Mapping[str, object]) -> dict[str, str | None]:
    return {machine: address for machine, address in rows.items() if address is None or isinstance(address, str)}
