"""Addresses of creates: kept from the answer on, and written only when something is new."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from fleetd.engine.addresses import Addresses
from fleetd.model.reasons import Verb
from tests.support.build import intent, machine

CREATE = intent(Verb.CREATE)


class Kept:
    def __init__(self, note: str | None = None) -> None:
        self.note, self.writes = note, 0
        self.journal: Any = SimpleNamespace(get_note=self.get_note, put_note=self.put_note)

    async def get_note(self, _key: str) -> str | None:
        return self.note

    async def put_note(self, _key: str, value: str) -> None:
        self.note, self.writes = value, self.writes + 1


@pytest.mark.parametrize(
    ("asked_for", "seen", "known"),
    [
        (True, [], None),
        (True, [None], None),
        (True, ["172.0.0.1"], "172.0.0.1"),
        (True, [None, "172.0.0.1", "172.7.7.7"], "172.0.0.1"),
        (False, ["172.0.0.1"], ""),
        ("yes", ["172.0.0.1"], ""),
        (None, ["172.0.0.1"], ""),
    ],
)
async def test_the_first_address_that_a_create_asked_for_is_its_own(
    asked_for: object, seen: list[str | None], known: str | None
) -> None:
    kept = Kept()
    addresses = Addresses(kept.journal)
    parameters = {} if asked_for is None else {"assignPublicIp": asked_for}
    await addresses.expect(replace(CREATE, parameters=parameters), "ps1")
    for address in seen:
        await addresses.see([machine(1, public_ip=address), machine(2, public_ip="172.0.0.2")])
    assert addresses.known() == {"ps1": known}, "and of a machine that no create of this kind made, nothing"
    assert kept.writes == 1 + (known not in {None, ""})
    again = Addresses(kept.journal)
    await again.load()
    assert again.known() == addresses.known()


@pytest.mark.parametrize(
    ("forgotten", "left"),
    [
        (["ps1"], {"ps2": "", "ps3": "172.0.0.3"}),
        (["ps1", "ps3", "ps9"], {"ps2": ""}),
        (["ps9"], None),
        ([], None),
    ],
)
async def test_what_is_forgotten_is_written_once_and_what_is_not_known_not_at_all(
    forgotten: list[str], left: dict[str, str] | None
) -> None:
    kept = Kept('{"ps1":null,"ps2":"","ps3":"172.0.0.3","ps4":7}')
    addresses = Addresses(kept.journal)
    await addresses.load()
    assert addresses.known() == {"ps1": None, "ps2": "", "ps3": "172.0.0.3"}, "what cannot be read is left out"
    for _ in range(2):
        await addresses.forget(forgotten)
    assert kept.writes == (left is not None)
    assert addresses.known() == (left or {"ps1": None, "ps2": "", "ps3": "172.0.0.3"})


async def test_the_note_is_short_and_in_order_whichever_came_first() -> None:
    kept = Kept()
    addresses = Addresses(kept.journal)
    await addresses.expect(replace(CREATE, parameters={"assignPublicIp": True}), "ps2")
    await addresses.expect(CREATE, "ps1")
    assert kept.note == '{"ps1":"","ps2":null}'
