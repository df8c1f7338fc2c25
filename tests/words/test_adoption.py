"""What ``check --online`` says of the entries of ``adopt``."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.model.machine import Machine
from fleetd.model.plan import Listing
from fleetd.words.adoption import adoption_faults
from tests.support.build import fleet, machine, token_name

P = pytest.param
TAKES_NONE = "it takes no machine of the account"
GONE = f"{TAKES_NONE}: none has that id or name"
V100 = "1 machine is V100, the config says P4000: nothing is replaced."


def foreign(n: int, name: str, **fields: Any) -> Machine:
    return machine(n, name=name, **fields)


@pytest.mark.parametrize(
    ("adopt", "listed", "told"),
    [
        P(("ps1",), [foreign(1, "a")], {}, id="there, by id"),
        P(("a",), [foreign(1, "a")], {}, id="there, by name"),
        P(("a*",), [foreign(1, "abc")], {}, id="there, by a pattern"),
        P(("ps7",), [foreign(1, "a")], {"adopt[0]": GONE}, id="no machine has that id or name"),
        P(("b*",), [foreign(1, "a")], {"adopt[0]": TAKES_NONE}, id="no machine has such a name"),
        P(("A",), [foreign(1, "a")], {"adopt[0]": GONE}, id="names are told apart by case"),
        P(("training-*",), [machine(1)], {"adopt[0]": TAKES_NONE}, id="a pattern takes no name that a fleetd drew"),
        P((token_name(1),), [machine(1)], {}, id="such a name written out"),
        P(("a", "ps7"), [foreign(1, "a")], {"adopt[1]": GONE}, id="each entry for itself"),
        P(("ps1",), [foreign(1, "a", machine_type="V100")], {"adopt[0]": V100}, id="of another type"),
        P(("a*",), [foreign(1, "ab", machine_type="V100"), foreign(2, "ac")], {"adopt[0]": V100}, id="one of two"),
        P(("ps1",), [foreign(1, "a", machine_type=None)], {}, id="of a type that is not told"),
        P(
            ("ps1",), [foreign(1, "a", region="Europe (AMS1)")],
            {"adopt[0]": "1 machine is Europe (AMS1), the config says East Coast (NY2): nothing is replaced."},
            id="in another region",
        ),
        P((), [foreign(1, "a", machine_type="V100")], {}, id="nothing is adopted"),
    ],
)  # fmt: skip
def test_each_entry_is_held_against_the_account(adopt: Any, listed: list[Machine], told: dict[str, str]) -> None:
    found = list(adoption_faults([fleet(adopt=adopt)], Listing(tuple(listed))))
    assert {f.path.removeprefix("fleets.training."): f.problem for f in found} == told


def test_a_machine_that_goes_to_another_fleet_is_told_of_there() -> None:
    """An id wins over a pattern, whichever fleet comes first."""
    fleets = [fleet(adopt=("a*",)), fleet("other", adopt=("ps1",))]
    found = list(adoption_faults(fleets, Listing((foreign(1, "a1", machine_type="V100"),))))
    assert [(f.path, f.problem) for f in found] == [("fleets.other.adopt[0]", V100)]


@pytest.mark.parametrize(
    "listing",
    [
        P(Listing((foreign(1, "a", machine_type="V100"),), complete=False, problem="page 2 is missing"), id="a page"),
        P(Listing((foreign(1, "a", machine_type="V100"),), unidentified=1), id="one without an id"),
    ],
)
def test_what_a_listing_lacks_may_be_there(listing: Listing) -> None:
    found = list(adoption_faults([fleet(adopt=("ps1", "ps2"))], listing))
    assert [(f.path, f.problem) for f in found] == [("fleets.training.adopt[0]", V100)]


@pytest.mark.parametrize("word", [machine(1).id, token_name(1)])
def test_an_entry_whose_machine_is_another_fleets_by_its_own_name_takes_nothing(word: str) -> None:
    fleets = [fleet(), fleet("other", adopt=(word,))]
    found = [(f.path, f.problem) for f in adoption_faults(fleets, Listing((machine(1, name=token_name(1)),)))]
    assert found == [("fleets.other.adopt[0]", f"it takes no machine: {token_name(1)} is of fleet training")]
