"""Whatever a file holds, it is read or refused with faults, and a key in it is never repeated."""

from __future__ import annotations

import json
import tomllib
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.config import parse, warnings
from fleetd.model.errors import ConfigError

EXAMPLE = (Path(__file__).parents[2] / "config" / "example.toml").read_text()
KEY = "edc20a51d9b2145f"
JARGON = ("pydantic", "Input should", "Table", "literal", "validation", "_type", "Traceback")

scalars = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.dates(),
    st.sampled_from(["30s", "25%", "20:00", "stop", "P4000", "gpu", "UTC", "", "0 6 * * *", "http://h", KEY]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


def places(table: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    return [at, *(p for key, value in children for p in places(value, (*at, key)))]


TREE = tomllib.loads(EXAMPLE)
PLACES = [place for place in places(TREE) if place]


def toml(value: Any) -> str:
    """The value as inline TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)


def quoted(text: str) -> str:
    # TOML's basic strings are JSON's, apart from DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def text_of(tree: dict[str, Any]) -> str:
    return "\n".join(f"{quoted(key)} = {toml(value)}" for key, value in tree.items())


def changed(tree: Any, place: tuple[str | int, ...], how: str, value: Any, key: str) -> Any:
    """A copy of the tree with one place removed, replaced, renamed or given another key."""
    copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
    head, rest = place[0], place[1:]
    if rest:
        copy[head] = changed(tree[head], rest, how, value, key)
    elif how == "remove":
        del copy[head]
    elif how == "rename" and isinstance(copy, dict):
        copy[key] = copy.pop(str(head))
    elif how == "add" and isinstance(copy, dict):
        copy[key] = value
    else:
        copy[head] = value
    return copy


def read(text: str) -> None:
    """Read it; a refusal must be in plain words."""
    try:
        found = parse(text, "fleetd.toml")
    except ConfigError as error:
        faults = error.faults
        assert faults
        for fault in faults:
            assert fault.path or fault.line
            assert fault.problem
            assert "\n" not in str(fault)
            assert not any(word in fault.problem for word in JARGON), fault
    else:
        warnings(found)
        assert found == parse(text, "fleetd.toml")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(PLACES),
    st.sampled_from(["remove", "replace", "rename", "add"]),
    values,
    st.text(min_size=1, max_size=8) | st.sampled_from(["target", "size", "name", "kind", "diskSize", "password"]),
)
def test_a_changed_example_is_read_or_refused(place: tuple[str | int, ...], how: str, value: Any, key: str) -> None:
    text = text_of(changed(TREE, place, how, value, key))
    tomllib.loads(text)
    read(text)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(EXAMPLE)), st.integers(0, 40), st.text(max_size=10))
def test_a_damaged_text_is_read_or_refused(start: int, length: int, insert: str) -> None:
    read(EXAMPLE[:start] + insert + EXAMPLE[start + length :])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        [
            KEY,
            {"env": KEY},
            {"file": KEY, "env": KEY},
            {"credential": f"/{KEY}"},
            {"key": KEY},
            {KEY: "x"},
            {"env": [KEY]},
            [KEY],
            {"env": {"value": KEY}},
        ]
    ),
    st.sampled_from(PLACES),
    st.sampled_from(["remove", "replace", "rename", "add"]),
    scalars.filter(lambda v: v != KEY),
)
def test_an_inline_key_is_never_repeated(api_key: Any, place: tuple[str | int, ...], how: str, value: Any) -> None:
    tree = changed(TREE, ("provider", "api_key"), "replace", api_key, "")
    if place[:2] != ("provider", "api_key"):
        tree = changed(tree, place, how, value, "target")
    with pytest.raises(ConfigError) as caught:
        parse(text_of(tree), "fleetd.toml")
    assert KEY not in repr(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        f'api_key = "{KEY}"',
        f"api_key = {KEY}",
        f'api_key = "{KEY}',
        f'apiKey = "{KEY}"',
        f'api-key = ["{KEY}"]',
        f'api_key = {{ env = "{KEY}" }}',
        f'api_key = "{KEY}"\napi_key = "{KEY}"',
        f'base_url = "https://{KEY}@api.paperspace.io"',
        f'base_url = "https://{KEY}:x@"',
    ],
)
def test_a_key_in_the_wrong_place_is_never_repeated(line: str) -> None:
    text = EXAMPLE.replace('api_key = { env = "PAPERSPACE_API_KEY" }', line, 1)
    with pytest.raises(ConfigError) as caught:
        parse(text, "fleetd.toml")
    assert KEY not in repr(caught.value)
