"""What a machine is called, in a list and in a command."""

from __future__ import annotations

import shlex

import pytest

from fleetd.model.report import VetoReport
from fleetd.words.explaining import explain_machine
from fleetd.words.names import called, holds_on, typed
from tests.support.fake_handle import AT, a_machine, a_report, a_veto

NAMES = [
    "",
    "two words",
    "a'; reboot; '",
    "$(reboot)",
    "`reboot`",
    "a|b",
    "a\nb",
    "\u202egnp",
    "-rf",
    "--help",
    "~root",
    "*",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("machine_id", ["ps1", "$(reboot)", "-rf", None])
def test_a_name_in_a_command_is_one_word_and_no_option(name: str, machine_id: str | None) -> None:
    (word,) = shlex.split(f"{typed(name, machine_id)}")
    assert word in {name, machine_id, "ID"}
    assert not word.startswith("-")
    assert word.isprintable()
    assert machine_id != "ps1" or word == "ps1"


def test_a_plain_name_is_typed_as_it_is() -> None:
    assert typed("training-7k3mqggq", "ps1") == "training-7k3mqggq"
    assert typed(None) == "ID"


@pytest.mark.parametrize("name", ["", " ", "\u3164", "\u2800\u00a0"])
def test_a_name_that_shows_nothing_is_told_by_its_id(name: str) -> None:
    machine = a_machine("x", id="ps1")
    blank = a_machine(name, id="ps1")
    assert (called(machine), called(blank), called(a_machine(name, id=None))) == ("x", "ps1", "(no name)")
    assert explain_machine(a_report(machines=[blank]), blank, AT)[0].startswith("ps1 (ps1) is ready")


@pytest.mark.parametrize(
    ("veto", "on"),
    [
        (a_veto("hold", "ps1", machine="ps1"), ["ps1"]),
        (a_veto("hold", "a", machine="ps1"), ["ps1"]),
        (a_veto("hold", "ps1"), ["ps1", "ps2"]),
        (a_veto("hold", "a"), ["ps1"]),
        (a_veto("freeze", "ps1"), []),
    ],
)
def test_a_hold_is_on_its_machine_and_on_none_that_has_its_id_for_a_name(veto: VetoReport, on: list[str]) -> None:
    machines = [a_machine("a", id="ps1"), a_machine("ps1", id="ps2")]
    assert [m.id for m in machines if holds_on([veto], [m])] == on
    for machine in machines:
        said = " ".join(explain_machine(a_report(machines=machines, vetoes=[veto]), machine, AT))
        assert ("holds" in said) == (machine.id in on)
