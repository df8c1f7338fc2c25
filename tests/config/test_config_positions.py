"""On which line each fault of a file is said to be."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd import config
from fleetd.config import parse
from fleetd.config.faults import Loc, dotted
from fleetd.config.positions import Positions
from fleetd.model.errors import ConfigError, Fault
from tests.support.config_text import config_text

LINES: dict[str, tuple[str, dict[str, int | None]]] = {
    "keys and tables": (
        "a = 1\n\n[t]\nb = 2 # c = 3\n[t.u]\nc = 4\n",
        {"a": 1, "t": 3, "t.b": 4, "t.u": 5, "t.u.c": 6},
    ),
    "a table named within another's head": ("# x\n[t.u]\na = 1\n[t]\nb = 2\n", {"t": 2, "t.u": 2, "t.b": 5}),
    "missing: where its table stands": ("a = 1\n[t]\nb = 2\n", {"t.zzz": 2, "t.zzz.y[3]": 2, "zzz": None, "": None}),
    "dotted keys": ("a.b.c = 1\na . d = 2\n[t]\n x.y = 3\n", {"a": 1, "a.b": 1, "a.b.c": 1, "a.d": 2, "t.x.y": 4}),
    "quoted keys": (
        '\'a.b\' = 1\n"c [d]".e = 2\n[t."x \\"y\\u0041"]\nz = 3\n',
        {'"a.b"': 1, '"c [d]".e': 2, 't."x \\"yA"': 3, 't."x \\"yA".z': 4},
    ),
    "tables in a list": (
        "[[w]]\na = 1\n[w.sub]\nc = 1\n[[w]]\na = 2\n[w.sub]\nd = 4\n[[w.more]]\n[[w.more]]\ne = 1\n",
        {
            "w": 1,
            "w[0]": 1,
            "w[0].a": 2,
            "w[0].sub.c": 4,
            "w[1]": 5,
            "w[1].a": 6,
            "w[1].sub": 7,
            "w[1].sub.d": 8,
            "w[1].more[0]": 9,
            "w[1].more[1].e": 11,
            "w[2]": 1,
        },
    ),
    "lists over lines": (
        "a = [ # one\n  1, 2,\n  # three\n  [3,\n   4],\n]\nb = 5\n",
        {"a": 1, "a[0]": 2, "a[1]": 2, "a[2]": 4, "a[2][0]": 4, "a[2][1]": 5, "a[9]": 1, "b": 7},
    ),
    "inline tables": (
        "a = { b = 1, c.d = [ {e = 1},\n {e = 2} ] }\nf = {}\n",
        {"a.b": 1, "a.c.d": 1, "a.c.d[0].e": 1, "a.c.d[1].e": 2, "f": 3},
    ),
    "texts over lines": (
        (
            'a = """\n[no]\nb = 1\n\\""" "" """"\n'
            "c = '''\n[no]\n''\n'''\nd = '#' # '''\ne = \"\\\"[\"\nf = 1\n"
        ),
        {"a": 1, "c": 5, "d": 9, "e": 10, "f": 11, "no": None, "b": None},
    ),
    "values with blanks, signs and colons": (
        "a = 1979-05-27 07:32:00 # x\nb = +inf\nc = 07:32:00\n",
        {"b": 2, "c": 3},
    ),
    "lines that end as on Windows": (
        'a = 1\r\n\r\n[t]\r\nb = """\r\n\r\n"""\r\nc = 2\r\n',
        {"t": 3, "t.b": 4, "t.c": 7},
    ),
    "no line end at the end": ("a = 1\n[t]", {"a": 1, "t": 2}),
}


@pytest.mark.parametrize(("text", "lines"), LINES.values(), ids=LINES.keys())
def test_lines_of_keys(text: str, lines: dict[str, int | None]) -> None:
    tomllib.loads(text)
    positions = Positions(text)
    assert {path: positions.line_of(path) for path in lines} == lines


KEYS = st.sampled_from(["a", "b-1", "c d", "e.f", 'q"q', "#", "[x]", "é", "\t", ""])
SCALARS = st.one_of(
    st.integers(-9, 9), st.booleans(), st.sampled_from(["", "x", "a\nb = 1\n[c]", "'''", '"""', "#", "]", "\\", "}"])
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
TREES = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=3),
    lambda inner: st.dictionaries(KEYS, inner | VALUES | st.lists(inner, min_size=1, max_size=3), max_size=3),
    max_leaves=8,
)


class Written:
    """A tree as TOML in one of the many ways that mean the same, and the line on which each key came to stand."""

    def __init__(self, tree: dict[str, Any], draw: st.DrawFn) -> None:
        self.lines: dict[Loc, int] = {}
        self._draw = draw
        self.text = ""
        self._table(tree, ())

    def _table(self, table: dict[str, Any], loc: Loc, names: tuple[str, ...] = ()) -> None:
        later = []
        for key, value in table.items():
            tables = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict))
            if tables and self._draw(st.booleans()):
                later.append((key, value))
                continue
            self._note((*loc, key))
            self.text += f"{self._key(key)} = "
            self._value(value, (*loc, key))
            self.text += self._draw(st.sampled_from(["\n", " # x = 1\n", "\r\n", "\n\n"]))
        for key, value in later:
            head = ".".join(map(self._key, (*names, key)))
            self._note((*loc, key))
            for place, entry in enumerate(value) if isinstance(value, list) else [(None, value)]:
                inner = (*loc, key) if place is None else (*loc, key, place)
                self._note(inner)
                self.text += f"[{head}]\n" if place is None else f"[[ {head} ]] # [no]\n"
                self._table(entry, inner, (*names, key))

    def _value(self, value: Any, loc: Loc) -> None:
        gap = st.sampled_from(["", " "])
        if isinstance(value, list):
            gap = st.sampled_from(["", " ", "\n", " # ]\n  "])
            self.text += "["
            for place, entry in enumerate(value):
                self.text += self._draw(gap)
                self._note((*loc, place))
                self._value(entry, (*loc, place))
                self.text += self._draw(gap) + ","
            self.text += self._draw(gap) + "]"
        elif isinstance(value, dict):
            self.text += "{"
            for n, (key, inner) in enumerate(value.items()):
                self.text += "," * bool(n) + self._draw(gap)
                self._note((*loc, key))
                self.text += f"{self._key(key)}{self._draw(gap)}= "
                self._value(inner, (*loc, key))
            self.text += "}"
        elif isinstance(value, str):
            self.text += self._text(value)
        else:
            self.text += str(value).lower()

    def _text(self, value: str) -> str:
        ways = [json.dumps(value, ensure_ascii=False)]
        if "'''" not in value:
            ways.append(f"'''\n{value}'''")
        if "'" not in value and "\n" not in value:
            ways.append(f"'{value}'")
        escaped = value.replace("\\", "\\\\").replace('"""', '""\\"')
        ways.append(f'"""\n{escaped}"""')
        return self._draw(st.sampled_from(ways))

    def _key(self, key: str) -> str:
        ways = [json.dumps(key, ensure_ascii=False)]
        if "'" not in key:
            ways.append(f"'{key}'")
        if key in {"a", "b-1"}:
            ways.append(key)
        return self._draw(st.sampled_from(ways))

    def _note(self, loc: Loc) -> None:
        self.lines.setdefault(loc, self.text.count("\n") + 1)


@st.composite
def written(draw: st.DrawFn) -> tuple[dict[str, Any], Written]:
    tree = draw(TREES)
    return tree, Written(tree, draw)


@settings(max_examples=400, deadline=None)
@given(written())
def test_every_key_of_a_file_is_found_on_its_line(found: tuple[dict[str, Any], Written]) -> None:
    tree, made = found
    assert tomllib.loads(made.text) == tree, made.text
    positions = Positions(made.text)
    assert {loc: positions.line_of(dotted(loc)) for loc in made.lines} == made.lines, made.text


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(list("ab.=[]{}\"'#,\\\n 1")), max_size=30))
def test_what_is_no_toml_is_refused_with_a_line_of_it(text: str) -> None:
    try:
        parse(text, "f.toml")
    except ConfigError as error:
        for fault in error.faults:
            assert fault.line is None or 1 <= fault.line <= text.count("\n") + 1
            assert fault.line is not None or fault.path


def said(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.toml")
    head, *faults = str(caught.value).splitlines()
    assert head == f"f.toml: {len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return [fault.removeprefix("  ") for fault in faults]


SYNTAX = {
    "no quotes": ("version = 1\nname = West Coast\n", "f.toml:2:8: is not valid TOML: Invalid value"),
    "no closing quote": (
        'version = 1\nname = "West\n',
        "f.toml:2:13: is not valid TOML: the closing quote is missing on this line",
    ),
    "no comma": ("a = [\n1\n2]\n", "f.toml:3:1: is not valid TOML: a comma or a closing ] is missing before this"),
    "a list without an end": (
        "a = 1\n[t]\nb = [1,\n2,\n\n",
        "f.toml:3: is not valid TOML: what begins here goes on to the end of the file (Invalid value)",
    ),
    "a text without an end": (
        'a = 1\n\nb = """\nc = 2\n',
        "f.toml:3: is not valid TOML: what begins here goes on to the end of the file (Unterminated string)",
    ),
    "a table twice": (
        "[daemon]\n[x]\n[daemon]\n",
        "f.toml:3: is not valid TOML: daemon stands there already, on line 1",
    ),
    "a key twice, its value over lines": (
        "[t]\na = 1\na = [\n2,\n]\n",
        "f.toml:3: is not valid TOML: t.a stands there already, on line 2",
    ),
    "a table and a list of tables": (
        "[t.w]\n[[t.w]]\n",
        "f.toml:2: is not valid TOML: t.w stands there already, on line 1",
    ),
    "a key below a value": (
        "a.b = 1\na.b.c = 1\n",
        "f.toml:2: is not valid TOML: a.b stands there already, on line 1",
    ),
    "a table that is closed": (
        "a = {b=1}\na.c = 2\n",
        "f.toml:2: is not valid TOML: a stands there already, on line 1",
    ),
    "too many digits": (f"version = {'9' * 5000}", "f.toml: file: is not valid TOML: a number is too long"),
    "too deep": (f"version = {'[' * 9000}", "f.toml: file: is not valid TOML: nested too deeply"),
}


@pytest.mark.parametrize(("text", "expected"), SYNTAX.values(), ids=SYNTAX.keys())
def test_syntax(text: str, expected: str) -> None:
    assert said(text) == [expected]


def test_a_missing_key_is_said_where_its_table_stands() -> None:
    text = config_text(top="", more_daemon="", provider="[provider]")
    line = text.splitlines().index("[provider]") + 1
    problem = "the API that is spoken: Paperspace Core, Paperspace v1, or the embedded simulator"
    assert said(text) == [
        f"f.toml:{line}: provider.kind: is missing: {problem}",
        "f.toml: version: is missing: version of this file format: 1",
    ]


def test_a_fault_that_was_found_in_the_settings_gets_its_line(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.toml"
    path.write_text("a = 1\n[t]\nb = 2\n")
    fault = Fault("t.b", "wrong")
    assert config.placed([fault], path) == (Fault("t.b", "wrong", 3),)
    assert str(config.placed([fault], path)[0]) == "line 3: t.b: wrong"
    assert config.placed([fault], tmp_path / "none") == (fault,)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("fleets.a.guards.settle", 4),
        ("fleets.b.guards.settle", 2),
        ("fleets.b.guards.create_deadline", 5),
        ("fleets.a.guards.create_deadline", 4),
        ("guards.settle", 2),
    ],
)
def test_a_guard_that_a_fleet_does_not_set_stands_among_those_of_all(path: str, line: int, tmp_path: Path) -> None:
    file = tmp_path / "fleetd.toml"
    file.write_text("[guards]\nsettle = '9m'\n[fleets.a]\nguards.settle = '8m'\n[fleets.b]\ntarget = 1\n")
    assert config.placed([Fault(path, "wrong")], file) == (Fault(path, "wrong", line),)
