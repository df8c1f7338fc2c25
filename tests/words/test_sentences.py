from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from fleetd.model.plan import FleetView, NextChange, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.words.fleets import change_sentence, fleet_sentence
from fleetd.words.reasons import ENDS, SENTENCES, sentence
from fleetd.words.times import span
from tests.support.build import NOW, later

FOR = frozenset(
    {
        Reason.SHORT_OF_TARGET,
        Reason.REPLACES_TIMED_OUT,
        Reason.BEYOND_STANDBY,
        Reason.PARKED_IDLE,
        Reason.OUTLIVED_TIMEOUT,
        Reason.TIMEOUT_DRIFT,
        Reason.SNAPSHOT_DRIFT,
        Reason.OPERATOR_REQUEST,
    }
)
"""Reasons why something is done, which have no end; the others say why something is not."""


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_and_says_when_it_ends(reason: Reason) -> None:
    assert SENTENCES[reason].strip()
    assert (reason in ENDS) == (reason not in FOR)
    bare = sentence(Skip("training", Verb.START, reason, "ps1", "training-7k3mqggq"), NOW)
    assert bare.startswith(f"training-7k3mqggq is not started: {SENTENCES[reason]}. ")
    assert bare.endswith(ENDS.get(reason, "That is looked at again in every pass."))
    skip = Skip("training", Verb.START, reason, "ps1", "training-7k3mqggq", until=later(minutes=5), detail="3 of 4")
    timed = sentence(skip, NOW)
    assert f"{SENTENCES[reason]} (3 of 4). That ends at 2026-03-02 12:05:00 UTC, in 5 min" in timed
    assert timed.endswith(".")
    over = sentence(replace(skip, until=NOW), NOW)
    assert over.endswith("That ended at 2026-03-02 12:00:00 UTC; the next pass decides anew.")


@pytest.mark.parametrize(
    ("skip", "text"),
    [
        (
            Skip("training", Verb.CREATE, Reason.GUARD_COST, count=2, detail="$4.08/h of $4.00/h for all fleets"),
            (
                "2 machines of training are not created: it would cost more than max_hourly_cost allows "
                "($4.08/h of $4.00/h for all fleets). That changes only when a person changes it."
            ),
        ),
        (
            Skip("training", None, Reason.IN_TRANSITION, "ps1", "training-7k3mqggq"),
            (
                "training-7k3mqggq is not acted on: it is on its way somewhere, and is left alone until that has "
                "ended. That ends with its transition, at its deadline at the latest."
            ),
        ),
    ],
)
def test_sentences_carry_their_numbers(skip: Skip, text: str) -> None:
    assert sentence(skip, NOW) == text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            NextChange(later(hours=8), 2, "night", parked=False),
            "At 2026-03-02 20:00:00 UTC, in 8 h, window night is in force: target 2.",
        ),
        (
            NextChange(later(hours=8), 8, "night", parked=True),
            (
                "At 2026-03-02 20:00:00 UTC, in 8 h, window night is in force: target 8; idle machines are parked, "
                "and nothing is started."
            ),
        ),
        (
            NextChange(later(hours=19), 8, None, parked=False),
            "At 2026-03-03 07:00:00 UTC, in 19 h, no window is in force any more: target 8.",
        ),
    ],
)
def test_what_a_window_brings_is_a_sentence(change: NextChange, text: str) -> None:
    assert change_sentence(change, NOW) == text


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (FleetView(8, 8, None, 8, 0, 0, 0, 0, 0), "training: 8 of 8 up. It is at its target."),
        (
            FleetView(2, 8, "night", 2, 1, 1, 3, 1, 1),
            (
                "training: 2 of 2 up, 1 rising, 1 falling, 3 down, 1 in an unknown state, 1 being created; "
                "window night is open, the configured target is 8. It is not at its target."
            ),
        ),
    ],
)
def test_a_fleet_in_a_sentence(view: FleetView, text: str) -> None:
    assert fleet_sentence("training", view) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (45, "45 s"),
        (720, "12 min"),
        (3600 * 3 + 1200, "3 h 20 min"),
        (7200, "2 h"),
        (3600 * 52, "2 d 4 h"),
        (3600 * 48, "2 d"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize("name", ["two words", "a'; reboot; '", "$(reboot)", "-rf", "\u202egnp"])
def test_a_command_in_a_sentence_is_that_command_whatever_the_machine_is_called(name: str) -> None:
    skip = Skip("training", Verb.START, Reason.NO_EFFECT, "ps1", name, since=later(days=-9))
    assert "`fleetd hold ps1 --for 24h --reason ...`" in sentence(skip, NOW)


@pytest.mark.parametrize("reason", [Reason.OBSERVATION_REJECTED, Reason.OBSERVATION_PARTIAL])
def test_how_many_are_missing_by_a_listing_that_is_not_believed_is_not_said(reason: Reason) -> None:
    said = sentence(Skip("training", Verb.CREATE, reason, count=3), NOW)
    assert said.startswith(f"No machine of training is created: {SENTENCES[reason]}. ")
    assert "3 machines" in sentence(Skip("training", None, reason, count=3), NOW), "those are named one by one"
