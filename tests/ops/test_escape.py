from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.ops.escape import LIMIT, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("training-7k3mqggq", "training-7k3mqggq"),
        ("Grüße 你好 🚀", "Grüße 你好 🚀"),
        ("a\tb\r\nc", "a\\x09b\\x0d\\x0ac"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200db", "a\\u200db"),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("e\u0301", "e\u0301"),
        ("e\u0301\u0301\u0301", "e\u0301\u0301\\u0301"),
        ("", ""),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(), max_size=300), st.integers(2, 250))
def test_anything_is_printable_and_short(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert all(c.isprintable() or c.isspace() for c in shown)
    assert not {"\n", "\r", "\t", "\x1b", "\x0b", "\x0c", "\x85", "\u2028"} & set(shown)
    assert len(shown) <= limit
    shown.encode()


def test_long_text_is_cut() -> None:
    assert printable("x" * LIMIT) == "x" * LIMIT
    assert printable("x" * (LIMIT + 1)) == "x" * (LIMIT - 1) + "…"
    assert len(printable("\x00" * 10**6)) == LIMIT
