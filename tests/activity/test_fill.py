"""A machine filled into a query, a URL, an argument; and the labels by which a query selects it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fleetd.activity.fill import Missing, fill_argument, fill_promql, fill_url, labels_of, values_of
from tests.support.build import machine

BOX = machine(1, name="box", private_ip="10.64.1.99")
VALUES = {"id": "ps1", "name": "box", "private_ip": "10.0.0.1", "window": "30s"}


@pytest.mark.parametrize(("seconds", "window"), [(600, "600s"), (0.2, "1s"), (1.4, "1s"), (1.6, "2s"), (0, "1s")])
def test_what_the_placeholders_stand_for(seconds: float, window: str) -> None:
    found = values_of(BOX, timedelta(seconds=seconds))
    assert found == {"id": "ps1", "name": "box", "private_ip": "10.64.1.99", "window": window}


@pytest.mark.parametrize(
    ("needed", "why"),
    [
        (("{id}", "{window}"), None),
        (("x", "private_ip"), None),
        (("x", "--at={private_ip}"), "the machine has no private_ip yet"),
        (("{name}",), "the machine has no name yet"),
    ],
)
def test_what_is_needed_has_to_be_there(needed: tuple[str, ...], why: str | None) -> None:
    young = machine(2, name="")
    if why is None:
        assert values_of(young, timedelta(seconds=1), *needed)["private_ip"] == ""
    else:
        with pytest.raises(Missing, match=why):
            values_of(young, timedelta(seconds=1), *needed)


@pytest.mark.parametrize(
    ("query", "filled"),
    [
        ("up[{window}]", "up[30s]"),
        ('up{i="{id}"}[{window}] / up{j=~"{name}.*"}', 'up{i="ps1"}[30s] / up{j=~"box.*"}'),
        ('up{i != "{id}"}', 'up{i != "ps1"}'),
        ('up{i!~"{private_ip}"}', r'up{i!~"10\\.0\\.0\\.1"}'),
        ('{id} "{id}"', '{id} "{id}"'),  # outside of a matcher a machine is no value
        ('up{i="{window}"}', 'up{i="30s"}'),
        ('up{i="{other}"}', 'up{i="{other}"}'),
        ("", ""),
    ],
)
def test_a_query_is_filled_in_its_matchers(query: str, filled: str) -> None:
    assert fill_promql(query, VALUES) == filled


@pytest.mark.parametrize(
    ("name", "exact", "pattern"),
    [
        ("a\nb", r"a\nb", r"a\\\nb"),
        ("a'b", r"a\'b", r"a\'b"),
        ("a\\b", r"a\\b", r"a\\\\b"),
    ],
)
def test_what_would_end_a_text_is_escaped(name: str, exact: str, pattern: str) -> None:
    values = VALUES | {"name": name}
    assert fill_promql("u{i='{name}'}", values) == "u{i='" + exact + "'}"
    assert fill_promql("u{i=~'{name}'}", values) == "u{i=~'" + pattern + "'}"


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ('up{i="{id}"}', {"i": "(?:ps1)"}),
        ('up{i="{id}", j = "x"}', {"i": "(?:ps1)", "j": "(?:x)"}),
        ('up{i="a"} or up{i="b"}', {"i": "(?:a)|(?:b)"}),
        ('up{i=~"{private_ip}:.*"}', {"i": r"(?:10\.0\.0\.1:.*)"}),
        (r'up{i=~"a\\d"}', {"i": r"(?:a\d)"}),
        ('up{i!="a"}', {}),
        ('up{i!~"a"}', {}),
        ('up{i="a"} or up{i!="a"}', {}),
        (r'up{i="a\n"}', {}),
        (r'up{i=~"a\n"}', {}),
        ('up{i=~"[[:digit:]]"}', {}),
        ('up{i=~"(?i)a"}', {}),
        ('up{i=~"("}', {}),
        ('up{i=~"(", j="b"}', {"j": "(?:b)"}),
        ('label_replace(up{i="a"}, "i", "b", "", "")', {}),
        ('label_join(up{i="a"}, "i", "", "j")', {}),
        ('count_values("i", up{i="a"})', {}),
        ('up{i="a"} * on (j) group_left (i) x', {}),
        ('up{i="a"} * on (j) group_right (i) x', {}),
        ('my_label_replaced{i="a"}', {"i": "(?:a)"}),
        ("up", {}),
    ],
)
def test_by_which_labels_a_query_selects(query: str, labels: dict[str, str]) -> None:
    assert {label: pattern.pattern for label, pattern in labels_of(query, VALUES).items()} == labels


def test_a_dot_in_a_pattern_is_any_character() -> None:
    assert labels_of('up{i=~"a.b"}', VALUES)["i"].fullmatch("a\nb")


@pytest.mark.parametrize(
    ("url", "name", "filled"),
    [
        ("http://x/{name}?m={name}", "a/b c&d", "http://x/a%2Fb%20c%26d?m=a%2Fb%20c%26d"),
        ("http://x/y?m={name}", "..", "http://x/y?m=.."),
        ("http://x/y?m=/{name}/", "..", "http://x/y?m=/../"),
        ("http://x/../{name}", "..", "http://x/../.."),
        ("http://x/{name}z", "..", "http://x/..z"),
        ("http://x/{name}", "...", "http://x/..."),
        ("http://x/{name}", "..", None),
        ("http://x/{name}/y", ".", None),
        ("http://x/{name}?q", "..", None),
    ],
)
def test_a_url_leads_where_the_config_says(url: str, name: str, filled: str | None) -> None:
    if filled is None:
        with pytest.raises(Missing, match="a name of dots cannot stand in the path of a URL"):
            fill_url(url, VALUES | {"name": name})
    else:
        assert fill_url(url, VALUES | {"name": name}) == filled


def test_an_argument_is_filled_as_it_is() -> None:
    assert fill_argument("--{id}={name};{window}{none}", VALUES | {"name": "a b'\"$"}) == "--ps1=a b'\"$;30s{none}"
