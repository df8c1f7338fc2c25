"""Codes, log lines, money and times in words."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from fleetd.cli.words import (
    EVENTS,
    STYLES,
    SYMBOLS,
    event_words,
    money,
    money_change,
    since,
    until,
)
from fleetd.model.machine import Phase
from fleetd.model.plan import Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.model.report import BlockedReport, blocked_report
from fleetd.words.phases import PHASES
from fleetd.words.reasons import UNDER_WAY, reason_words, sentence

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
CATALOGUE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_words(reason: Reason) -> None:
    assert reason_words(str(reason)) != str(reason)
    skip = Skip("training", Verb.STOP, reason, machine="ps1", name="training-7k3mqggq", detail="0.81 > 0.02")
    words = sentence(blocked_report(skip), NOW)
    assert "training-7k3mqggq" in words
    assert "0.81 > 0.02" in words


def test_a_reason_of_a_newer_daemon_is_shown_as_it_is() -> None:
    assert reason_words("solar_flare") == "solar_flare"
    skip = BlockedReport(fleet="training", verb="stop", reason="solar_flare")
    assert sentence(skip, NOW).startswith("1 machine of training is not stopped: solar_flare.")


def test_every_verb_and_phase_has_its_sign() -> None:
    assert set(SYMBOLS) == set(UNDER_WAY) == {str(v) for v in Verb}
    assert set(STYLES) == set(PHASES) == set(Phase)
    assert len({sign for sign, _ in PHASES.values()}) == len(PHASES), "colour alone must not say it"


@pytest.mark.parametrize("name", EVENTS)
def test_events_in_words_are_those_of_the_catalogue(name: str) -> None:
    assert f"| `{name}` |" in CATALOGUE
    words = event_words({"event": name, "level": "info"})
    assert words


def test_events_are_filled_in_and_escaped() -> None:
    event = {"event": "machine.became_ready", "level": "info", "name": "training-\x1b[2J", "duration_s": 95.0}
    assert event_words(event) == "training-\\x1b[2J is up after 2 min"
    created = {"event": "machine.create_requested", "name": "training-7k3mqggq", "reason": "short_of_target"}
    assert event_words(created) == (
        "training-7k3mqggq is being created: the fleet has fewer machines up than its target"
    )


def test_templates_name_plain_keys_only() -> None:
    fields = {field for text in EVENTS.values() for _, field, _, _ in string.Formatter().parse(text) if field}
    assert all(field.isidentifier() for field in fields)


def test_other_events_are_told_when_they_are_loud() -> None:
    assert event_words({"event": "pass.finished", "level": "info"}) is None
    assert event_words({"event": "library.warned", "level": "warning", "error": "x"}) == "library.warned: x"


@pytest.mark.parametrize(
    ("amount", "shown", "change"),
    [
        (Decimal("2.04"), "$2.04/h", "+$2.04/h"),
        (Decimal("-0.51"), "-$0.51/h", "-$0.51/h"),
        (Decimal(0), "$0.00/h", "+$0.00/h"),
        (Decimal("1234.5"), "$1234.50/h", "+$1234.50/h"),
        (Decimal("0.0045"), "$0.0045/h", "+$0.0045/h"),
        (Decimal("0.125"), "$0.125/h", "+$0.125/h"),
        (None, "$?/h", "$?/h"),
    ],
)
def test_money(amount: Decimal | None, shown: str, change: str) -> None:
    assert (money(amount), money_change(amount)) == (shown, change)


def test_times() -> None:
    assert since(datetime.fromisoformat("2026-03-02T11:30:00Z"), NOW) == "30 min"
    assert since(None, NOW) == "-"
    assert until(datetime.fromisoformat("2026-03-02T12:10:00Z"), NOW) == "12:10:00 UTC (in 10 min)"
    assert until(datetime.fromisoformat("2026-03-03T12:00:00Z"), NOW) == "2026-03-03 12:00:00 UTC (in 24 h)"
    assert until(datetime.fromisoformat("2026-03-02T11:00:00Z"), NOW) == "11:00:00 UTC (past)"
