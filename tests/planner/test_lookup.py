"""Which machines a word may mean, and when nobody guesses."""

from __future__ import annotations

import pytest

from fleetd.model.machine import Machine
from fleetd.model.reasons import Verb
from fleetd.planner.lookup import Named, named, one_of_ours, ours, strangers, the_one
from fleetd.planner.ownership import Owner
from tests.support.build import intent, machine
from tests.support.fake_handle import a_machine

DESK, TOWER = Named("ps1", "desk", "training", state="ready"), Named("ps2", "tower", "training", "desk")
THEIRS, ALSO_THEIRS = Named("ps8", "desk"), Named("ps9", "lamp")


@pytest.mark.parametrize(
    ("word", "mine", "beside", "found"),
    [
        pytest.param("desk", [DESK], [], DESK, id="the only one of that name"),
        pytest.param("desk", [DESK], [ALSO_THEIRS], DESK, id="whatever else there is"),
        pytest.param("lamp", [DESK], [ALSO_THEIRS], None, id="not ours"),
        pytest.param("desk", [], [THEIRS, Named("ps7", "desk")], None, id="two, and neither is ours"),
        pytest.param("ps1", [DESK], [THEIRS], DESK, id="an id is one machine's"),
        pytest.param("ps8", [DESK], [THEIRS], None, id="also where that is not ours"),
        pytest.param("other", [DESK], [], None, id="none"),
        pytest.param(None, [DESK], [], None, id="no word"),
        pytest.param("", [Named("", "", "training")], [], None, id="an empty word means nothing"),
    ],
)
def test_the_machine_that_a_word_means(word, mine, beside, found) -> None:
    assert one_of_ours(word, mine, beside) == found
    if found is None:
        with pytest.raises(LookupError, match="no machine of ours has that id or name"):
            the_one(word or "", mine, beside)
    else:
        assert the_one(word, mine, beside) == found


@pytest.mark.parametrize(
    ("mine", "beside", "candidates"),
    [
        pytest.param([DESK, TOWER], [], r"ps1 \(desk\), ps2 \(tower, desk before\)", id="two of ours"),
        pytest.param([DESK], [THEIRS], r"ps1 \(desk\), ps8 \(desk\)", id="one of ours and another's"),
        pytest.param([DESK, Named("", "desk")], [], r"ps1 \(desk\), no id yet \(desk\)", id="one being made"),
    ],
)
def test_nobody_guesses_between_two(mine, beside, candidates) -> None:
    with pytest.raises(LookupError, match=f"^desk: more than one machine has that name; use its id: {candidates}$"):
        one_of_ours("desk", mine, beside)


def test_strangers_are_what_is_listed_and_not_owned() -> None:
    listed = [machine(1), Machine("ps9", "lamp", "off")]
    assert strangers(listed, {"ps1": Owner("training", adopted=False)}) == [Named("ps9", "lamp", state="off")]


def test_a_create_whose_machine_is_listed_under_another_name_is_that_machine() -> None:
    found = ours([machine(1, name="new")], {"ps1": Owner("training", adopted=False)}, {}, [intent(Verb.CREATE, 1)])
    assert found == [Named("ps1", "new", "training", state="ready")]


def test_what_a_report_tells_of_a_machine() -> None:
    row = a_machine("tower", id="ps2", fleet="training", former_name="desk", state="off")
    assert named([row]) == [Named("ps2", "tower", "training", "desk", "off")]
    assert named([row])[0].machine == Machine("ps2", "tower", "off")
