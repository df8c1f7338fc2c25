"""A report is the same at the other end of the socket, whatever text is in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fleetd.model.report import Report, UseReport, decoded, document, encoded
from tests.support.fake_handle import AT, a_fleet, a_machine, a_report, a_veto


def full(text: str) -> Report:
    machine = a_machine(text, failure=text, hold=a_veto("hold", text), turned_outside=2)
    whole = a_report(fleets={text: a_fleet(window=text)}, machines=[replace(machine, idle=UseReport(verdict="idle"))])
    return replace(whole, daemon=replace(whole.daemon, config=text, error=text, provider_until=AT))


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_it_comes_back_as_it_was(text: str) -> None:
    assert decoded(encoded(full(text)), Report) == full(text)


@pytest.mark.parametrize("text", ["\udcff", "\ud800x", "plain", "ü\x1b[31m"])
def test_what_is_sent_is_json_and_says_what_json_has_of_it(text: str) -> None:
    sent = json.loads(encoded(full(text)))
    assert sent == json.loads(json.dumps(document(full(text))))
    assert sent["daemon"]["config"] == text
