from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.model.naming import ALPHABET, TOKEN_LENGTH, make_token, split_name
from fleetd.model.reasons import Verb
from fleetd.planner.ownership import is_mistaken, lookalikes, owners
from tests.support.build import ago, facts, fleet, intent, machine, token_name

FLEETS = (fleet(), fleet("inference"))


def owned(listed, *, fleets=FLEETS, known=(), intents=()) -> dict[str, tuple[str, bool]]:
    found = owners(listed, fleets, {f.machine_id: f for f in known}, intents)
    return {m: (o.fleet, o.adopted) for m, o in found.items()}


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        (token_name(1), "training"),
        (token_name(1, "inference"), "inference"),
        ("training-backup", None),
        ("training-123456", None),
        ("training-000017", None),
        ("training-202604", None),
        ("training-20260401", None),
        ("training-parked", None),
        (token_name(1)[:-2], None),
        ("training", None),
        ("training-", None),
        ("", None),
        (token_name(1, "other"), None),
        (token_name(1).upper(), None),
        (token_name(1) + "\n", None),
        ("training-" + token_name(1), None),
    ],
)
def test_a_name_proves_ownership_only_with_a_valid_token(name, owner) -> None:
    found = owned([machine(1, name=name)])
    assert found == ({} if owner is None else {"ps1": (owner, False)})


@given(
    st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=20),
    st.lists(st.integers(0, 31), min_size=5, max_size=5),
)
def test_a_token_is_known_again_and_only_whole(fleet_name, draw) -> None:
    token = make_token(fleet_name, draw)
    assert len(token) == TOKEN_LENGTH == 8
    assert split_name(f"{fleet_name}-{token}", {fleet_name}) == (fleet_name, token)
    assert split_name(f"{fleet_name}-{token[:-2]}", {fleet_name}) is None
    assert split_name(f"{fleet_name}-{token}{token[-1]}", {fleet_name}) is None


def passing(fleet_name: str, tokens: Iterable[str]) -> int:
    return sum(split_name(f"{fleet_name}-{token}", {fleet_name}) is not None for token in tokens)


@pytest.mark.parametrize("fleet_name", ["training", "inference", "a", "gpu-pool-7"])
def test_a_name_that_a_person_gave_passes_once_in_32768(fleet_name) -> None:
    assert passing(fleet_name, (f"{n:08}" for n in range(200_000))) <= 20  # counted up: 6 expected
    days = [date(2020, 1, 1) + timedelta(days=n) for n in range(4000)]
    assert passing(fleet_name, (f"{day:%Y%m%d}" for day in days)) <= 3  # dated: 1 in 8 expected
    assert passing(fleet_name, ["prepared", "parkedxx", "testtest", "backup01", "00000000", "zzzzzzzz"]) == 0


def test_a_wrong_character_is_caught_but_once_in_32768() -> None:
    token = make_token("training", [1, 2, 3, 4, 5])
    spoilt = {token[:at] + wrong + token[at + 1 :] for at in range(TOKEN_LENGTH) for wrong in ALPHABET} - {token}
    assert passing("training", spoilt) == 0


def test_a_token_wants_five_numbers() -> None:
    with pytest.raises(ValueError, match="5 numbers"):
        make_token("training", [1, 2])


def test_a_renamed_machine_stays_ours_by_its_id() -> None:
    assert owned([machine(1, name="my-box")], known=[facts(1)]) == {"ps1": ("training", False)}


def test_a_create_under_way_owns_its_machine() -> None:
    assert owned([machine(1, name="renamed")], intents=[intent(Verb.CREATE, 1)]) == {"ps1": ("training", False)}


def test_a_lookalike_of_a_known_machine_is_foreign() -> None:
    twin = machine(2, name=token_name(1))
    found = owners([machine(1), twin], FLEETS, {"ps1": facts(1)})
    assert set(found) == {"ps1"}
    assert lookalikes([machine(1), twin], found, [f.name for f in FLEETS]) == [twin]


def test_of_two_strangers_with_one_token_the_older_is_ours() -> None:
    older = machine(2, name=token_name(1), created_at=ago(days=9))
    younger = machine(1, created_at=ago(days=1))
    undated = machine(3, name=token_name(1), created_at=None)
    assert owned([younger, undated, older]) == {"ps2": ("training", False)}


def test_adoption_by_id_goes_before_adoption_by_glob() -> None:
    fleets = (fleet(adopt=("old-gpu-*",)), fleet("inference", adopt=("ps1",)))
    listed = [machine(1, name="old-gpu-1"), machine(2, name="old-gpu-2"), machine(3, name="desk")]
    assert owned(listed, fleets=fleets) == {"ps1": ("inference", True), "ps2": ("training", True)}


def test_an_adopted_machine_is_released_when_the_config_lets_go() -> None:
    assert owned([machine(1, name="old-gpu-1")], known=[facts(1, adopted=True, name="old-gpu-1")]) == {}


def test_a_fleet_that_left_the_config_owns_nothing() -> None:
    assert owned([machine(1), machine(2, name="x")], fleets=FLEETS[1:], known=[facts(1), facts(2)]) == {}


def unconfirmed(listed, *, fleets=FLEETS, known=(), intents=()) -> dict[str, str | None]:
    found = owners(listed, fleets, {f.machine_id: f for f in known}, intents)
    return {m: None if o.unconfirmed is None else str(o.unconfirmed) for m, o in found.items()}


ODD = machine(1, name="old-gpu-1")


@pytest.mark.parametrize(
    ("listed", "adopt", "known", "intents", "expected"),
    [
        pytest.param(machine(1), (), (), (), "recovered", id="its name alone"),
        pytest.param(machine(1), (), (facts(1, unconfirmed=True),), (), "recovered", id="as remembered"),
        pytest.param(machine(1), (), (facts(1),), (), None, id="made by us"),
        pytest.param(machine(1), (), (), (intent(Verb.CREATE, 1),), None, id="of a create"),
        pytest.param(machine(1), (), (), (intent(Verb.CREATE, name=token_name(1)),), None, id="of a lost create"),
        pytest.param(machine(1), (), (), (intent(Verb.STOP, 1),), "recovered", id="of a stop"),
        pytest.param(machine(1), ("ps1",), (), (), None, id="its id is written out"),
        pytest.param(machine(1), (token_name(1),), (), (), None, id="its name is written out"),
        pytest.param(machine(1), ("training-*",), (), (), "recovered", id="a pattern confirms nothing"),
        pytest.param(ODD, ("old-*",), (), (), "adopted_by_glob", id="a pattern"),
        pytest.param(ODD, ("old-gpu-1",), (), (), None, id="a whole name"),
        pytest.param(ODD, ("ps1",), (), (), None, id="an id"),
        pytest.param(ODD, ("old-*",), (facts(1, adopted=True),), (), None, id="a pattern, and confirmed"),
    ],
)
def test_who_needs_a_persons_word_before_a_destroy(listed, adopt, known, intents, expected) -> None:
    found = unconfirmed([listed], fleets=(fleet(adopt=adopt),), known=known, intents=intents)
    assert found == {"ps1": expected}


@pytest.mark.parametrize(
    ("name", "adopt", "taken"),
    [
        pytest.param(token_name(1, "training"), "train*", False, id="another fleet's, by a pattern"),
        pytest.param(token_name(1, "training"), "*", False, id="another fleet's, by all"),
        pytest.param(token_name(1, "training"), token_name(1, "training"), True, id="another fleet's, written out"),
        pytest.param(token_name(1, "training"), "ps1", True, id="another fleet's, by its id"),
        pytest.param("training-old", "train*", True, id="nobody's"),
        pytest.param("training-7k3mq9", "train*", True, id="a name of an earlier version"),
    ],
)
def test_a_pattern_takes_no_name_that_a_fleetd_drew(name, adopt, taken) -> None:
    rig = fleet("rig", adopt=(adopt,))
    assert owned([machine(1, name=name)], fleets=(rig,)) == ({"ps1": ("rig", True)} if taken else {})


def test_no_pattern_and_no_whole_name_takes_a_second_machine_of_one_name() -> None:
    twins = [machine(1, created_at=ago(days=2)), machine(2, name=token_name(1), created_at=ago(days=1))]
    for adopt in ("training-*", token_name(1)):
        assert owned(twins, fleets=(fleet(adopt=(adopt,)),)) == {"ps1": ("training", False)}
        desks = [replace(m, name="desk") for m in twins]
    assert owned(desks, fleets=(fleet(adopt=("desk",)),)) == {"ps1": ("training", True)}
    assert owned(desks, fleets=(fleet(adopt=("desk",)),), known=[facts(2, adopted=True, name="desk")]) == {
        "ps2": ("training", True)
    }


@pytest.mark.parametrize(
    ("name", "made_as", "mistaken"),
    [("a", None, False), ("", None, False), ("", "a", False), ("a", "a", False), ("b", "a", True), ("A", "a", True)],
)
def test_a_machine_of_another_name_is_not_what_a_create_made(name, made_as, mistaken) -> None:
    assert is_mistaken(machine(1, name=name), made_as) is mistaken
