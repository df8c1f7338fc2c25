"""What the journal and ``adopt`` claim: whose a machine is where a create's answer, a name and a pattern disagree."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.model.naming import make_token
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.ownership import Owner, lookalikes, made_for, owners
from tests.support.build import ago, facts, fleet, intent, machine, token_name

P = pytest.param
NAME = token_name(1)
RECOVERED = Reason.RECOVERED
TWIN = machine(2, name=NAME, created_at=ago(days=90))


def owned(listed: list[Any], known: Any = (), steps: Any = (), adopt: tuple[str, ...] = ()) -> dict[str, Owner]:
    return owners(listed, (fleet(adopt=adopt),), {f.machine_id: f for f in known}, steps)


OURS = Owner("training", adopted=False)
DOUBTED = Owner("training", adopted=False, unconfirmed=RECOVERED)


@pytest.mark.parametrize(
    ("listed", "known", "expected"),
    [
        P([machine(1)], [facts(1, last_state="unseen")], {"ps1": OURS}, id="seen first, as it was named"),
        P([machine(1, name="")], [facts(1, last_state="unseen")], {"ps1": OURS}, id="its name cannot be read yet"),
        P([machine(1, name="desk")], [facts(1, last_state="unseen")], {}, id="called otherwise at first sight"),
        P([machine(1, name="desk")], [facts(1)], {"ps1": OURS}, id="renamed since"),
        P(
            [machine(9, name=NAME)], [facts(1, last_state="unseen")], {"ps9": DOUBTED},
            id="under its name, with another id than was answered",
        ),
        P([machine(9, name=NAME)], [facts(1)], {}, id="a look-alike of one that was seen"),
        P([machine(1)], [facts(1, unconfirmed=True)], {"ps1": DOUBTED}, id="ours by its name alone"),
        P([machine(1), machine(2)], [], {"ps1": DOUBTED, "ps2": DOUBTED}, id="two by their names"),
    ],
)  # fmt: skip
def test_what_the_journal_knows_of_a_machine(listed, known, expected) -> None:
    assert owned(listed, known) == expected


@pytest.mark.parametrize(
    ("listed", "steps", "expected"),
    [
        P([machine(1), TWIN], [intent(Verb.CREATE, 1)], {"ps1": OURS}, id="an older look-alike is foreign"),
        P(
            [machine(1, name="desk")], [intent(Verb.CREATE, 1, fleet="gone")], {},
            id="made for a fleet that left the config",
        ),
        P(
            [machine(1, name="desk"), machine(2, name="lamp")],
            [intent(Verb.STOP, 1), intent(Verb.CREATE, 2, id=2)],
            {"ps2": OURS}, id="a stop claims nothing, and what comes after it does",
        ),
        P(
            [machine(1, name="desk"), machine(2)],
            [intent(Verb.CREATE, name=token_name(2)), intent(Verb.CREATE, 1, id=2)],
            {"ps1": OURS, "ps2": OURS}, id="one without an answer, and one with",
        ),
    ],
)  # fmt: skip
def test_what_creates_under_way_claim(listed, steps, expected) -> None:
    assert owned(listed, steps=steps) == expected


BY_GLOB = Owner("training", adopted=True, unconfirmed=Reason.ADOPTED_BY_GLOB)


@pytest.mark.parametrize(
    ("name", "adopt", "known", "expected"),
    [
        P("desk", ("desk",), (), Owner("training", adopted=True), id="written out"),
        P(
            "desk", ("desk",), (facts(2, name="desk", adopted=True),), Owner("training", adopted=True),
            id="another of that name was adopted once, and is no more",
        ),
        P("desk", ("tower",), (), None, id="another name"),
        P("gpu-1", ("gpu-*",), (), BY_GLOB, id="a pattern"),
        P("gpu-1", ("gpu-?",), (), BY_GLOB, id="of one character"),
        P("gpu-1", ("gpu-[0-9]",), (), BY_GLOB, id="of a range"),
        P("gpu-1-x", ("gpu-[0-9]?*",), (), BY_GLOB, id="of everything that patterns have"),
        P("GPU-1", ("gpu-*",), (), None, id="capitals are others"),
    ],
)  # fmt: skip
def test_what_adopt_takes(name: str, adopt: tuple[str, ...], known: Any, expected: Owner | None) -> None:
    assert owned([machine(1, name=name)], known, adopt=adopt) == ({} if expected is None else {"ps1": expected})


def test_a_look_alike_carries_a_token_and_is_nobodys() -> None:
    desk = machine(3, name="desk")
    assert lookalikes([machine(1), TWIN, desk], {"ps1"}, ["training"]) == [TWIN]


@pytest.mark.parametrize(
    ("name", "made"),
    [
        (NAME, "training"),
        (token_name(1, "gpu-pool"), "gpu-pool"),
        ("desk", None),
        ("training-backup", None),
        P("-" + make_token("", [1, 2, 3, 4, 5]), None, id="a token for no fleet"),
        ("", None),
    ],
)
def test_for_which_fleet_some_fleetd_drew_a_name(name: str, made: str | None) -> None:
    assert made_for(name) == made
