"""What is believed of a listing, machine by machine, and why one is not believed at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fleetd.engine.observer import Observer
from fleetd.model.errors import NotFound, Unauthorized, Unavailable
from fleetd.model.journal import MachineFacts
from fleetd.model.machine import UNREADABLE, UNVERIFIED, Machine
from fleetd.model.plan import Listing, Observation
from fleetd.planner.leaving import LEAVING
from tests.support.build import NOW, ago, event, facts, machine
from tests.support.virtual_time import run_virtual

P = pytest.param
BLIND = machine(1, UNREADABLE, unreadable="state is 7")
GOES = machine(1, "ready", events=(event("destroy"),))
LOST = NotFound("unknown id", operation="show")
DOWN = Unavailable("no route", operation="show")


async def observed(
    listed: list[Machine],
    shows: Any,
    left: list[MachineFacts],
    *,
    unidentified: int = 0,
    expected: tuple[str, ...] = ("ps1",),
    usual: int = 0,
) -> tuple[Observation, list[str]]:
    """``shows``: what is found of the first machine; every other one is found as it is listed."""
    looked: list[str] = []

    async def show(machine_id: str) -> Machine:
        looked.append(machine_id)
        if machine_id != "ps1":
            return next(m for m in listed if m.id == machine_id)
        if isinstance(shows, Exception):
            raise shows
        return shows  # type: ignore[no-any-return]

    async def everything(_progress: Any) -> Listing:
        return Listing(tuple(listed), unidentified=unidentified)

    cloud: Any = SimpleNamespace(list_machines=everything, show=show)
    observer = Observer(cloud, SimpleNamespace(now=lambda: NOW))  # type: ignore[arg-type]
    observer.unidentified = usual
    return await observer.observe(expected, lambda _machines: left), looked


def told(seen: Observation) -> dict[str, str]:
    """By id, how it is believed to be."""
    return {m.id: m.state for m in seen.machines}


@pytest.mark.parametrize(
    ("listed", "shows", "left", "states", "fields"),
    [
        P([machine(1)], None, {}, "ready", {}, id="as it was left: nobody looks"),
        P([machine(1, "off")], machine(1, "off"), {}, "off", {"shown"}, id="turned, says show too"),
        P([machine(1, "off")], DOWN, {}, UNVERIFIED, {"unverified"}, id="turned, and nobody can tell"),
        P([machine(1, "off")], LOST, {}, "off", set(), id="turned, and show knows none"),
        P([], LOST, None, None, {"gone"}, id="missing, and show knows none"),
        P([machine(1, "odd")], machine(1, "odd"), {}, "odd", set(), id="a state that says nothing, show too"),
        P([machine(1, "odd")], machine(1), {}, "odd", set(), id="a state that says nothing, and it is up"),
        P([machine(1, "odd")], DOWN, {}, "odd", set(), id="a state that says nothing, and nobody can tell"),
        P([machine(1, "odd")], GOES, {}, "ready", {"shown", "leaving"}, id="somebody destroys it"),
        P([machine(1, "off")], GOES, {}, "ready", {"shown", "leaving"}, id="somebody destroys it, listed as off"),
        P([], GOES, None, "ready", {"shown", "leaving"}, id="somebody destroys it, listed no more"),
        P([], machine(1, "odd"), None, "odd", {"shown", "leaving"}, id="not listed, in no known state"),
        P([BLIND], machine(1), {}, "ready", {"shown"}, id="its entry cannot be read: what show says"),
        P([BLIND], DOWN, {}, UNVERIFIED, {"unverified"}, id="nor can anybody tell"),
        P([BLIND], LOST, {}, UNVERIFIED, {"unverified"}, id="nor does show know it"),
        P(
            [machine(1)], DOWN, {"last_state": LEAVING}, "ready", {"leaving"},
            id="it was leaving, and nobody can tell",
        ),
        P(
            [machine(1)], LOST, {"last_state": LEAVING}, "ready", {"leaving"},
            id="it was leaving, show knows none, and it is listed",
        ),
        P([], DOWN, {"last_state": LEAVING}, LEAVING, {"leaving"}, id="it was leaving, and is listed no more"),
        P([], LOST, {"last_state": LEAVING}, None, {"gone"}, id="it was leaving, and went"),
        P([machine(1)], machine(1), {"last_state": LEAVING}, "ready", {"shown"}, id="it was leaving, and came back"),
        P(
            [machine(1, "odd")], machine(1), {"last_state": LEAVING}, "odd", {"shown"},
            id="it was leaving, and came back, listed in a state that says nothing",
        ),
        P([machine(1)], machine(1), {"gone_at": ago(hours=1)}, "ready", {"shown"}, id="it went, and is back"),
        P([machine(1)], machine(1, "odd"), {"gone_at": ago(hours=1)}, "ready", {"shown"}, id="back, in an odd state"),
        P([machine(1)], LOST, {"gone_at": ago(hours=1)}, "ready", set(), id="it went, and the listing is old"),
        P([machine(1)], DOWN, {"destroyed": True}, "ready", set(), id="it went, and nobody can tell"),
        P([machine(1)], GOES, {"destroyed": True}, "ready", set(), id="it went, and goes still"),
    ],
)  # fmt: skip
def test_what_is_believed_of_a_machine(
    listed: list[Machine], shows: Any, left: dict[str, Any] | None, states: str | None, fields: set[str]
) -> None:
    """``left``: what is remembered, of one that is not as it was left."""

    async def story() -> None:
        doubtful = [] if left is None or shows is None else [facts(1, **left)]
        seen, looked = await observed([*listed, machine(2)], shows, doubtful)
        assert seen.rejected is None
        assert looked == ([] if shows is None else ["ps1"])
        assert told(seen) == {"ps2": "ready"} | ({} if states is None else {"ps1": states})
        assert seen.gone == ({"ps1"} if "gone" in fields else set())
        assert seen.leaving == ({"ps1"} if "leaving" in fields else set())
        assert seen.shown == ({"ps1": shows} if "shown" in fields else {})
        assert set(seen.unverified) == ({"ps1"} if "unverified" in fields else set())
        assert all(m.unreadable == (BLIND.unreadable if BLIND in listed else None) for m in seen.machines[:1])

    run_virtual(story)


@pytest.mark.parametrize(
    ("listed", "shows", "why"),
    [
        P([], machine(1), "lacks ps1 (training-aaaaaaaa), which show finds in state ready", id="it lacks one"),
        P([], machine(1, "off"), "which show finds in state off", id="whatever its state"),
        P([], DOWN, "the listing lacks ps1, and it could not be verified: show: no route", id="nobody can tell"),
        P([machine(1, "off")], machine(1), "has ps1 (training-aaaaaaaa) in state off, which", id="an old listing"),
        P([machine(1, "off")], machine(1, "starting"), "which show finds in state starting", id="or nearly"),
    ],
)
def test_one_machine_is_enough_to_reject_a_listing(listed: list[Machine], shows: Any, why: str) -> None:
    async def story() -> None:
        seen, _ = await observed([*listed, machine(2)], shows, [facts(1)] if listed else [])
        assert seen.rejected is not None
        assert why.replace("training-aaaaaaaa", machine(1).name) in seen.rejected
        assert seen.machines == (*listed, machine(2))

    run_virtual(story)


def test_one_that_was_leaving_and_is_not_listed_although_show_finds_it_rejects_a_listing_too() -> None:
    async def story() -> None:
        seen, _ = await observed([machine(2)], machine(1), [facts(1, last_state=LEAVING)])
        assert seen.rejected is not None
        assert "lacks ps1 (" in seen.rejected

    run_virtual(story)


def test_one_that_has_changed_stands_as_the_listing_has_it() -> None:
    """``show`` bears it out, and what it says beside is among ``shown``."""

    async def story() -> None:
        closer = machine(1, "off", events=(event("stop"),))
        seen, _ = await observed([machine(1, "off")], closer, [facts(1)])
        assert (seen.machines, seen.shown) == ((machine(1, "off"),), {"ps1": closer})

    run_virtual(story)


@pytest.mark.parametrize(
    ("listed", "shows", "words"),
    [
        P([BLIND], DOWN, "state is 7; and show says: show: no route", id="its entry cannot be read"),
        P([BLIND], LOST, "state is 7; and show says: not found", id="nor does show know it"),
        P(
            [],
            DOWN,
            "the listing has an entry without an id, which may be this machine; and show says: show: no route",
            id="it may be the one without an id",
        ),
        P(
            [machine(1, "off")],
            DOWN,
            "the listing has ps1 in state off, and it could not be verified: show: no route",
            id="it has changed, whoever is missing beside it",
        ),
    ],
)
def test_why_one_machine_is_not_believed(listed: list[Machine], shows: Any, words: str) -> None:
    async def story() -> None:
        left = [] if not listed or listed == [BLIND] else [facts(1)]
        hidden = 0 if listed == [BLIND] else 1
        seen, _ = await observed([*listed, machine(2)], shows, left, unidentified=hidden)
        assert seen.unverified == {"ps1": words}

    run_virtual(story)


@pytest.mark.parametrize(
    ("unidentified", "usual", "shows", "rejected", "states", "unverified"),
    [
        P(1, 0, machine(1), False, "ready", False, id="its entry has no id, and show finds it"),
        P(1, 0, DOWN, False, UNVERIFIED, True, id="nobody can tell"),
        P(1, 0, LOST, False, UNVERIFIED, True, id="show knows none: the entry may be it all the same"),
        P(1, 1, machine(1), True, None, False, id="such an entry was there when nothing was missing"),
        P(1, 1, LOST, False, None, False, id="and it is gone"),
        P(2, 1, machine(1), False, "ready", False, id="one more than usual"),
    ],
)
def test_a_missing_machine_may_be_an_entry_without_an_id(
    unidentified: int, usual: int, shows: Any, rejected: bool, states: str | None, unverified: bool
) -> None:
    async def story() -> None:
        seen, _ = await observed([machine(2)], shows, [], unidentified=unidentified, usual=usual)
        assert (seen.rejected is not None) is rejected
        assert told(seen).get("ps1") == states
        assert ("ps1" in seen.unverified) is unverified
        assert seen.unidentified == unidentified
        if rejected:
            assert "lacks ps1" in (seen.rejected or "")

    run_virtual(story)


def test_no_more_are_missing_than_entries_without_an_id_can_stand_for() -> None:
    async def story() -> None:
        async def show(machine_id: str) -> Machine:
            return machine(int(machine_id[2:]))

        async def everything(_progress: Any) -> Listing:
            return Listing((machine(9),), unidentified=1)

        cloud: Any = SimpleNamespace(list_machines=everything, show=show)
        observer = Observer(cloud, SimpleNamespace(now=lambda: NOW))  # type: ignore[arg-type]
        seen = await observer.observe(["ps1", "ps2"])
        assert seen.rejected == "the listing lacks ps1, ps2, which show finds, for 1 entries without an id"
        assert (await observer.observe(["ps2"])).rejected is None

    run_virtual(story)


HERE, AWAY, GONE = [machine(1), machine(2)], [machine(2)], [machine(2)]
"""Both machines; one that the listing lacks; and one that ``show`` does not know either."""


@pytest.mark.parametrize(
    ("passes", "rejected"),
    [
        P([(HERE, 1), (AWAY, 1)], [False, True], id="an entry without an id that was there before stands for nobody"),
        P(
            [(AWAY, 1), (AWAY, 1)],
            [False, False],
            id="one that came as a machine went missing stands for it for long",
        ),
        P([(AWAY, 1), (HERE, 1), (AWAY, 1)], [False, False, True], id="until that is back, and the entry stays"),
        P([(HERE, 2), (GONE, 1), (AWAY, 2)], [False, False, False], id="one of two has gone, and one more has come"),
        P([(HERE, 1), (HERE, 0), (AWAY, 1)], [False, False, False], id="one that was read meanwhile"),
    ],
)
def test_which_entries_without_an_id_are_usual(passes: list[Any], rejected: list[bool]) -> None:
    async def story() -> None:
        now: list[Any] = []

        async def show(machine_id: str) -> Machine:
            if now[-1][0] is GONE:
                raise LOST
            return machine(int(machine_id[2:]))

        async def everything(_progress: Any) -> Listing:
            return Listing(tuple(now[-1][0]), unidentified=now[-1][1])

        cloud: Any = SimpleNamespace(list_machines=everything, show=show)
        observer = Observer(cloud, SimpleNamespace(now=lambda: NOW))  # type: ignore[arg-type]
        for one, bad in zip(passes, rejected, strict=True):
            now.append(one)
            assert ((await observer.observe(["ps1", "ps2"])).rejected is not None) is bad

    run_virtual(story)


def test_of_a_listing_that_is_not_whole_nothing_is_looked_at_closer() -> None:
    async def story() -> None:
        async def part(_progress: Any) -> Listing:
            return Listing((machine(2),), complete=False, problem="page 3: no route", unidentified=2)

        cloud: Any = SimpleNamespace(list_machines=part)
        observer = Observer(cloud, SimpleNamespace(now=lambda: NOW))  # type: ignore[arg-type]
        assert await observer.observe(["ps1"]) == Observation(
            NOW, (machine(2),), complete=False, problem="page 3: no route", unidentified=2
        )
        assert observer.unidentified == 0, "nor is anything usual by it"

    run_virtual(story)


@pytest.mark.parametrize(("looks", "looked"), [(0, 2), (1, 2), (2, 2), (3, 3), (9, 5)])
def test_two_are_looked_at_in_a_pass_however_slow_the_provider_may_be_asked(looks: int, looked: int) -> None:
    async def story() -> None:
        asked: list[str] = []

        async def show(machine_id: str) -> Machine:
            asked.append(machine_id)
            raise LOST

        async def nothing(_progress: Any) -> Listing:
            return Listing(())

        cloud: Any = SimpleNamespace(list_machines=nothing, show=show)
        observer = Observer(cloud, SimpleNamespace(now=lambda: NOW), looks=lambda: looks)  # type: ignore[arg-type]
        await observer.observe([f"ps{n}" for n in range(1, 6)])
        assert len(asked) == looked

    run_virtual(story)


def test_a_refused_key_is_no_answer_about_a_machine() -> None:
    async def story() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await observed([], Unauthorized("Invalid API token"), [])
        assert caught.group_contains(Unauthorized)

    run_virtual(story)


def test_an_entry_that_cannot_be_read_and_need_not_be_there_is_looked_at_by_nobody() -> None:
    async def story() -> None:
        seen, looked = await observed([BLIND], machine(1), [], expected=())
        assert (looked, told(seen)) == ([], {"ps1": UNREADABLE})

    run_virtual(story)


def test_a_pass_looks_at_so_many_and_the_next_at_those_that_have_waited_longest() -> None:
    """Of the missing and of the others a half each, and each look is progress."""

    async def story() -> None:
        listed = tuple(machine(n, "off") for n in range(11, 16))
        left = [facts(n) for n in range(11, 15)] + [facts(15, gone_at=ago(hours=1))]
        looked: list[str] = []
        progress: list[int] = []

        async def show(machine_id: str) -> Machine:
            looked.append(machine_id)
            if machine_id in expected:
                raise LOST
            return machine(int(machine_id[2:]), "off")

        async def everything(_progress: Any) -> Listing:
            return Listing(listed)

        expected = [f"ps{n}" for n in range(1, 5)]
        cloud: Any = SimpleNamespace(list_machines=everything, show=show)
        observer = Observer(
            cloud, SimpleNamespace(now=lambda: NOW), looks=lambda: 4, progress=lambda: progress.append(1)  # type: ignore[arg-type]
        )  # fmt: skip
        passes = []
        for _ in range(3):
            seen = await observer.observe(expected, lambda _machines: left)
            passes.append(looked.copy())
            assert seen.gone == {m for m in looked if m in expected}
            off = {m.id for m in listed} | set(expected)
            assert seen.unverified.keys() == off - set(looked) - {"ps15"}, "one that went has not come back"
            assert all(
                why.startswith(f"{m} is missing with many" if m in expected else f"{m} has changed with many")
                for m, why in seen.unverified.items()
            )
            looked.clear()
        assert passes == [
            ["ps1", "ps2", "ps11", "ps12"],
            ["ps3", "ps4", "ps13", "ps14"],
            ["ps1", "ps2", "ps11", "ps15"],
        ]
        assert len(progress) == 12

    run_virtual(story)
