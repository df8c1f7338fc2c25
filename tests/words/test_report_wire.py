"""A report is the same at the other end of the socket, whatever text is in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fleetd.model.machine import Phase
from fleetd.model.reasons import Reason, Verb, VetoKind, Word, known
from fleetd.model.report import BlockedReport, Report, UseReport, decoded, document, encoded
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


def test_a_word_that_is_no_text_keeps_no_report_from_being_sent() -> None:
    """As a damaged journal may hold it."""
    machine = replace(a_machine("x"), phase=Phase("\ud800x"))
    veto = replace(a_veto("hold", "x"), kind=VetoKind("\ud800"), verbs=(Verb("\udcff"),))
    whole = replace(a_report(), machines=(machine,), vetoes=(veto,))
    read = decoded(encoded(whole), Report)
    assert read == whole
    assert (read.machines[0].phase, read.vetoes[0].kind, read.vetoes[0].verbs) == (
        "\\ud800x",
        "\\ud800",
        ("\\udcff",),
    )


@pytest.mark.parametrize("odd", ["hibernate", "", "HOLD", "a b", "\x1b[31m"])
def test_words_of_a_newer_daemon_are_read_and_stay_what_they_are(odd: str) -> None:
    veto = a_veto(odd, "x", odd)
    machine = a_machine("x", phase=odd, standing=odd, hold=veto, idle={"verdict": odd})
    skip = BlockedReport(fleet="training", verb=Verb(odd), reason=Reason(odd))
    whole = a_report(machines=[machine], vetoes=[veto], blocked=[skip])
    (read,) = decoded(encoded(whole), Report).machines
    for word in (read.phase, read.standing, read.hold.kind, read.hold.verbs[0], read.idle.verdict):
        assert isinstance(word, Word)
        assert not known(word)
        assert word == odd
    assert decoded(encoded(whole), Report) == whole
    sent = json.loads(encoded(whole))
    assert (sent["blocked"][0]["verb"], sent["vetoes"][0]["kind"], sent["machines"][0]["phase"]) == (odd, odd, odd)
