"""The page as a function of reports: what it says, what it escapes, what a screen reader and a browser get."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fleetd.model.journal import HistoryEntry
from fleetd.model.naming import machine_name, make_token
from fleetd.model.reasons import Reason, Verb
from fleetd.model.report import Report, document
from fleetd.ops.page import words
from fleetd.ops.page.html import Markup, join, tag, text
from fleetd.ops.page.render import content_security_policy, render
from fleetd.ops.page.scene import Scene
from tests.support.fakeseat import AT, a_fleet, a_machine, a_report

VOID = {"meta", "link", "path", "rect"}
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


@dataclass
class Parsed(HTMLParser):
    """The page as a parser sees it; fails on what is not closed, or closed twice."""

    text: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), attrs
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def classed(self, name: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.tags if name in (a.get("class") or "").split()]


def parsed(scene: Scene) -> Parsed:
    page = Parsed()
    page.feed(render(scene))
    page.close()
    assert page.open == []
    return page


def shown(history: Any = (), **fields: Any) -> Parsed:
    return parsed(Scene(a_report(**fields), AT, history=history, version="1.2.3"))


def test_a_converged_fleet() -> None:
    page = shown(machines=[a_machine("training-7k3mqggq", up_since=at(hours=3, minutes=10))], max_hourly_cost="20")
    said = page.words
    assert "The fleet is at target." in said
    assert "✓ at target" in said
    assert "2 of 2 up" in said
    assert "$1.02 cap $20.00" in said
    assert "Nothing is blocked." in said
    assert "Nothing is under way." in said
    assert "10 s ago took 250 ms" in said
    assert "2/2 up · fleetd" in said
    (cell,) = page.classed("cell")
    assert cell["title"] == "training-7k3mqggq (ps-training-7k3mqggq): ready for 3 h 10 min"
    assert "training- 7k3mqggq ready 3 h" in said


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
    assert "◐ converging" in said
    assert "training-2 starting for 60 s" in said
    assert "Deadline 12:09:00 UTC, in 9 min." in said
    assert "Its answer was lost, so it is being looked for." in said
    assert "It is idle, and a window that parks idle machines is open." in said
    assert "creating answer lost" in said
    assert "1 asked for" in said


def test_a_transition_past_its_deadline() -> None:
    page = shown(machines=[a_machine("training-1", transition=step(deadline=at(minutes=3)))])
    assert "Overdue: the deadline was 11:57:00 UTC, 3 min ago." in page.words
    assert len(page.classed("late")) == 1


def test_a_troubled_fleet() -> None:
    machines = [
        a_machine("training-1", state="off", phase="down", failure="no capacity", state_since=at(hours=2)),
        a_machine("training-2", state="hibernating", phase="unknown"),
        a_machine("training-3", hold=veto(kind="hold", subject="training-3", reason="mine")),
        a_machine("other", owned=False, fleet=None),
    ]
    blocked = [
        skip(machine="ps-1", name="training-1", detail="sold out"),
        skip(machine="ps-5", name="training-5", detail="sold out"),
        skip(machine="ps-6", name="training-6", verb="stop", reason="busy", until=None),
    ]
    whole = replace(a_report().daemon, provider="unavailable", error="connection refused", config_fault="a:\n  b")
    page = shown(
        machines=machines,
        blocked=blocked,
        daemon=whole,
        fleets={"training": a_fleet(up=1, down=1, unknown=1, converged=False)},
        vetoes=[veto(), veto(id=4, kind="freeze", subject=None, verbs=[str(v) for v in Verb])],
        observation={"at": at(seconds=10), "complete": True, "rejected": "it lacks ps-9"},
    )
    said = page.words
    assert "5 things may need a person." in said
    assert "! 1/2 up · fleetd" in said
    assert "The provider does not answer" in said
    assert "The last pass failed . connection refused" in said
    assert "Nothing is decided at the moment . it lacks ps-9" in said
    assert "the old one is in force . a: b" in said
    assert "! blocked" in said
    assert (
        "2 machines of training are not started: the provider had no capacity; it is tried again later (sold out)."
        in said
    )
    assert "training-1, training-5" in said
    assert (
        "training-6 is not stopped: it is being used. That ends when every idle source says that it is idle." in said
    )
    assert said.index("capacity_backoff") < said.index("busy")
    assert "Freeze on training (create only) moving (ada, until 13:00:00 UTC, 60 min left)" in said
    assert "Freeze on everything moving" in said
    assert "1 machine of other people, never touched" in said
    assert "off failed 2 h" in said
    assert "ready held" in said
    assert [c["class"] for c in page.classed("cell")] == ["cell down attention", "cell unknown attention", "cell up"]


@pytest.mark.parametrize(("phase", "doubt"), [("up", "1 thing may need a person."), ("down", None)])
def test_a_machine_that_a_fleetd_made_and_nobody_owns_may_need_a_person(phase: str, doubt: str | None) -> None:
    name = machine_name("web", make_token("web", [1, 2, 3, 4, 5]))
    page = shown(machines=[a_machine(name, owned=False, fleet=None, phase=phase)])
    assert "Not owned, though a fleetd made them" in page.words
    assert f"{name} ready By its name a fleetd made it, for fleet web" in page.words
    assert "of other people" not in page.words
    assert doubt in page.words if doubt else "may need a person" not in page.words


def test_a_fleets_card_says_what_a_glance_must_not_miss() -> None:
    night = {"at": AT + timedelta(hours=8), "target": 1, "window": "night", "parked": True}
    blocked = [
        skip(machine="ps-1", name="training-1"),
        skip(machine="ps-5", name="training-5"),
        skip(machine="ps-6", name="training-6", verb="stop", reason="busy", until=None),
    ]
    page = shown(
        blocked=blocked,
        vetoes=[veto(kind="freeze", subject=None, reason="calm"), veto(kind="hold", subject="training-9")],
        fleets={"training": a_fleet(next=night, converged=False), "other": a_fleet()},
    )
    said = page.words
    assert "! 2 not started: the provider had no capacity; it is tried again later" in said
    assert "→ Target 1 (window night) at 20:00:00 UTC, in 8 h; idle machines are parked then" in said
    assert said.count("Freeze on everything") == 3, "on both cards, and in its own section"
    assert "1 not stopped" not in said, "what goes without saying is not on the card"


def test_why_a_machine_is_off_is_in_its_cell() -> None:
    off = {"state": "off", "phase": "down", "stopped_at": at(hours=3)}
    machines = [
        a_machine("training-1", **off, standing="parked", stopped_by="parked_idle"),
        a_machine("training-2", **off, standing="stopped_outside", stopped_by="operator"),
        a_machine("training-3", **off, standing="off_all_along"),
        a_machine("training-4", **off, hold=veto(kind="hold", subject="training-4", verbs=["start"], reason="loud")),
    ]
    page = shown(machines=machines)
    assert "1 off parked" in page.words
    assert "2 off by hand" in page.words
    assert "4 off kept off" in page.words
    titles = " ".join(str(c["title"]) for c in page.classed("cell"))
    assert "fleetd parked it at 2026-03-02 09:00:00 UTC (3 h ago)" in titles
    assert "kept off by ada" in titles


def test_before_the_first_pass() -> None:
    daemon = replace(a_report().daemon, last_pass=None, provider=None)
    said = parsed(Scene(Report(daemon=daemon), AT)).words
    assert "No pass has ended well yet." in said
    assert "Nothing is known yet." in said
    assert "Cost an hour \N{EN DASH}" in said


def test_no_fleets_and_no_machines() -> None:
    assert "The config names no fleets." in shown(fleets={}).words
    assert "No machines." in shown().words


def test_prices_that_are_not_known_are_not_nothing() -> None:
    said = shown(hourly=None, fleets={"training": a_fleet(hourly=None)}).words
    assert said.count("$?") == 2


def test_events_newest_first() -> None:
    history = [
        entry(name="training-1"),
        entry(ts=AT, name="training-2", outcome="failed_to_start", error="no capacity"),
        entry(
            ts=AT,
            name="training-3",
            verb="outside",
            reason="operator",
            outcome="observed",
            error="ready -> off",
            actor="outside",
            duration_s=None,
        ),
        entry(
            ts=AT - timedelta(days=2),
            name="everything",
            verb="freeze",
            outcome="observed",
            actor="ada",
            duration_s=None,
        ),
    ]
    said = shown(history).words
    assert "training-1 start: reached after 61 s 11:57:00 short of target" in said
    assert "training-2 start: failed to start after 61 s 12:00:00 short of target; no capacity" in said
    assert "training-3 changed outside 12:00:00 operator; ready -> off" in said
    assert "everything freeze 28 Feb 12:00 short of target; by ada" in said
    assert said.index("everything freeze") < said.index("training-3 changed") < said.index("training-1 start:")


def test_a_journal_that_cannot_be_read_is_said() -> None:
    assert "The journal cannot be read at the moment." in shown(None).words


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_text_wherever_it_comes_from(name: str) -> None:
    machines = [
        a_machine(
            name,
            type=name,
            failure=name,
            state=name,
            phase=name,
            hold=veto(kind="hold", subject=name, reason=name, actor=name),
        ),
        a_machine(name, transition=step(name, reason=name), idle={"verdict": name, "evidence": name}),
        a_machine(name, owned=False, fleet=None, state=name),
    ]
    fields = {
        "machines": machines,
        "fleets": {name: a_fleet(window=name, converged=False)},
        "blocked": [skip(fleet=name, name=name, machine=name, detail=name), skip(reason=name, verb=name)],
        "vetoes": [veto(subject=name, verbs=[name], reason=name, actor=name)],
        "daemon": replace(a_report().daemon, provider=name, error=name, config_fault=name, config=name),
        "observation": {"at": at(seconds=1), "complete": False, "rejected": name},
    }
    history = [
        entry(name=name, machine=name, fleet=name, verb=name, reason=name, outcome=name, error=name, actor=name)
    ]
    harmless = "training-1"
    page = shown(history, **fields)
    plain = shown(
        [
            entry(
                name=harmless,
                machine=harmless,
                fleet=harmless,
                verb=harmless,
                reason=harmless,
                outcome=harmless,
                error=harmless,
                actor=harmless,
            )
        ],
        **_swapped(document(fields), name, harmless),
    )
    # The same elements with the same attributes, whatever the text is.
    assert [(tag, sorted(attributes)) for tag, attributes in page.tags] == [
        (tag, sorted(attributes)) for tag, attributes in plain.tags
    ]
    whole = render(Scene(a_report(**fields), AT, history=history))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", whole)
    assert "<img" not in whole
    assert len(whole) < 200_000
    assert {a["href"] for a in page.named("a")} <= {"#fleets", "#blocked", "#under-way", "status.json", "metrics"}


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


def test_five_hundred_machines_are_all_there_and_the_page_stays_small() -> None:
    machines = [
        a_machine(f"training-{n:06d}", state="starting", phase="rising", transition=step(intent=n))
        if n % 5 == 0
        else a_machine(f"training-{n:06d}", up_since=at(hours=n))
        for n in range(500)
    ]
    blocked = [skip(machine=f"ps{n}", name=f"training-{n:06d}") for n in range(200)]
    history = [entry(intent=n) for n in range(40)]
    page = shown(history, machines=machines, blocked=blocked)
    cells = page.classed("cell")
    assert len(cells) == 500
    assert len({c["data-key"] for c in cells}) == 500
    assert all("rising" in str(c["class"]) for c in cells[:60])
    assert "440 more" in page.words
    assert "94 more" in page.words
    assert "200 machines of training are not started" in page.words
    assert "and 192 more" in page.words
    assert len(render(Scene(a_report(machines=machines, blocked=blocked), AT, history=history))) < 700_000


def test_every_reason_can_be_shown() -> None:
    for reason in Reason:
        said = shown(
            blocked=[skip(reason=str(reason)), skip(reason=str(reason), name="training-1", until=None)]
        ).words
        assert str(reason) in said


def test_the_page_can_be_heard() -> None:
    machines = [a_machine("training-1"), a_machine("training-2", transition=step())]
    page = shown([entry()], machines=machines, blocked=[skip()], vetoes=[veto()])
    names = [name for name, _ in page.tags]
    assert [names.count(x) for x in ("h1", "main", "header", "footer")] == [1, 1, 2, 1]
    levels = [int(n[1]) for n in names if re.fullmatch(r"h[1-6]", n)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.named("html")[0]["lang"] == "en"
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z-]+", str(i)) for i in ids)
    assert {str(a["href"])[1:] for a in page.named("a") if str(a["href"]).startswith("#")} <= set(ids)
    (status,) = [a for _, a in page.tags if a.get("role") == "status"]
    assert status["id"] == "headline"
    assert all(s.get("aria-hidden") == "true" or s.get("aria-label") for s in page.named("svg"))
    (table,) = page.named("table")
    assert table["role"] == "table"
    assert {h.get("scope") for h in page.named("th")} == {"col", "row"}
    assert names.count("caption") == 1
    assert all(s.get("aria-hidden") == "true" for s in page.classed("sign"))


def test_what_the_headline_says_does_not_change_with_the_clock() -> None:
    fields = {"blocked": [skip()], "fleets": {"training": a_fleet(converged=False)}}
    assert words.headline(a_report(**fields), AT) == words.headline(a_report(**fields), AT + timedelta(seconds=45))


def test_without_javascript_the_page_reloads_itself() -> None:
    assert '<noscript><meta http-equiv="refresh" content="30"></noscript>' in render(Scene(a_report(), AT))


def test_the_policy_names_the_very_style_and_script_of_the_page() -> None:
    whole = render(Scene(a_report(), AT))
    policy = content_security_policy()
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        (body,) = re.findall(f"<{element}>(.*?)</{element}>", whole, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"\sstyle=|\son[a-z]+=|https?://(?!www\.w3\.org/2000/svg)", whole)


def test_the_same_scene_is_the_same_page() -> None:
    assert render(Scene(a_report(), AT)) == render(Scene(a_report(), AT))


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
    style = re.findall(r"<style>(.*?)</style>", render(Scene(a_report(), AT)), flags=re.DOTALL)[0]
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
