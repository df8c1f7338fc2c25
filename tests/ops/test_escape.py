from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.ops.escape import LIMIT, printable, whole_ends


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


@given(st.text(max_size=600), st.integers(20, 300))
def test_the_ends_of_a_long_text_are_shown(text: str, limit: int) -> None:
    shown = whole_ends(text, limit)
    assert len(shown) <= limit
    assert shown == printable(shown, limit), "nothing is left that would be escaped"
    if len(printable(text, 10_000)) <= limit:
        assert shown == printable(text, limit)


def test_what_stands_behind_a_long_text_is_shown() -> None:
    facts = "; stop only; until 2026-03-02 13:00:00 UTC"
    assert whole_ends("w" * 5000 + facts).endswith(facts)
    assert whole_ends("w" * 5000 + facts).startswith("ww")
    assert "…" in whole_ends("w" * 5000 + facts)
    assert whole_ends("\x1b" * 190 + facts).endswith(facts)
