"""The page as a function of reports: what it says, what it escapes, what a screen reader and a browser get."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from dataclasses import replace as replace_
from datetime import datetime, timedelta
from decimal import Decimal
from html import unescape
from importlib.resources import files
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fleetd.model.journal import HistoryEntry
from fleetd.model.machine import Phase
from fleetd.model.naming import machine_name, make_token
from fleetd.model.reasons import Reason, Verb
from fleetd.model.report import Report, document
from fleetd.ops.page import words
from fleetd.ops.page.fleet_page import fleet_page
from fleetd.ops.page.found import several_page
from fleetd.ops.page.frame import content_security_policy
from fleetd.ops.page.headline import headline, summary, title
from fleetd.ops.page.history_page import Filters, history_page
from fleetd.ops.page.home import home
from fleetd.ops.page.html import Markup, join, tag, text
from fleetd.ops.page.links import fleet_path, machine_word_path, says
from fleetd.ops.page.machine_page import machine_page
from fleetd.ops.page.needs import needs
from fleetd.ops.page.record import Record
from fleetd.ops.page.scene import Known, Scene
from fleetd.planner.aged import aged
from tests.page.crowd import crowd
from tests.page.everything import every_page
from tests.support.fake_handle import AT, a_fleet, a_machine, a_report, a_veto
from tests.support.parsed import Parsed, parsed

HOSTILE = [
    pytest.param("<script>alert(1)</script>", id="script"),
    pytest.param("</title><img src=x onerror=alert(1)>", id="end of an element"),
    pytest.param('" autofocus onfocus="alert(1)', id="attribute"),
    pytest.param("' onmouseover='alert(1)", id="attribute with apostrophes"),
    pytest.param("</style></script><!--", id="end of raw text"),
    pytest.param("&lt;b&gt;&#60;", id="entities"),
    pytest.param("\x1b[2J\x1b]0;owned\x07", id="terminal"),
    pytest.param("a\r\nb\ndata: c\n\n", id="newlines"),
    pytest.param("../../etc/passwd", id="path"),
    pytest.param("javascript:alert(1)", id="url"),
    pytest.param("\u202egnp.exe\u2066\u200d", id="bidi"),
    pytest.param("\ud800\x00", id="no text at all"),
    pytest.param("x" * 100_000, id="long"),
]


def at(**ago: float) -> datetime:
    return AT - timedelta(**ago)


def step(verb: str = "start", **fields: Any) -> dict[str, Any]:
    whole = {
        "verb": verb, "reason": "short_of_target", "intent": 5, "since": at(seconds=60),
        "deadline": AT + timedelta(minutes=9), "ambiguous": False,
    }  # fmt: skip
    return whole | fields


def skip(**fields: Any) -> dict[str, Any]:
    whole = {
        "fleet": "training", "machine": None, "name": None, "verb": "start", "reason": "capacity_backoff",
        "until": AT + timedelta(minutes=10), "detail": None, "count": 1,
    }  # fmt: skip
    return whole | fields


def veto(**fields: Any) -> dict[str, Any]:
    whole = {
        "id": 3, "kind": "freeze", "subject": "training", "verbs": ["create"], "reason": "moving", "actor": "ada",
        "created_at": at(minutes=5), "expires_at": AT + timedelta(hours=1),
    }  # fmt: skip
    return whole | fields


def entry(**fields: Any) -> HistoryEntry:
    whole = {
        "ts": AT - timedelta(minutes=3), "fleet": "training", "machine": "ps1", "name": "training-1",
        "verb": "start", "reason": "short_of_target", "outcome": "reached", "intent": 5, "duration_s": 61.0,
    }  # fmt: skip
    return HistoryEntry(**(whole | fields))


def scene(history: Any = (), **fields: Any) -> Scene:
    return Scene(a_report(**fields), AT, history=history, version="1.2.3")


def shown(history: Any = (), **fields: Any) -> Parsed:
    return parsed(home(scene(history, **fields)))


def fleet_shown(history: Any = (), **fields: Any) -> Parsed:
    return parsed(fleet_page(replace_(scene(history, **fields), root="../"), "training"))


def machine_shown(number: int = 0, history: Any = (), **fields: Any) -> Parsed:
    whole = scene(history, **fields)
    return parsed(machine_page(replace_(whole, root="../"), whole.report.machines[number]))


def test_all_is_well() -> None:
    page = shown(machines=[a_machine("training-7k3mqggq", up_since=at(hours=3, minutes=10))], max_hourly_cost="20")
    said = page.words
    assert "The fleet is at target." in said
    assert "✓ at target" in said
    assert "2 of 2" in said
    assert "1 machine · $1.02 an hour (cap $20.00) · last pass 10 s ago, took 250 ms" in said
    assert "looked 11:59:50 UTC, 10 s ago" in said
    assert "need" not in said.lower()
    assert "2/2 up · fleetd" in said
    assert "training-7k3mqggq" not in said, "what is well has no line of its own"
    assert "fleet/training" in page.links


def test_the_page_of_a_fleet_that_is_well() -> None:
    page = fleet_shown(machines=[a_machine("training-7k3mqggq", up_since=at(hours=3, minutes=10))])
    assert "training: 2 of 2 up, 1 down. It is at its target." in page.words
    (cell,) = page.classed("cell")
    assert cell["title"] == "training-7k3mqggq (ps-training-7k3mqggq): ready for 3 h 10 min"
    assert "training- 7k3mqggq ready 3 h" in page.words
    assert "../machine/ps-training-7k3mqggq" in page.links
    assert "fleetd explain training -c /etc/fleetd/fleetd.toml" in page.words


def test_a_converging_fleet() -> None:
    machines = [
        a_machine("training-1"),
        a_machine("training-2", state="starting", phase="rising", transition=step()),
        a_machine(
            "training-3",
            id=None,
            state="creating",
            phase="rising",
            transition=step("create", intent=6, ambiguous=True),
        ),
        a_machine(
            "training-4", state="stopping", phase="falling", transition=step("stop", intent=7, reason="parked_idle")
        ),
    ]
    fleets = {"training": a_fleet(target=4, up=1, rising=2, falling=1, intents=1, converged=False, down=0)}
    said = shown(machines=machines, fleets=fleets).words
    assert "Not at target: training 1 of 4 up." in said
    assert "may need a person" not in said
    assert "◐ on its way" in said
    assert "3 under way" in said
    said = fleet_shown(machines=machines, fleets=fleets).words
    assert "training-2 starting for 60 s" in said
    assert "Deadline 12:09:00 UTC, in 9 min." in said
    assert "Its answer was lost, so it is being looked for." in said
    assert "It is idle, and a window that parks idle machines is open." in said
    assert "creating answer lost" in said
    assert "1 asked for" in said


def test_a_transition_past_its_deadline() -> None:
    page = machine_shown(machines=[a_machine("training-1", transition=step(deadline=at(minutes=3)))])
    assert "Overdue: the deadline was 11:57:00 UTC, 3 min ago." in page.words
    assert len(page.classed("late")) == 1


def troubled() -> dict[str, Any]:
    machines = [
        a_machine("training-1", id="ps-1", state="off", phase="down", failure="no capacity", state_since=at(hours=2)),
        a_machine("training-2", state="hibernating", phase="unknown"),
        a_machine("training-3", hold=veto(kind="hold", subject="training-3", reason="mine")),
        a_machine("other", owned=False, fleet=None),
    ]
    blocked = [
        skip(machine="ps-1", name="training-1", detail="sold out", since=at(minutes=14)),
        skip(machine="ps-5", name="training-5", detail="sold out", since=at(minutes=10)),
        skip(machine="ps-6", name="training-6", verb="stop", reason="busy", until=None),
        skip(machine="ps-1", name="training-1", verb="update", reason="no_effect", until=None),
    ]
    unlike = [{"what": "machineType", "found": "P5000", "wanted": "P4000", "count": 2}]
    return {
        "machines": machines,
        "blocked": blocked,
        "daemon": replace(a_report().daemon, config_fault="a:\n  b"),
        "fleets": {"training": a_fleet(up=1, down=1, unknown=1, converged=False, unlike=unlike)},
        "vetoes": [veto(), veto(id=4, kind="freeze", subject=None, verbs=[str(v) for v in Verb])],
    }


def test_trouble_comes_first_with_since_when_and_each_is_a_tap_away() -> None:
    page = shown(**troubled())
    said = page.words
    assert "4 things may need a person." in said
    assert "Needs a person (4)" in said
    assert len([a for a in page.named("li") if str(a.get("data-key")).startswith("need ")]) == 4
    assert "! 1/2 up · fleetd" in said
    assert "The new config was rejected, the old one is in force: a: b" in said
    assert (
        "training 2 not started: the last of its type did not come up, mostly for want of capacity; "
        "it is tried again later, next at 12:10:00 UTC "
        "since 11:46:00 UTC, 14 min" in said
    )
    assert "training 2 machines are P5000, the config says P4000: nothing is replaced." in said
    assert "machine/ps-1" in page.links, "what is about one machine leads to it"
    assert "fleet/training" in page.links
    assert "! short" in said
    assert (
        "On their own: freeze on training (create only) by ada: moving, until 13:00:00 UTC · freeze on everything"
        in said
    )
    assert "1 machine of other people, never touched" in said
    assert "not stopped" not in said, "what goes without saying is on the fleet's page"
    assert said.index("Needs a person") < said.index("Fleets")


def test_the_page_of_a_troubled_fleet_says_why() -> None:
    page = fleet_shown(**troubled())
    said = page.words
    assert (
        "2 machines of training are not started: the last of its type did not come up, mostly for want of capacity; "
        "it is tried again later (sold out)." in said
    )
    assert "training-1, training-5" in said
    assert (
        "training-6 is not stopped: it is being used. That ends when every idle source says that it is idle." in said
    )
    assert said.index("capacity_backoff") < said.index("busy")
    assert "Freeze on training (create only) by ada: moving, until 13:00:00 UTC, 60 min left" in said
    assert "Freeze on everything by ada: moving" in said
    assert "off failed 2 h" in said
    assert "ready held" in said
    assert [c["class"] for c in page.classed("cell")] == ["cell down attention", "cell unknown attention", "cell up"]


BLIND: list[Any] = [
    pytest.param({"provider": "unavailable", "error": "503"}, {}, "the provider does not answer", id="away"),
    pytest.param({"provider": "key_refused"}, {}, "the provider refuses the key", id="key"),
    pytest.param({"provider": "of another version"}, {}, "the provider says of another version", id="unheard of"),
    pytest.param({"error": "a fault"}, {}, "the last pass failed", id="error"),
    pytest.param({}, {"doubted_since": at(minutes=13), "doubt": "it lacks ps-9"}, "it lacks ps-9", id="doubted"),
    pytest.param({}, {"rejected": "it lacks ps-9"}, "it lacks ps-9", id="rejected"),
    pytest.param({}, {"complete": False}, "the listing is not whole", id="half"),
]


@pytest.mark.parametrize(("daemon", "sight", "why"), BLIND)
def test_who_is_blind_says_so_and_never_that_all_is_well(daemon: Any, sight: Any, why: str) -> None:
    seen = {"at": at(seconds=5), "complete": True, "believed_at": at(minutes=13)} | sight
    fields = {
        "daemon": replace(a_report().daemon, **daemon),
        "observation": seen,
        "fleets": {"training": a_fleet(), "batch": a_fleet(up=0, target=0, parked=True)},
        "machines": [a_machine("training-1")],
    }
    said = shown(**fields).words
    assert "Blind since 11:" in said
    assert f"{why}. Last seen 11:47:00 UTC: 2 of 2 up. 1 thing may need a person. " in said
    assert "Needs a person (1)" in said
    assert "? 2/2 up · fleetd" in said
    assert "looked 11:47:00 UTC, 13 min ago" in said
    for name, page in every_page(scene(**fields)).items():
        assert not re.search(r"at target|parked until|>✓", page), name


@pytest.mark.parametrize(("ago", "old"), [(150, False), (151, True), (4000, True)])
def test_a_look_that_is_old_is_no_picture_of_now(ago: float, old: bool) -> None:
    seen = {"at": at(seconds=ago), "complete": True, "believed_at": at(seconds=ago)}
    report = aged(a_report(observation=seen, machines=[a_machine("training-1")]), AT, timedelta(seconds=150))
    whole = Scene(report, AT)
    said = parsed(home(whole)).words
    assert ("at target" in said) != old
    assert ("The pass that is under way takes long." in said) == old
    assert title(whole) == (("? 2/2 up · fleetd", "blind") if old else ("2/2 up · fleetd", "ok"))
    assert ("Needs a person (1)" in said) == old
    if old:
        assert "no pass has come to its end since then. Last seen 1" in said
        assert headline(whole) == headline(replace_(whole, now=AT + timedelta(seconds=5)))
        for name, page in every_page(whole).items():
            assert not re.search(r"at target|parked until|>✓", page), name


def test_what_is_known_to_be_wrong_is_said_rather_than_that_it_is_old() -> None:
    seen = {"at": at(hours=1), "complete": True, "believed_at": at(hours=1), "doubted_since": at(minutes=58)}
    away = replace(a_report().daemon, provider="unavailable", error="503")
    report = a_report(daemon=away, observation=seen)
    assert aged(report, AT, timedelta(minutes=2)) == report
    assert aged(Report(daemon=away), AT, timedelta(minutes=2)) == Report(daemon=away)
    late = aged(a_report(daemon=away, observation=seen | {"doubted_since": None}), AT, timedelta(minutes=2))
    assert [need.subject for need in needs(late, AT)] == ["The provider"]


@pytest.mark.parametrize(
    ("fleets", "words"),
    [
        ([(3, 3), (3, 3)], "6/6"),
        ([(4, 3), (3, 3)], "7/6"),
        ([(4, 3), (2, 3)], "5/6"),
        ([(6, 3), (0, 3)], "3/6"),
        ([(0, 0), (1, 3)], "1/3"),
    ],
)
def test_no_surplus_of_one_fleet_hides_what_another_lacks(fleets: list[tuple[int, int]], words: str) -> None:
    whole = {f"f{n}": a_fleet(up=up, target=of, converged=up == of) for n, (up, of) in enumerate(fleets)}
    assert title(scene(fleets=whole))[0] == f"{words} up · fleetd"
    seen = {"at": AT, "complete": False, "believed_at": AT}
    assert f"{words.replace('/', ' of ')} up." in headline(scene(fleets=whole, observation=seen))


def test_a_listing_that_is_not_believed_is_one_thing_however_many_fleets_wait_for_it() -> None:
    fleets = {f"fleet-{n}": a_fleet(converged=False) for n in range(40)}
    rows = [skip(fleet=name, reason="observation_rejected", until=None) for name in fleets]
    sight = {"at": at(seconds=5), "complete": True, "rejected": "it lacks ps-9", "doubted_since": at(minutes=5)}
    assert [need.subject for need in needs(a_report(fleets=fleets, blocked=rows, observation=sight), AT)] == [
        "The listing"
    ]
    assert len(needs(a_report(fleets=fleets, blocked=rows), AT)) == 40, "what nothing else tells is told"


@pytest.mark.parametrize(
    ("verbs", "fleet", "blocked", "words"),
    [
        (list(Verb), {}, [], "‖ frozen, at target"),
        (["create"], {}, [], "‖ partly frozen, at target"),
        (list(Verb), {"up": 1, "converged": False}, [], "‖ frozen, short"),
        (list(Verb), {"up": 3, "converged": False}, [], "‖ frozen, not at target"),
        (list(Verb), {"up": 1, "converged": False}, [skip()], "! short, frozen"),
        (list(Verb), {"up": 0, "target": 0, "parked": True}, [], "z parked"),
        ([], {"unlike": [{"what": "region", "found": "a", "wanted": "b", "count": 1}]}, [], "≠ unlike the config"),
        ([], {"up": 3, "converged": False}, [], "… not at target"),
        ([], {"up": 1, "converged": False}, [], "… short"),
        ([], {"converged": False, "no_effect": {"stop": 1}}, [skip(verb="stop", reason="no_effect")], "! blocked"),
    ],
)
def test_how_a_fleet_stands_in_a_few_words(verbs: list[str], fleet: Any, blocked: Any, words: str) -> None:
    vetoes = [veto(subject=None, verbs=[str(v) for v in verbs])] if verbs else []
    page = shown(fleets={"training": a_fleet(**fleet)}, blocked=blocked, vetoes=vetoes)
    row = page.words.partition("$/h Next ")[2]
    assert row.startswith(f"training {words} ")


def test_since_when_a_config_is_rejected_is_said_however_much_has_happened_since() -> None:
    fields = {"daemon": replace(a_report().daemon, config_fault="a: b", config_fault_since=at(minutes=7))}
    assert "in force: a: b since 11:53:00 UTC, 7 min" in shown([], **fields).words


def test_each_thing_that_may_need_a_person_is_counted_once_and_listed() -> None:
    found = needs(a_report(**troubled()), AT)
    page = shown(**troubled())
    assert f"{len(found)} things may need a person." in page.words
    assert [page.words.count(f"{n.subject} {n.words}") for n in found] == [1] * len(found)


@pytest.mark.parametrize(("phase", "count"), [("up", 1), ("down", 0)])
def test_machines_that_a_fleetd_made_and_nobody_owns_may_need_a_person(phase: str, count: int) -> None:
    names = [machine_name("web", make_token("web", [n, 2, 3, 4, 5])) for n in (1, 2, 3)]
    machines = [a_machine(name, owned=False, fleet=None, phase=phase, state_since=at(hours=1)) for name in names]
    left = [{"fleet": "web", "machines": names, "billed": 3, "hourly": "1.53"}]
    page = shown(machines=machines, orphans=left)
    assert page.words.count("may need a person") == count
    assert (
        page.words.count(
            "web 3 machines run without a fleet, $1.53 an hour: adopt, or stop by hand since 11:00:00 UTC, 60 min"
        )
        == count
    )
    assert "of other people" not in page.words
    assert "By its name a fleetd made it, for fleet web" in machine_shown(machines=machines).words


def test_money_that_runs_out_may_need_a_person() -> None:
    budget = {
        "fleet": None, "month": "2026-03", "budget": "100", "spent": "90", "committed": "95", "wanted": "120",
        "used_up_at": AT + timedelta(days=3),
    }  # fmt: skip
    over = {"fleet": "training", "hourly": "21", "cap": "20"}
    said = shown(budgets=[budget], over_caps=[over]).words
    assert "2 things may need a person." in said
    assert "training $21.00 an hour is over max_hourly_cost, $20.00: nothing is started or created" in said
    assert "All fleets the budget of 2026-03, $100.00, is taken by 95%, used up at 2026-03-05 12:00:00 UTC" in said


def night(**fields: Any) -> dict[str, Any]:
    wakes = {"at": AT + timedelta(hours=8), "target": 6, "window": None, "parked": False}
    return {"target": 0, "up": 0, "down": 6, "parked": True, "window": "night", "next": wakes} | fields


def test_a_parked_night_reads_as_one() -> None:
    known = Known({("notebooks", "night"): "Europe/Berlin"})
    whole = replace_(scene(fleets={"notebooks": a_fleet(**night())}), known=known)
    said = parsed(home(whole)).words
    assert "The fleet is parked until 21:00 Berlin." in said
    assert "z parked until 21:00 Berlin" in said
    assert "6 at 21:00 Berlin" in said
    assert "On their own: notebooks parked until 21:00 Berlin (6)" in said
    assert "0/0 up · fleetd" in said
    assert "may need a person" not in said
    said = parsed(fleet_page(whole, "notebooks")).words
    assert "It wakes at 21:00 Berlin (20:00:00 UTC), in 8 h, to a target of 6." in said


@pytest.mark.parametrize(
    ("fleets", "headline_"),
    [
        ({"a": night()}, "The fleet is parked until 20:00 UTC."),
        ({"a": night(next=None)}, "The fleet is parked."),
        ({"a": night(), "b": {}}, "1 fleet is at target, a is parked."),
        ({"a": night(), "b": night(), "c": {}, "d": {}}, "2 fleets are at target, 2 are parked."),
        ({"a": night(), "b": night()}, "All 2 fleets are parked."),
        ({"a": night(target=6, up=2)}, "The fleet is parked until 20:00 UTC."),
        ({"a": night(up=1, converged=False)}, "Not at target: a 1 of 0 up."),
        ({"a": {}, "b": {}}, "Both fleets are at target."),
        ({"a": {"up": 1, "converged": False}, "b": night(target=6)}, "Not at target: a 1 of 2 up."),
    ],
)
def test_parked_machines_are_missed_by_nobody(fleets: dict[str, Any], headline_: str) -> None:
    assert headline(scene(fleets={name: a_fleet(**fields) for name, fields in fleets.items()})) == headline_


def test_since_when_a_fleet_is_short_is_in_the_headline_and_in_its_line() -> None:
    record = Record()
    for minutes, up in ((60, 2), (40, 1), (20, 1), (0, 1)):
        seen = {"at": at(minutes=minutes), "complete": True, "rejected": None}
        looked = a_report(fleets={"training": a_fleet(up=up, converged=up == 2)}, observation=seen)
        record.saw(looked, patience=timedelta(hours=1))
    fields = {"fleets": {"training": a_fleet(up=1, converged=False)}, "blocked": [skip(machine="ps1")]}
    said = parsed(home(replace_(scene(**fields), record=record))).words
    assert "Not at target since 11:20:00 UTC: training 1 of 2 up. 1 thing may need a person. for 40 min" in said
    assert "! short 40 min" in said


def test_fleets_with_trouble_come_first_and_a_long_quiet_rest_is_folded() -> None:
    fleets = {f"quiet-{n:03d}": a_fleet() for n in range(500)} | {"zz": a_fleet(up=1, converged=False)}
    page = shown(fleets=fleets, blocked=[skip(fleet="zz")])
    rows = [str(a.get("data-key")) for a in page.named("tr") if a.get("data-key")]
    assert rows[0] == "fleet zz"
    assert "494 more at target" in page.words
    assert len(home(scene(fleets=fleets))) < 60_000


def test_the_page_is_as_long_for_two_thousand_machines_as_for_four() -> None:
    few, many = (home(crowd(n)) for n in (8, 2000))
    assert len(many) < 1.2 * len(few)
    assert len(parsed(many).tags) < 1.2 * len(parsed(few).tags)
    assert (
        "fleet-003 5 not started: the last of its type did not come up, mostly for want of capacity"
        in parsed(many).words
    )
    assert "Not at target since 11:40:00 UTC: fleet-003 495 of 500 up." in parsed(many).words


def test_troubles_by_the_hundred_are_counted_and_the_page_stays_short() -> None:
    fleets = {f"fleet-{n:03d}": a_fleet(up=0, converged=False) for n in range(800)}
    vetoes = [veto(id=n, subject=name) for n, name in enumerate(fleets)]
    page = shown(
        [entry(ts=at(minutes=n), name=f"m{n}", machine=None) for n in range(60)],
        fleets=fleets, blocked=[skip(fleet=name) for name in fleets], vetoes=vetoes,
    )  # fmt: skip
    assert "Needs a person (800)" in page.words
    assert "and 788 more: of the fleets below" in page.words
    assert "and 794 more" in page.words
    assert len(page.tags) < 700


def test_why_a_machine_is_off_is_in_its_cell() -> None:
    off = {"state": "off", "phase": "down", "stopped_at": at(hours=3)}
    machines = [
        a_machine("training-1", **off, standing="parked", stopped_by="parked_idle"),
        a_machine("training-2", **off, standing="stopped_outside", stopped_by="operator"),
        a_machine("training-3", **off, standing="off_all_along"),
        a_machine("training-4", **off, hold=veto(kind="hold", subject="training-4", verbs=["start"], reason="loud")),
        a_machine("training-5", hold=veto(kind="hold", subject="training-5", verbs=["start"], reason="loud")),
    ]
    page = fleet_shown(machines=machines)
    assert "1 off parked" in page.words
    assert "2 off by hand" in page.words
    assert "4 off kept off" in page.words
    titles = " ".join(str(c["title"]) for c in page.classed("cell"))
    assert "fleetd parked it at 2026-03-02 09:00:00 UTC (3 h ago)" in titles
    assert "kept off by ada" in titles
    assert "5 ready held" in page.words, "one that is up is not off"
    assert "held (start only) by ada" in titles


def test_the_page_of_a_machine() -> None:
    held = veto(kind="hold", subject="training-1", machine="ps-1", reason="mine")
    machine = a_machine(
        "training-1", id="ps-1", former_name="gpu", up_since=at(hours=3), hold=held, private_ip="10.0.0.7"
    )
    history = [entry(machine="ps-1")]
    whole = replace_(
        scene(history, machines=[machine], vetoes=[held]), known=Known(prices={"P4000": Decimal("0.51")})
    )
    page = parsed(machine_page(replace_(whole, root="../"), whole.report.machines[0]))
    said = page.words
    assert "training-1 (ps-1, gpu before) is ready, in fleet training." in said
    assert "Hold on training-1 (create only) by ada: mine, until 13:00:00 UTC, 60 min left" in said
    assert "Id ps-1 Name training-1 First seen as gpu Fleet training Private address 10.0.0.7 Type P4000" in said
    assert "Price $0.51 an hour while it is up, by the config" in said
    assert "Up since 09:00:00 UTC" in said
    assert "training-1 start: reached after 61 s" in said
    assert "fleetd release ps-1 -c /etc/fleetd/fleetd.toml" in said
    assert "../history?machine=ps-1" in page.links
    assert "../fleet/training" in page.links


def test_before_the_first_pass() -> None:
    daemon = replace(a_report().daemon, last_pass=None, provider=None)
    page = parsed(home(Scene(Report(daemon=daemon), AT)))
    assert "? no look yet · fleetd" in page.words
    assert page.words.count("No pass has ended well yet.") == 1
    assert "no look was believed yet" in page.words
    assert "Nothing is known yet." in page.words


def test_no_fleets_and_no_machines() -> None:
    assert "The config names no fleets." in shown(fleets={}).words
    assert "No machines." in fleet_shown().words


def test_prices_that_are_not_known_are_not_nothing() -> None:
    said = shown(hourly=None, fleets={"training": a_fleet(hourly=None)}).words
    assert " ? \N{EN DASH}" in said
    assert "$? an hour" in said


def test_what_changed_newest_first_and_alike_ones_together() -> None:
    history = [
        entry(name="training-1"),
        entry(ts=AT, name="training-2", outcome="failed_to_start", error="no capacity"),
        *(entry(ts=AT, name=f"training-{n}", machine=f"ps{n}", verb="create", intent=n) for n in range(10, 18)),
        entry(
            ts=AT, name="training-3", verb="outside", reason="operator", outcome="observed", error="ready -> off",
            actor="outside", duration_s=None,
        ),
        entry(ts=AT - timedelta(days=2), name="everything", machine=None, verb="freeze", outcome="observed",
              actor="ada", duration_s=None),
        entry(ts=AT, name="config", machine=None, verb="config", reason="reloaded", outcome="observed",
              duration_s=None, evidence="training.target 8 -> 12"),
        entry(ts=AT, name="provider", machine=None, verb="provider", reason="unavailable", outcome="observed",
              duration_s=None, error="503"),
    ]  # fmt: skip
    page = shown(history)
    said = page.words
    assert "training-1 start: reached after 61 s 11:57:00 short of target" in said
    assert "training-2 start: failed to start after 61 s 12:00:00 short of target; no capacity" in said
    assert "training-3 changed outside 12:00:00 operator; ready -> off" in said
    assert "everything freeze 28 Feb 12:00 short of target; by ada" in said
    assert "training : 8 machines create: reached" in said
    assert "config reloaded 12:00:00 training.target 8 -> 12" in said
    assert "✕ provider unavailable 12:00:00 503" in said
    assert said.index("config reloaded") < said.index("everything freeze") < said.index("training-1 start:")
    assert "machine/ps1" in page.links
    alone = parsed(history_page(scene(history), Filters()))
    assert "8 machines" not in alone.words
    assert all(f"training-{n} create: reached" in alone.words for n in range(10, 18))


def test_what_fails_anew_every_few_minutes_is_one_line() -> None:
    failed = {"outcome": "failed_to_start", "error": "no capacity"}
    history = [
        entry(ts=at(minutes=60), name="config", machine=None, verb="config", reason="reloaded", outcome="observed"),
        *(entry(ts=at(minutes=50 - n), machine=f"ps{n % 4}", **failed) for n in range(40)),
        entry(ts=at(minutes=5), machine="ps9", verb="stop"),
        entry(ts=at(minutes=2), machine="ps9", verb="restart"),
        entry(ts=at(minutes=1), machine="ps9", verb="restart"),
    ]
    for said in (shown(history).words, fleet_shown(history).words):
        assert said.count("failed to start") == 1
        assert "training : 4 machines start: failed to start, 40 times since 11:10:00 11:49:00" in said
        assert "training-1 restart: reached, 2 times since 11:58:00 11:59:00" in said
        assert "config reloaded" in said
    assert parsed(history_page(scene(history), Filters())).words.count("failed to start") == 40


def test_what_one_of_several_was_done_for_is_not_said_of_all() -> None:
    told = {"verb": "hold", "reason": "operator_request", "outcome": "observed", "duration_s": None, "actor": "ada"}
    history = [
        entry(ts=at(hours=30), machine="ps1", evidence="a run; until 20:36", **told),
        entry(ts=at(minutes=2), machine="ps2", evidence="a run; until 20:36", **told),
        entry(ts=at(minutes=1), machine="ps3", evidence="its fan; until 12:30", **told),
        entry(ts=at(minutes=9), machine="ps4", evidence="the same", **told | {"verb": "stop"}),
        entry(ts=at(minutes=9), machine="ps5", evidence="the same", **told | {"verb": "stop"}),
    ]
    said = shown(history).words
    assert "training : 3 machines hold, since 01 Mar 06:00 11:59:00 operator request; by ada" in said
    assert "its fan" not in said
    assert "training : 2 machines stop 11:51:00 operator request; the same; by ada" in said


def test_whose_the_machines_are_is_counted() -> None:
    web = [machine_name("web", make_token("web", [n, 2, 3, 4, 5])) for n in (1, 2)]
    machines = [
        a_machine("training-1"),
        a_machine(web[0], owned=False, fleet=None, phase="down", state="off"),
        a_machine(web[1], owned=False, fleet=None, look_alike=True),
        a_machine("other", owned=False, fleet=None),
    ]
    said = shown(machines=machines).words
    assert "1 machine off, made by a fleetd, of no fleet here" in said
    assert said.count("without a fleet") == 0
    running = [a_machine("training-1"), *(a_machine(name, owned=False, fleet=None) for name in web)]
    assert "1 machine and 2 without a fleet · $1.02 an hour" in shown(machines=running).words
    assert "1 look-alike of ours, never touched" in said
    assert "1 machine of other people, never touched" in said


def test_a_journal_that_cannot_be_read_is_said() -> None:
    assert "The journal cannot be read at the moment." in shown(None).words


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_text_wherever_it_comes_from(name: str) -> None:
    word = Phase(name).value  # of an enum: half of a surrogate pair is written out there
    machines = [
        a_machine(
            name,
            type=name,
            failure=name,
            state=name,
            phase=word,
            hold=veto(kind="hold", subject=name, reason=name, actor=name),
        ),
        a_machine(name, transition=step(word, reason=word), idle={"verdict": word, "evidence": name}),
        a_machine(name, owned=False, fleet=None, state=name),
    ]
    fields = {
        "machines": machines,
        "fleets": {name: a_fleet(window=name, converged=False)},
        "blocked": [skip(fleet=name, name=name, machine=name, detail=name), skip(reason=word, verb=word)],
        "vetoes": [veto(subject=name, verbs=[word], reason=name, actor=name)],
        "daemon": replace(a_report().daemon, provider=name, error=name, config_fault=name, config=name),
        "observation": {"at": at(seconds=1), "complete": False, "rejected": name},
    }
    harmless = "training-1"
    told = [
        [entry(name=n, machine=n, fleet=n, verb=n, reason=n, outcome=n, error=n, actor=n)] for n in (name, harmless)
    ]
    pages = every_page(replace_(scene(told[0], **fields), known=Known({(name, name): name})))
    plain = every_page(scene(told[1], **_swapped(document(fields), name, harmless)))
    for (key, whole), other in zip(pages.items(), plain.values(), strict=True):
        assert not re.search(
            r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", whole
        ), key
        assert "<img" not in whole
        assert len(whole) < 200_000
        if key.startswith("/summary"):
            continue
        # The same elements with the same attributes, whatever the text is; but nobody types such names.
        tags, plain_tags = (_tags(parsed(page)) for page in (whole, other))
        assert [t for t in plain_tags if t in tags] == tags or "commands" in other, key
        for link in parsed(whole).links:
            assert re.fullmatch(r"(\.\./|\./)?((fleet|machine)/)?[\w.~%-]*(\?[\w.~%=&-]+)?|#main", link), link


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("training-1", True),
        ("two words", True),
        ("$(reboot)`x`;'\"&|>", True),
        ("<b>", True),
        ("-rf", False),
        ("--help", False),
        ("a\nreboot", False),
        ("\u202egnp", False),
        ("\x1b[2J", False),
        ("x" * 5000, False),
    ],
)
def test_a_command_that_is_copied_says_the_name_and_nothing_else(name: str, typed: bool) -> None:
    whole = scene(fleets={name: a_fleet()}, machines=[a_machine("training-1", id=name, fleet=name)])
    for page in (fleet_page(whole, name), machine_page(whole, whole.report.machines[0])):
        lines = [shlex.split(unescape(line)) for line in re.findall(r"<code>(fleetd .*?)</code>", page)]
        assert bool(lines) == typed
        assert all(words.count(name) == 1 and words[-2:] == ["-c", "/etc/fleetd/fleetd.toml"] for words in lines)


def _tags(page: Parsed) -> list[tuple[str, list[str]]]:
    return [(tag, sorted(attributes)) for tag, attributes in page.tags if tag != "code"]


def test_a_command_names_the_config_from_wherever_it_is_run() -> None:
    daemon = replace(a_report().daemon, config="c.toml")
    whole = replace_(scene(daemon=daemon, machines=[a_machine("training-1")]), known=Known(config="/srv/c.toml"))
    for name, page in every_page(whole).items():
        lines = [shlex.split(unescape(line)) for line in re.findall(r"<code>(fleetd .*?)</code>", page)]
        assert all(words[-2:] == ["-c", "/srv/c.toml"] for words in lines), name
        assert name == "/summary" or " · /srv/c.toml<" in page, name


@given(st.text(st.characters(), min_size=1, max_size=400))
def test_any_name_is_found_by_its_own_address_and_by_no_others(name: str) -> None:
    for path in (fleet_path(name), machine_word_path(name)):
        assert re.fullmatch(r"[a-z]+/[A-Za-z0-9_.~%-]{1,400}", path)
        assert path.partition("/")[2] not in {".", ".."}
        said = unquote(path.partition("/")[2])
        assert says(said, name)
        assert not says(said, f"{name}x")


def _swapped(value: Any, name: str, other: str) -> Any:
    if isinstance(value, dict):
        return {_swapped(k, name, other): _swapped(v, name, other) for k, v in value.items()}
    if isinstance(value, list):
        return [_swapped(v, name, other) for v in value]
    if isinstance(value, str):
        return value.replace(name, other)
    return value


@given(st.text(st.characters(), max_size=40))
def test_any_text_comes_back_from_a_parser_as_it_is_printed(words: str) -> None:
    page = Parsed()
    page.feed(tag("p", words, title=words))
    page.close()
    assert "".join(page.text) == page.named("p")[0]["title"]
    assert page.tags[0][0] == "p"
    assert len(page.tags) == 1


def test_markup_in_an_attribute_is_text_too() -> None:
    assert tag("p", title=Markup('<b>"')) == '<p title="&lt;b&gt;&quot;"></p>'


def test_elements() -> None:
    assert tag("br") == "<br>"
    assert tag("p", None, ["a", 1, Markup("<b>")], hidden=True, id=None, data_x=0) == '<p hidden data-x="0">a1<b></p>'
    assert join("<", Markup("<")) == "&lt;<"
    assert text("a'b") == "a&#x27;b"


def test_machines_by_the_thousand_are_all_a_tap_away_on_their_fleets_page() -> None:
    machines = [
        a_machine(f"training-{n:06d}", state="starting", phase="rising", transition=step(intent=n))
        if n % 20 == 0
        else a_machine(f"training-{n:06d}", up_since=at(hours=n))
        for n in range(1000)
    ]
    blocked = [skip(machine=f"ps{n}", name=f"training-{n:06d}") for n in range(200)]
    page = fleet_shown([entry(intent=n) for n in range(40)], machines=machines, blocked=blocked)
    cells, squares = page.classed("cell"), page.classed("square")
    assert (len(cells), len(squares)) == (50, 950)
    assert len({*(c["data-key"] for c in cells)}) == 50
    assert all("rising" in str(c["class"]) for c in cells)
    assert squares[0]["href"] == "../machine/ps-training-000001"
    assert squares[0]["title"] == "000001: ready"
    assert "950 more, without anything to tell" in page.words
    assert "200 machines of training are not started" in page.words
    assert "and 192 more" in page.words
    assert page.words.count("Starting since") == 0
    assert page.words.count("Deadline") == 50


def test_machines_of_one_name_that_have_no_room_are_counted() -> None:
    machines = a_report(machines=[a_machine("x", id=f"ps{n}") for n in range(70)]).machines
    assert "and 10 more: an id tells them apart" in several_page(scene(), "x", machines)
    assert "more:" not in several_page(scene(), "x", machines[:60])


def test_what_is_too_much_for_one_page_is_said() -> None:
    machines = [a_machine(f"training-{n:06d}", transition=step(intent=n) if n < 500 else None) for n in range(9000)]
    page = fleet_shown(machines=machines)
    assert (len(page.classed("cell")), len(page.classed("square"))) == (60, 3000)
    assert "and 5,940 more: find one by its name" in page.words
    assert "other that this page has no room for" in page.words or "others that this page" in page.words
    assert len(page.classed("bar")) == 100


def test_every_reason_can_be_shown() -> None:
    for reason in Reason:
        said = fleet_shown(
            blocked=[skip(reason=str(reason)), skip(reason=str(reason), name="training-1", until=None)]
        ).words
        assert str(reason) in said


def test_every_page_can_be_heard() -> None:
    machines = [a_machine("training-1"), a_machine("training-2", transition=step())]
    whole = scene([entry()], machines=machines, blocked=[skip()], vetoes=[veto()])
    for name, html in every_page(whole).items():
        if name == "/summary":
            continue
        page = parsed(html)
        names = [tag_ for tag_, _ in page.tags]
        assert [names.count(x) for x in ("h1", "main", "header", "footer")] == [1, 1, 1, 1], name
        levels = [int(n[1]) for n in names if re.fullmatch(r"h[1-6]", n)]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels)), name
        assert page.named("html")[0]["lang"] == "en"
        ids = [a["id"] for _, a in page.tags if "id" in a]
        assert len(ids) == len(set(ids)), name
        assert all(re.fullmatch(r"[a-z-]+", str(i)) for i in ids)
        assert {link[1:] for link in page.links if link.startswith("#")} <= set(ids)
        (status,) = [a for _, a in page.tags if a.get("role") == "status"]
        assert status["id"] == "headline"
        assert all(s.get("aria-hidden") == "true" or s.get("aria-label") for s in page.named("svg"))
        assert {h.get("scope") for h in page.named("th")} <= {"col", "row"}
        assert names.count("caption") == names.count("table") == (name == "/")
        assert all(s.get("aria-hidden") == "true" for s in page.classed("sign"))
        keys = [a["data-key"] for _, a in page.tags if "data-key" in a]
        assert len(keys) == len(set(keys)), name
        assert all(a.get("href") for a in page.named("a"))


def test_what_the_headline_says_does_not_change_with_the_clock() -> None:
    away = scene(blocked=[skip()], fleets={"training": a_fleet(converged=False)})
    assert headline(away) == headline(replace_(away, now=AT + timedelta(seconds=45)))


def test_a_freeze_is_named_before_any_hold() -> None:
    held = [a_veto("hold", f"training-{n}") for n in range(9)]
    said = shown(vetoes=[*held, a_veto("freeze", "training"), a_veto("freeze", None)]).words
    assert max(said.index(f"freeze on {on}") for on in ("everything", "training")) < said.index("hold on training-0")


def test_since_when_machines_have_no_fleet_is_not_since_when_they_run() -> None:
    names = [machine_name("web", make_token("web", [n, 2, 3, 4, 5])) for n in (1, 2)]
    machines = [a_machine(name, owned=False, fleet=None, state_since=at(hours=5)) for name in names]
    record = Record()
    for ago, fleets in ((90, {"web": a_fleet()}), (60, {"web": a_fleet()}), (59, {"training": a_fleet()})):
        record.saw(
            a_report(fleets=fleets, observation={"at": at(minutes=ago), "complete": True}), patience=AT - at(hours=1)
        )
    page = parsed(home(replace_(scene(machines=machines), record=record)))
    assert "web 2 machines run without a fleet: adopt, or stop by hand since 11:00:00 UTC, 60 min" in page.words
    assert "fleet/web" in page.links
    started = [replace(machines[0], state_since=at(minutes=3)), machines[1]]
    page = parsed(home(replace_(scene(machines=started), record=record)))
    assert "adopt, or stop by hand since 11:57:00 UTC" in page.words, "the last of them was started after that"


def test_since_when_a_fleet_is_short_is_not_said_of_other_things() -> None:
    record = Record()
    for ago in (20, 10):
        look = a_report(fleets={"training": a_fleet(up=1)}, observation={"at": at(minutes=ago), "complete": True})
        record.saw(look, patience=timedelta(hours=1))
    unlike = a_fleet(up=1, converged=False, unlike=[{"what": "region", "found": "a", "wanted": "b", "count": 1}])
    fields = {"fleets": {"training": unlike}, "over_caps": [{"fleet": "training", "hourly": "9", "cap": "8"}]}
    page = parsed(home(replace_(scene(**fields, blocked=[skip()]), record=record)))
    said = page.words.partition("Needs a person (3)")[2].partition("Fleets")[0]
    assert said.count("since") == 1
    assert "it is tried again later" in said.partition("since 11:40:00 UTC")[0].rpartition("!")[2]


@pytest.mark.parametrize("fields", [{}, {"fleets": {"training": a_fleet(up=1, converged=False)}}])
def test_the_summary_is_what_the_tab_would_say(fields: dict[str, Any]) -> None:
    told = json.loads(summary(scene(**fields)))
    page = home(scene(**fields))
    assert f"<title>{told['title']}</title>" in page
    assert f'class="lamp {told["mood"]}"' in page
    assert f'data-{told["mood"]}="data:image/svg+xml,' in page
    assert told["looked"] == "2026-03-02T11:59:50+00:00"
    assert len(summary(scene(**fields))) < 200


def test_without_javascript_the_page_reloads_itself() -> None:
    assert '<noscript><meta http-equiv="refresh" content="30"></noscript>' in home(Scene(a_report(), AT))


def test_the_policy_names_the_very_style_and_script_of_the_page() -> None:
    whole = home(Scene(a_report(), AT))
    policy = content_security_policy()
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        (body,) = re.findall(f"<{element}>(.*?)</{element}>", whole, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"\sstyle=|\son[a-z]+=|https?://(?!www\.w3\.org/2000/svg)", whole)


def test_the_same_scene_is_the_same_page() -> None:
    assert home(Scene(a_report(), AT)) == home(Scene(a_report(), AT))


@pytest.mark.parametrize(
    ("value", "shown"),
    [("1.02", "$1.02"), ("1234.5", "$1,234.50"), (None, "$?"), ("0", "$0.00")],
)
def test_money(value: str | None, shown: str) -> None:
    assert words.money(None if value is None else Decimal(value)) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.016, "16 ms"), (2.44, "2.4 s"), (59.9, "59.9 s"), (90, "2 min"), (7200, "2 h")]
)
def test_how_long_a_pass_took(seconds: float, shown: str) -> None:
    assert words.took(seconds) == shown


@pytest.mark.parametrize(
    ("ago", "shown"),
    [({"seconds": 59}, "59 s"), ({"minutes": 80}, "80 min"), ({"hours": 30}, "30 h"), ({"days": 3.5}, "3 d")],
)
def test_ages_in_a_cell(ago: dict[str, float], shown: str) -> None:
    assert words.short_age(at(**ago), AT) == shown
    assert words.short_age(None, AT) == ""


def _variables(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_can_be_told_apart_in_light_and_in_dark() -> None:
    """WCAG 2.1: 4.5 for text (1.4.3), 3 for what a drawing is made of (1.4.11)."""
    style = re.findall(r"<style>(.*?)</style>", home(Scene(a_report(), AT)), flags=re.DOTALL)[0]
    light, dark = (_variables(block) for block in re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL))
    assert set(light) == set(dark)
    tones = ("up", "rising", "falling", "down", "bad", "warn")
    on_cards = ("ink", "dim", "link", "up", "rising", "falling", "down", "bad", "warn")
    texts = [(t, f"{t}-bg") for t in tones] + [("ink", f"{t}-bg") for t in tones]
    texts += [(t, ground) for t in on_cards for ground in ("card", "page")] + [("warn", "up-bg"), ("ink", "bad-bg")]
    for theme in (light, dark):
        for pairs, least in ((texts, 4.5), ([("line-up", "card"), ("goal", "area"), ("goal", "card")], 3.0)):
            for one, other in pairs:
                bright, dim = sorted((_luminance(theme[one]), _luminance(theme[other])), reverse=True)
                assert (bright + 0.05) / (dim + 0.05) >= least, (one, other, theme[one], theme[other])


def _colours(scheme: str) -> dict[str, str]:
    css = (files("fleetd.ops.page") / "page.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[("light", "dark").index(scheme)]))


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(scheme: str) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1 for text of this size."""
    colours = _colours(scheme)
    on = {
        "page": ("ink", "dim", "link"),
        "card": ("ink", "dim", "link", "bad", "warn", "up", "rising", "falling", "down"),
        "up-bg": ("up", "ink", "warn"),
        "rising-bg": ("rising", "ink", "warn"),
        "falling-bg": ("falling", "ink", "warn"),
        "down-bg": ("down", "ink", "warn"),
        "bad-bg": ("bad", "ink"),
        "warn-bg": ("warn",),
    }
    for behind, texts in on.items():
        for text_ in texts:
            low, high = sorted((_luminance(colours[behind]), _luminance(colours[text_])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"{text_} on {behind}, {scheme}"
