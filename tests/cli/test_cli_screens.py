"""What commands draw at 80x24, 120x40 and 200x50: kept as text, no word broken, no id cut, and all of it in ASCII."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from fleetd.cli import output
from fleetd.cli.layout import Column, Hanging, Sheet
from tests.cli.screens import GOLDEN, SIZES, Moment, drawn, faults, make_moments, pictures, views

WIDE = 10_000


@pytest.fixture(scope="module")
def moments() -> dict[str, Moment]:
    return make_moments()


def words(text: str) -> set[str]:
    return set(text.split())


def test_what_is_drawn_is_what_is_kept(moments: dict[str, Moment]) -> None:
    """``python -m tests.cli.screens`` writes them anew; look at the difference before you keep it."""
    found = dict(pictures(moments))
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(found)
    changed = {name: text for name, text in found.items() if (GOLDEN / f"{name}.txt").read_text("utf-8") != text}
    name, text = next(iter(changed.items()), (None, None))
    assert text == (None if name is None else (GOLDEN / f"{name}.txt").read_text("utf-8")), sorted(changed)


@pytest.mark.parametrize("width", [*(w for w, _ in SIZES), 100, 72])
def test_no_word_is_broken_no_id_is_cut_and_no_line_is_too_long(moments: dict[str, Moment], width: int) -> None:
    for moment in moments.values():
        for what, view in (*views(moment), ("check", faults())):
            text = drawn(view, width)
            assert max(cell_len(line) for line in text.splitlines()) <= width, what
            if what == "demo":
                continue  # its list of what happened is cut at the panel's edge
            assert words(text) <= words(drawn(view, WIDE)), (what, words(text) - words(drawn(view, WIDE)))
        status = drawn(views_of(moment, "status"), width)
        for machine in moment.report.machines:
            if machine.owned:
                assert re.search(rf"(^|\s){machine.name}(\s|$)", status, re.MULTILINE)
                assert machine.id is not None
                assert re.search(rf"\s{machine.id}(\s|$)", status, re.MULTILINE)


def views_of(moment: Moment, wanted: str):
    return next(view for what, view in views(moment) if what == wanted)


def test_the_watched_status_fills_its_screen_and_no_more(moments: dict[str, Moment]) -> None:
    for name, text in pictures(moments):
        for width, height in SIZES:
            if name.endswith((f"-watch-{width}", f"-demo-{width}")):
                assert len(text.splitlines()) <= height


cells = st.text(st.sampled_from("ab=_ é好"), max_size=30).map(str.strip)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(cells, cells, cells, cells, cells), min_size=1, max_size=4),
    st.integers(1, 120),
    st.integers(0, 2),
)
def test_a_sheet_has_every_word_whole_where_a_line_has_room_for_it(
    rows: list[tuple[str, ...]], width: int, indent: int
) -> None:
    columns = [Column("a"), Column("n", number=True), Column("b"), Column("x", note=""), Column("y", note="then ")]
    view = Sheet(columns, [[Text(cell) for cell in row] for row in rows], indent=indent)
    text = drawn(view, width)
    longest = max((cell_len(w) for row in rows for cell in row for w in cell.split()), default=0)
    if longest + indent + 4 < width and width > 12:
        assert all(cell_len(line) <= width for line in text.splitlines())
        shown = {w.strip(";") for w in words(text)}
        assert all(words(cell) <= shown for row in rows for cell in row)


def test_a_line_goes_on_below_its_beginning() -> None:
    assert drawn(Hanging(Text("one two three"), first=1, then=3), 10) == " one two\n   three\n"


def drawn_as(encoding: str, text: str) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="fleetd.in-ascii", newline="")
    stream.write(text)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def test_on_a_terminal_that_knows_ascii_only_signs_are_signs_of_the_same_width(moments: dict[str, Moment]) -> None:
    output.prepare_streams()
    for _, text in pictures(moments):
        plain = re.sub(r"[─│╭╮╰╯]", "-", text)  # boxes are rich's: it draws them in ASCII itself
        ascii_only = drawn_as("ascii", plain)
        assert ascii_only.isascii()
        assert "\\u" not in ascii_only
        assert len(ascii_only) == len(plain)
    assert drawn_as("ascii", "é…好") == "\\xe9~\\u597d"
    assert drawn_as("latin-1", "é●") == "é*"


LOCALES = [
    ({"LANG": "C"}, True),
    ({"LANG": "POSIX"}, True),
    ({"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, True),
    ({"LC_ALL": "", "LC_CTYPE": "C", "LANG": "de_DE.UTF-8"}, True),
    ({"LANG": "C", "LC_ALL": "C.UTF-8"}, False),
    ({"LANG": "C.UTF-8"}, False),
    ({}, False),
    ({"LANG": "C", "PYTHONUTF8": "1"}, False),
    ({"LANG": "C", "PYTHONIOENCODING": "utf-8"}, False),
]


@pytest.mark.parametrize(("environ", "expected"), LOCALES)
def test_which_locale_is_drawn_in_ascii(environ: dict[str, str], expected: bool) -> None:
    assert output.ascii_only(environ) is expected


def commands() -> Iterator[tuple[str, ...]]:
    yield ("--help",)
    yield ("machines", "create", "--help")
    yield ("plan", "-c", "config/demo.toml")
    yield ("check", "-c", "tests/config/ten-faults.toml")


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_a_command_with_lang_c_prints_ascii_and_no_escapes(command: tuple[str, ...]) -> None:
    done = in_locale("C", *command)
    assert done.isascii()
    assert not re.search(r"\\[xuU][0-9a-f]|\x1b", done)
    assert "--help" not in command or not in_locale("C.UTF-8", *command).isascii(), "or this proves nothing"


def in_locale(locale: str, *command: str) -> str:
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": locale, "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-m", "fleetd", *command], capture_output=True, env=environ, check=False)
    return (done.stdout + done.stderr).decode()
