"""Why a machine is in its state: every code comes from a row, has a sentence, and the sentence its numbers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fleetd.model.machine import UNREADABLE, UNVERIFIED
from fleetd.model.naming import machine_name, make_token
from fleetd.model.reasons import Outcome, Reason, Standing
from fleetd.model.report import MachineReport
from fleetd.planner.attribution import Culprit
from fleetd.planner.standing import orphans, standing
from fleetd.words.machines import STANDINGS, standing_sentence
from tests.support.build import NOW
from tests.support.fake_handle import a_fleet, a_machine

FLEET = a_fleet(up=3, target=4)
STEP = {
    "verb": "start", "reason": "short_of_target", "intent": 7, "since": "2026-03-02T11:58:00Z",
    "deadline": "2026-03-02T12:08:00Z", "ambiguous": False,
}  # fmt: skip


def row(state: str = "off", phase: str = "down", **fields: Any) -> MachineReport:
    return a_machine(fields.pop("name", "training-7k3mqggq"), state=state, phase=phase, **fields)


def stopped(by: str) -> MachineReport:
    return row(stopped_by=by, stopped_at="2026-03-02T09:00:00Z")


CASES = [
    (row(owned=False, name="desk"), FLEET, Standing.FOREIGN, "neither created nor adopted"),
    (
        row("ready", "up", owned=False, fleet=None, name=machine_name("web", make_token("web", [1, 2, 3, 4, 5]))),
        None, Standing.ORPHAN, "a fleetd made it, for fleet web, and no fleet of this config owns it. It costs money",
    ),
    (
        row(owned=False, fleet=None, look_alike=True), None,
        Standing.LOOK_ALIKE, "one that fleetd drew for fleet training, and another machine has it",
    ),
    (row(transition=STEP | {"ambiguous": True}), FLEET, Standing.ANSWER_LOST, "until 2026-03-02 12:08:00 UTC"),
    (
        row("starting", "rising", transition=STEP), FLEET, Standing.UNDER_WAY,
        (
            "Starting since 2026-03-02 11:58:00 UTC (2 min ago), due by 2026-03-02 12:08:00 UTC: the fleet has fewer "
            "machines up than its target."
        ),
    ),
    (row("hibernating", "unknown"), FLEET, Standing.UNKNOWN_STATE, "does not know the state hibernating"),
    (row(UNREADABLE, "unknown"), FLEET, Standing.UNREADABLE, "cannot be read: it keeps its place"),
    (row(UNVERIFIED, "unknown"), FLEET, Standing.UNVERIFIED, "show, which could tell, fails: it keeps its place"),
    (row("destroying", "unknown", leaving=True), FLEET, Standing.LEAVING, "shows it as destroying. Its place is"),
    (row("ready", "up"), FLEET, Standing.WANTED, "toward the target of 4; 3 are up"),
    (row("ready", "up"), a_fleet(up=1, target=4), Standing.WANTED, "toward the target of 4; 1 is up."),
    (row("ready", "up"), a_fleet(up=5, target=4), Standing.SURPLUS, "one of 5 that are up, and the target is 4"),
    (
        row("provisioning", "rising", failure="create not done by its deadline"), FLEET, Standing.OVERDUE,
        "create not done by its deadline",
    ),
    (row("upgrading", "rising"), FLEET, Standing.MOVES_BY_ITSELF, "It is upgrading, and fleetd did not ask for it"),
    (row(failure="no capacity"), FLEET, Standing.START_FAILED, "Its last start failed: no capacity."),
    (stopped(Culprit.FAILED_START), FLEET, Standing.START_FAILED, "the provider gives no reason"),
    (stopped(Reason.PARKED_IDLE), FLEET, Standing.PARKED, "parked it at 2026-03-02 09:00:00 UTC (3 h ago)"),
    (stopped(Reason.OVER_TARGET), FLEET, Standing.SCALED_IN, "more machines were up than the target"),
    (stopped(Reason.OUTLIVED_TIMEOUT), FLEET, Standing.OUTLIVED_TIMEOUT, "outlived its shutdown timeout"),
    (stopped(Reason.OPERATOR_REQUEST), FLEET, Standing.STOPPED_BY_ORDER, "An operator had fleetd stop it at 2026"),
    (stopped("fleetd"), FLEET, Standing.STOPPED_BY_FLEETD, "fleetd stopped it at 2026-03-02 09:00:00 UTC (3 h ago)."),
    (stopped(Culprit.OPERATOR), FLEET, Standing.STOPPED_OUTSIDE, "it was not fleetd: a person"),
    (stopped(Culprit.VENDOR_TIMEOUT), FLEET, Standing.STOPPED_BY_VENDOR, "own shutdown timer stopped it"),
    (stopped(Culprit.UNKNOWN), FLEET, Standing.STOPPED_SOMEHOW, "do not say who did it"),
    (row(), None, Standing.OFF_ALL_ALONG, "off ever since fleetd first saw it"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "fleet", "code", "words"), CASES, ids=[f"{n} {c[2]}" for n, c in enumerate(CASES)]
)
def test_every_state_has_a_code_and_a_sentence_with_its_numbers(machine, fleet, code, words) -> None:
    assert standing(machine, fleet) is code
    text = standing_sentence(machine, fleet, NOW)
    assert words in text
    assert text.endswith(".")
    assert not re.search(r"[{}]|None|unknown time", text)


@pytest.mark.parametrize(
    ("of", "code"),
    [
        (None, Standing.WANTED),
        (a_fleet(up=3, target=4), Standing.WANTED),
        (a_fleet(up=4, target=4), Standing.WANTED),
        (a_fleet(up=5, target=4), Standing.SURPLUS),
    ],
)
def test_one_that_is_up_is_wanted_unless_more_are_up_than_the_target(of, code) -> None:
    assert standing(row("ready", "up"), of) is code


MADE_FOR_WEB = machine_name("web", make_token("web", [1, 2, 3, 4, 5]))


@pytest.mark.parametrize(
    ("machine", "orphaned"),
    [
        (row("ready", "up", owned=False, fleet=None, name=MADE_FOR_WEB), True),
        (row("off", owned=False, fleet=None, name=MADE_FOR_WEB), True),
        (row("ready", "up", owned=True, name=MADE_FOR_WEB), False),
        (row("ready", "up", owned=False, fleet=None, look_alike=True, name=MADE_FOR_WEB), False),
        (row("ready", "up", owned=False, fleet=None, name="desk"), False),
        (row("ready", "up", owned=False, fleet=None, look_alike=True, name="desk"), False),
    ],
)
def test_nobody_looks_after_what_a_fleetd_made_and_none_owns(machine: MachineReport, orphaned: bool) -> None:
    assert orphans([machine]) == ([machine] if orphaned else [])


def test_no_code_is_without_a_case_or_a_sentence() -> None:
    assert {case[2] for case in CASES} == set(Standing) == set(STANDINGS)


def test_every_reason_for_a_stop_and_every_culprit_leads_to_a_code_of_its_own_kind() -> None:
    """What the journal may hold as ``stopped_by``, a reason of a later fleetd included."""
    for by in (*Reason, *Culprit, *Outcome, "of_a_later_fleetd"):
        assert standing(stopped(by), FLEET) in STANDINGS
