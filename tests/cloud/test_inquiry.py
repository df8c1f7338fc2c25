"""What an account lacks of what a config names, on both dialects: where it stands, and what is there."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.cloud.core import errors as core_errors
from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.core.inquiry import inquire as inquire_core
from fleetd.cloud.inquiry import by_id, elsewhere, few, place, unknown
from fleetd.cloud.paperspace import errors as v1_errors
from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.paperspace.inquiry import inquire as inquire_v1
from fleetd.model.errors import CloudError, Fault, NotFound, Refused, Unauthorized, Unavailable
from fleetd.model.fleet import Window
from tests.support.asked import Asked
from tests.support.build import fleet
from tests.support.rig import settings

EAST, WEST = "East Coast (NY2)", "West Coast (CA1)"


def at(name: str, fleet_name: str = "training") -> str:
    return f"fleets.{fleet_name}.machine.{name}"


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "none"),
        (1, "n0 (name 0)"),
        (5, "n0 (name 0), n1 (name 1), n2 (name 2), n3 (name 3), n4 (name 4)"),
        (7, "n0 (name 0), n1 (name 1), n2 (name 2), n3 (name 3), n4 (name 4) and 2 more"),
    ],
)
def test_the_first_few_are_named_in_order(count: int, told: str) -> None:
    rows = by_id({"id": f"n{n}", "name": f"name {n}"} for n in reversed(range(count)))
    assert few(rows) == told


def test_a_label_goes_before_a_name_in_them() -> None:
    rows = by_id([{"id": "a", "label": "Ubuntu", "name": "x"}, {"id": "b", "name": "y"}, {"name": "z"}])
    assert few(rows) == "None (z), a (Ubuntu), b (y)"


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (None, []),
        ("n1", []),
        (7, []),
        ("n9", [Fault(at("networkId"), "the account has no n9; it has 7 (b), n1 (a)")]),
    ],
)
def test_what_the_account_lacks(wanted: Any, told: list[Fault]) -> None:
    rows = by_id([{"id": "n1", "name": "a"}, {"id": 7, "name": "b"}])
    assert unknown(fleet(parameters={"networkId": wanted}), "networkId", rows) == told
    assert unknown(fleet(parameters={}), "networkId", rows) == []


@pytest.mark.parametrize(
    ("region", "told"),
    [
        (None, []),
        (5, []),
        ("ny2", []),
        (EAST, []),
        ("ca1", [Fault(at("networkId"), f"is in ca1, and the fleet's region is {EAST}")]),
    ],
)
def test_what_is_in_another_region(region: Any, told: list[Fault]) -> None:
    rows = by_id([{"id": "n1", "region": region}])
    assert elsewhere(fleet(parameters={"networkId": "n1"}), "networkId", rows) == told
    assert elsewhere(fleet(parameters={"networkId": "n2"}), "networkId", rows) == []
    assert elsewhere(fleet(parameters={}), "networkId", {"None": {}}) == []


def test_where_a_parameter_stands() -> None:
    assert place(fleet("box"), "size") == "fleets.box.machine.size"


ACCOUNT: dict[str, list[dict[str, Any]]] = {
    "templates": [{"id": "t1", "name": "Ubuntu"}, {"id": "t2", "name": "own", "region": WEST}],
    "networks": [{"id": "n1", "name": "net", "region": EAST}, {"id": "n2", "name": "far", "region": WEST}],
    "scripts": [{"id": "s1", "name": "setup"}],
    "users": [{"id": "u1", "name": "Ada"}],
}
SOUND = {"templateId": "t1", "networkId": "n1", "scriptId": "s1", "userId": "u1"}
YES = {"available": True}


async def core(*fleets: Any, said: Any = YES) -> tuple[list[Fault], Asked]:
    http = Asked(core_errors.classify, *ACCOUNT.values(), *[said] * len(fleets))
    return await inquire_core(CoreApi(http), settings(*fleets)), http


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, []),
        ({"templateId": "x"}, [Fault(at("templateId"), "the account has no x; it has t1 (Ubuntu), t2 (own)")]),
        ({"templateId": "t2"}, [Fault(at("templateId"), f"is in {WEST}, and the fleet's region is {EAST}")]),
        ({"networkId": "x"}, [Fault(at("networkId"), "the account has no x; it has n1 (net), n2 (far)")]),
        ({"networkId": "n2"}, [Fault(at("networkId"), f"is in {WEST}, and the fleet's region is {EAST}")]),
        ({"scriptId": "x"}, [Fault(at("scriptId"), "the account has no x; it has s1 (setup)")]),
        ({"userId": "x"}, [Fault(at("userId"), "the account has no x; it has u1 (Ada)")]),
    ],
)
async def test_core_names_what_is_wrong(wrong: dict[str, str], told: list[Fault]) -> None:
    faults, http = await core(fleet(parameters=SOUND | wrong))
    assert faults == told
    assert [call.operation for call in http.calls] == ["templates", "networks", "scripts", "users", "availability"]
    assert http.calls[-1].query == {"region": EAST, "machineType": "P4000"}


async def test_core_names_the_faults_of_every_fleet() -> None:
    bad = SOUND | {"userId": "x"}
    faults, http = await core(fleet(parameters=bad), fleet("other", parameters=bad))
    assert [fault.path for fault in faults] == [at("userId"), at("userId", "other")]
    assert len(http.calls) == 6


@pytest.mark.parametrize(
    ("fields", "said", "told"),
    [
        ({"machine_type": "C5"}, None, []),
        ({"machine_type": "P9"}, None, [Fault(at("machineType"), "the vendor lists no P9")]),
        ({"machine_type": "P4000"}, {"available": False}, []),
        ({"machine_type": "GPU+"}, YES, []),
        ({}, Refused("no such type"), [Fault(at("machineType"), "the provider refuses it: no such type")]),
        (
            {"region": "Mars (MA1)"},
            Refused("no such region"),
            [Fault(at("region"), "the provider refuses it: no such region")],
        ),
    ],
)
async def test_core_leaves_types_and_regions_to_the_api_where_it_can_say(
    fields: dict[str, Any], said: Any, told: list[Fault]
) -> None:
    faults, http = await core(fleet(parameters={}, **fields), said=said)
    assert faults == told
    assert (len(http.calls) == 5) is (said is not None)


async def test_core_raises_what_is_no_answer() -> None:
    with pytest.raises(Unauthorized):
        await core(fleet(parameters={}), said=Unauthorized("no key"))


def page(*items: Any) -> dict[str, Any]:
    return {"hasMore": False, "items": list(items), "nextPage": None}


def offer(**types: bool) -> list[dict[str, Any]]:
    return [{"machineTypeLabel": name, "isAvailable": there} for name, there in types.items()]


TEMPLATE = {"id": "t1", "name": "Ubuntu", "availableMachineTypes": offer(P4000=True, P5000=False, A100=True)}
OWN = {"id": "t2", "name": "own", "region": WEST, "availableMachineTypes": offer(P4000=True)}
SCRIPTS = [{"id": "s1", "name": "setup"}, {"id": "s2", "name": "old", "isEnabled": False}]
FINE = {"isInGoodStanding": True, "isAdminLocked": False, "messages": []}
SESSION = {"team": {"maxMachines": 10}}
V1_SOUND = {"templateId": "t1", "networkId": "n1", "startupScriptId": "s1"}


async def v1(
    *fleets: Any, templates: Any = (TEMPLATE,), own: Any = (OWN,), standing: Any = FINE, session: Any = SESSION
) -> list[Fault]:
    http = Asked(
        v1_errors.classify,
        *(page(*templates), page(*own), page(*ACCOUNT["networks"]), page(*SCRIPTS), standing, session),
    )
    faults = await inquire_v1(PaperspaceApi(http), settings(*fleets))
    assert [call.operation for call in http.calls] == [
        *("templates", "custom_templates", "networks", "scripts", "account", "session")
    ]
    return faults


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, []),
        ({"templateId": "x"}, [Fault(at("templateId"), "the account has no x; it has t1 (Ubuntu), t2 (own)")]),
        ({"templateId": "t2"}, [Fault(at("templateId"), f"is in {WEST}, and the fleet's region is {EAST}")]),
        ({"networkId": "x"}, [Fault(at("networkId"), "the account has no x; it has n1 (net), n2 (far)")]),
        ({"networkId": "n2"}, [Fault(at("networkId"), f"is in {WEST}, and the fleet's region is {EAST}")]),
        (
            {"startupScriptId": "x"},
            [Fault(at("startupScriptId"), "the account has no x; it has s1 (setup), s2 (old)")],
        ),
        ({"startupScriptId": "s2"}, [Fault(at("startupScriptId"), "old is disabled: it would not run")]),
    ],
)
async def test_v1_names_what_is_wrong(wrong: dict[str, str], told: list[Fault]) -> None:
    assert await v1(fleet(parameters=V1_SOUND | wrong)) == told


async def test_v1_names_the_faults_of_every_fleet() -> None:
    bad = V1_SOUND | {"startupScriptId": "s2"}
    faults = await v1(fleet(parameters=bad), fleet("other", parameters=bad))
    assert [fault.path for fault in faults] == [at("startupScriptId"), at("startupScriptId", "other")]


@pytest.mark.parametrize(
    ("kind", "templates", "told"),
    [
        ("P4000", (TEMPLATE,), None),
        ("P9", (TEMPLATE,), "no template lists P9; they list A100, P4000, P5000"),
        ("P9", (), "no template lists P9; they list P4000"),
        (
            "P9",
            ({"id": "t1", "name": "odd", "availableMachineTypes": [{"isAvailable": True}]},),
            "no template lists P9; they list P4000",
        ),
        ("P5000", (TEMPLATE,), None),  # sold out everywhere
        (
            "C5",
            (TEMPLATE, {"id": "t3", "name": "w", "availableMachineTypes": offer(C5=True)}),
            "template Ubuntu cannot be had on C5; it can on A100, P4000",
        ),
        (
            "P4000",
            ({"id": "t1", "name": "Ubuntu", "availableMachineTypes": offer(P4000=False)},),
            "template Ubuntu cannot be had on P4000; it can on none now",
        ),
        (
            "P4000",
            ({"id": "t1", "name": "odd", "availableMachineTypes": [5, {"machineTypeLabel": "C5"}]},),
            "template odd cannot be had on P4000; it can on none now",
        ),
        (
            "P4000",
            ({"id": "t1", "name": "odd", "availableMachineTypes": None},),
            "template odd cannot be had on P4000; it can on none now",
        ),
    ],
)
async def test_v1_knows_a_type_that_no_template_has_from_one_that_is_sold_out(
    kind: str, templates: Any, told: str | None
) -> None:
    parameters = {"templateId": "t1"} if templates else {}
    faults = await v1(fleet(machine_type=kind, parameters=parameters), templates=templates)
    assert faults == ([] if told is None else [Fault(at("machineType"), told)])


async def test_v1_lists_no_type_where_there_is_no_template() -> None:
    (fault,) = await v1(fleet(parameters={}), templates=(), own=())
    assert fault == Fault(at("machineType"), "no template lists P4000; they list none")


async def test_v1_says_nothing_of_a_template_that_is_none() -> None:
    faults = await v1(fleet(parameters={"templateId": "x"}))
    assert [fault.path for fault in faults] == [at("templateId")]


@pytest.mark.parametrize(
    ("region", "told"),
    [(EAST, False), (WEST, False), ("Europe (AMS1)", False), ("Moon (MO1)", False), ("Mars", True)],
)
async def test_v1_takes_a_region_for_real_where_something_is_in_it(region: str, told: bool) -> None:
    moon = ({"id": "t3", "name": "m", "region": " Moon (MO1) ", "availableMachineTypes": None},)
    faults = await v1(fleet(region=region, parameters={}), own=moon)
    known = "East Coast (NY2), Europe (AMS1), Moon (MO1), West Coast (CA1)"
    problem = f"nothing of the account is in Mars; regions that are known: {known}"
    assert faults == ([Fault(at("region"), problem)] if told else [])


CANNOT = "the vendor does not let the account make machines: "


@pytest.mark.parametrize(
    ("standing", "told"),
    [
        (FINE, None),
        ({}, None),
        ({"isInGoodStanding": None, "isAdminLocked": None}, None),
        ({"isInGoodStanding": False}, "it does not say why"),
        ({"isAdminLocked": True}, "it does not say why"),
        ({"isAdminLocked": True, "messages": []}, "it does not say why"),
        ({"isAdminLocked": True, "messages": "pay"}, "it does not say why"),
        ({"isAdminLocked": True, "messages": {"a": 1}}, "it does not say why"),
        ({"isInGoodStanding": False, "messages": ["pay", 7]}, "pay; 7"),
        (Refused("no", status=403), None),
        (NotFound("no"), NotFound),
        (Unavailable("no", status=403), None),
        (Unavailable("no", status=500), Unavailable),
        (Unauthorized("no"), Unauthorized),
    ],
)
async def test_v1_says_whether_the_account_may_be_used(standing: Any, told: Any) -> None:
    if isinstance(told, type) and issubclass(told, CloudError):
        with pytest.raises(told):
            await v1(fleet(parameters={}), standing=standing)
        return
    faults = await v1(fleet(parameters={}), standing=standing)
    assert faults == ([] if told is None else [Fault("provider", CANNOT + told)])


def window(target: int | None) -> Window:
    return Window(name="w", start=0, end=60, timezone="UTC", target=target)


@pytest.mark.parametrize(
    ("session", "told"),
    [
        ({"team": {"maxMachines": 9}}, True),
        ({"team": {"maxMachines": "9"}}, True),
        ({"team": {"maxMachines": 0}}, True),
        ({"team": {"maxMachines": 10}}, False),
        ({"team": {"maxMachines": -1}}, False),
        ({"team": {"maxMachines": None}}, False),
        ({"team": []}, False),
        ({}, False),
        (Refused("no"), False),
        (Unavailable("no", status=403), False),
    ],
)
async def test_v1_compares_the_most_that_the_fleets_may_want_with_the_accounts_limit(
    session: Any, told: bool
) -> None:
    """Seven at the most for the one, three for the other."""
    fleets = (
        fleet(target=4, parameters={}, windows=(window(7), window(None), window(2))),
        fleet("other", target=3, parameters={}, windows=(window(0),)),
    )
    faults = await v1(*fleets, session=session)
    most = session["team"]["maxMachines"] if told else 0
    problem = f"the targets come to 10 machines, and the account may have {most}"
    assert faults == ([Fault("fleets", problem)] if told else [])
