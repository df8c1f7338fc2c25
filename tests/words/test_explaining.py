"""A status document in sentences: whole answers, from documents that a test can read."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from fleetd.cli.explain import sentences_about
from fleetd.model.report import MachineReport, SightReport
from fleetd.words.explaining import explain_fleet, explain_machine
from fleetd.words.vetoes import veto_sentence
from tests.support.build import NOW
from tests.support.fake_handle import a_fleet, a_machine, a_report, a_veto

LATER = "2026-03-02T20:00:00Z"
NIGHT = {"at": LATER, "target": 1, "window": "night", "parked": True}
STEP = {
    "verb": "start", "reason": "short_of_target", "intent": 7, "since": "2026-03-02T11:58:00Z",
    "deadline": "2026-03-02T12:08:00Z", "ambiguous": False,
}  # fmt: skip


def blocked(machine: str | None, reason: str, **fields: Any) -> dict[str, Any]:
    return {
        "fleet": "training",
        "machine": None if machine is None else f"ps-{machine}",
        "name": machine,
        "verb": "start",
        "reason": reason,
        "until": LATER,
        "detail": "3 of 4",
        "count": 1,
    } | fields


def off(name: str = "a", **fields: Any) -> MachineReport:
    return a_machine(
        name, state="off", phase="down", stopped_by="over_target", stopped_at="2026-03-02T09:00:00Z", **fields
    )


@pytest.mark.parametrize(
    ("hourly", "shown"),
    [("0", "0.00"), ("7200.0", "7200.00"), ("2.04", "2.04"), ("0.125", "0.125"), ("1.0200000000000002", "1.02")],
)
def test_what_a_fleet_costs_has_its_cents(hourly: str, shown: str) -> None:
    """As ``status`` and ``plan`` show it: a price of the provider's may be 0.5, or a float's many digits."""
    whole = a_report(fleets={"training": a_fleet(hourly=hourly)})
    assert f"It costs ${shown} an hour now." in explain_fleet(whole, "training", NOW)


def test_a_fleet_with_everything() -> None:
    whole = a_report(
        fleets={"training": a_fleet(up=1, rising=1, target=4, converged=False, parked=True, next=NIGHT)},
        machines=[
            a_machine("a", state="starting", phase="rising", transition=STEP),
            a_machine("b", fleet="other"),
        ],
        blocked=[blocked("c", "capacity_backoff"), blocked("d", "held") | {"fleet": "other"}],
        vetoes=[a_veto("freeze", None), a_veto("freeze", "other"), a_veto("hold", "ps-a"), a_veto("hold", "b")],
        max_hourly_cost="20",
    )
    assert explain_fleet(whole, "training", NOW) == [
        "training: 1 of 4 up, 1 rising, 1 down. It is not at its target.",
        "The open window parks: idle machines are stopped, and nothing is started or created.",
        (
            "At 2026-03-02 20:00:00 UTC, in 8 h, window night is in force: target 1; idle machines are "
            "parked, and nothing "
            "is started."
        ),
        "It costs $1.02 an hour now. The cap over all fleets is $20.",
        (
            "a: Starting since 2026-03-02 11:58:00 UTC (2 min ago), due by 2026-03-02 12:08:00 UTC: the fleet has "
            "fewer machines up than its target."
        ),
        (
            "c is not started: the last of its type did not come up, mostly for want of capacity; "
            "it is tried again later (3 of 4). That "
            "ends at 2026-03-02 "
            "20:00:00 UTC, in 8 h."
        ),
        "ada has frozen everything until 2026-03-02 14:00:00 UTC, for another 2 h: a run.",
        "ada holds ps-a until 2026-03-02 14:00:00 UTC, for another 2 h: a run.",
    ]


def test_a_fleet_without_prices_or_windows() -> None:
    assert explain_fleet(a_report(fleets={"training": a_fleet(hourly=None)}), "training", NOW) == [
        "training: 2 of 2 up, 1 down. It is at its target."
    ]


def test_a_fleet_that_is_parked_below_its_target_is_at_target_as_status_has_it() -> None:
    parked = a_report(fleets={"training": a_fleet(up=1, down=2, target=3, parked=True, hourly=None)})
    assert explain_fleet(parked, "training", NOW) == [
        "training: 1 of 3 up, 2 down. It is at its target.",
        "The open window parks: idle machines are stopped, and nothing is started or created.",
    ]


NO_DAEMON = "No daemon runs, so nothing is done about it: `fleetd run` starts one, `fleetd apply` does it once."
COMING = "2 machines are missing: the next pass starts or creates them."


@pytest.mark.parametrize(
    ("counts", "fields", "said"),
    [
        pytest.param({"up": 1}, {}, [COMING], id="nothing stands in the way"),
        pytest.param(
            {"up": 1, "unknown": 1}, {}, ["1 machine is missing: the next pass starts or creates it."], id="one"
        ),
        pytest.param({"up": 1}, {"running": False}, [COMING, NO_DAEMON], id="and no daemon"),
        pytest.param({"up": 3, "converged": True}, {"running": False}, [], id="nothing to be done"),
        pytest.param({"up": 4}, {}, [], id="too many"),
        pytest.param({"up": 1, "rising": 1}, {}, [], id="under way"),
        pytest.param({"up": 1}, {"blocked": [blocked(None, "guard_cost", verb="create")]}, [], id="blocked"),
        pytest.param(
            {"up": 1}, {"blocked": [blocked("a", "held", fleet="other")]}, [COMING], id="another is blocked"
        ),
        pytest.param({"up": 1}, {"observation": {"rejected": None, "complete": False}}, [], id="nothing is decided"),
    ],
)
def test_what_becomes_of_the_machines_that_are_missing(
    counts: dict[str, Any], fields: dict[str, Any], said: list[str]
) -> None:
    daemon = replace(a_report().daemon, running=fields.pop("running", True))
    fleet = a_fleet(target=3, hourly=None, **({"down": 0, "converged": False} | counts))
    lines = explain_fleet(a_report(daemon=daemon, fleets={"training": fleet}, **fields), "training", NOW)
    assert [line for line in lines if "missing" in line or "No daemon" in line] == said


@pytest.mark.parametrize(
    ("machine", "fields", "said"),
    [
        pytest.param(
            a_machine("a", owned=False, fleet=None),
            {},
            ["a (ps-a) is ready.", "It is not fleetd's: neither created nor adopted, so it is never touched."],
            id="foreign",
        ),
        pytest.param(
            a_machine(
                "a",
                state_since="2026-03-02T09:00:00Z",
                idle={"verdict": "active", "since": None, "evidence": "gpu 0.8"},
            ),
            {"vetoes": [a_veto("hold", "a", "start"), a_veto("freeze", "training", "stop"), a_veto("hold", "b")]},
            [
                "a (ps-a) is ready for 3 h, in fleet training.",
                "It counts toward the target of 2; 2 are up.",
                "It is in use (gpu 0.8).",
                "ada keeps a from being started until 2026-03-02 14:00:00 UTC, for another 2 h: a run.",
                "ada has frozen fleet training (stop only) until 2026-03-02 14:00:00 UTC, for another 2 h: a run.",
            ],
            id="in use, with vetoes",
        ),
        pytest.param(
            a_machine("a", idle={"verdict": "idle", "since": "2026-03-02T11:00:00Z", "evidence": ""}),
            {},
            [
                "a (ps-a) is ready, in fleet training.",
                "It counts toward the target of 2; 2 are up.",
                "It has been idle for 60 min.",
            ],
            id="idle",
        ),
        pytest.param(
            a_machine("a", idle={"verdict": "unknown", "since": None, "evidence": "no answer"}),
            {},
            [
                "a (ps-a) is ready, in fleet training.",
                "It counts toward the target of 2; 2 are up.",
                "Nobody can tell whether it is in use, which counts as used (no answer).",
            ],
            id="nobody knows",
        ),
        pytest.param(
            off(),
            {"fleets": {"training": a_fleet(target=3, rising=1, next=NIGHT | {"window": None, "parked": False})}},
            [
                "a (ps-a) is off, in fleet training.",
                "fleetd stopped it at 2026-03-02 09:00:00 UTC (3 h ago): more machines were up than the target.",
                "It is not needed: training has 2 of 3 up and 1 on the way. It is started again when one is missing.",
                "At 2026-03-02 20:00:00 UTC, in 8 h, no window is in force any more: target 1.",
            ],
            id="not needed",
        ),
        pytest.param(
            off(),
            {
                "fleets": {"training": a_fleet(target=3)},
                "blocked": [blocked(None, "guard_cost", verb="create", until=None)],
            },
            [
                "a (ps-a) is off, in fleet training.",
                "fleetd stopped it at 2026-03-02 09:00:00 UTC (3 h ago): more machines were up than the target.",
                (
                    "training has 2 of 3 up. 1 machine of training is not created: it would cost more than "
                    "max_hourly_cost "
                    "allows (3 of 4). That changes only when a person changes it."
                ),
            ],
            id="the whole fleet waits",
        ),
        pytest.param(
            off(),
            {"fleets": {"training": a_fleet(target=3)}, "blocked": [blocked("a", "held")]},
            [
                "a (ps-a) is off, in fleet training.",
                "fleetd stopped it at 2026-03-02 09:00:00 UTC (3 h ago): more machines were up than the target.",
                (
                    "a is not started: an operator holds it (3 of 4). That ends at 2026-03-02 20:00:00 UTC, in "
                    "8 h, or by "
                    "fleetd release."
                ),
            ],
            id="it waits itself",
        ),
        pytest.param(
            off(),
            {"fleets": {"training": a_fleet(target=3)}},
            [
                "a (ps-a) is off, in fleet training.",
                "fleetd stopped it at 2026-03-02 09:00:00 UTC (3 h ago): more machines were up than the target.",
                "training has 2 of 3 up; the next pass decides about it.",
            ],
            id="about to be started",
        ),
    ],
)
def test_a_machine(machine: MachineReport, fields: dict[str, Any], said: list[str]) -> None:
    assert explain_machine(a_report(machines=[machine], **fields), machine, NOW) == said


def test_doubts_come_first() -> None:
    daemon = replace(a_report().daemon, error="list: no connection", config_fault="f.toml: 1 fault\n  a: b")
    for seen, words in (
        ({"rejected": "it lacks ps9", "complete": True}, "Nothing is decided at the moment: it lacks ps9."),
        ({"rejected": None, "complete": False}, "Nothing is decided at the moment: the listing is not whole."),
    ):
        assert explain_fleet(a_report(daemon=daemon, observation=seen), "training", NOW)[:3] == [
            "The last pass failed, so this may be old: list: no connection.",
            words,
            "A reload was rejected, and the old config is in force: f.toml: 1 fault: a: b.",
        ]


def test_a_veto_that_is_over_has_no_time_left() -> None:
    over = a_veto("hold", "a", expires_at="2026-03-02T11:00:00Z")
    assert veto_sentence(over, NOW) == "ada holds a until 2026-03-02 11:00:00 UTC: a run."


@pytest.mark.parametrize("past", [[], [object()]], ids=["never heard of", "in the journal"])
def test_before_the_first_look_nothing_is_said_to_be_missing(past: list[Any]) -> None:
    report = replace(a_report(), fleets={}, machines=(), observation=SightReport())
    (said,) = sentences_about(report, "training", past, NOW)
    assert said == "The first look at the provider has not ended: nothing is known of fleets and machines yet."
