"""Every spelling of a secret is masked, wherever it stands, and nothing else."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest

from fleetd.cloud.text import HIDDEN, LONGEST, leaks_secret, mask, presentable

SECRET = 'a/b c"d&ü'


@pytest.mark.parametrize(
    "spelling",
    [SECRET, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET), json.dumps(SECRET)[1:-1]],
    ids=["plain", "a path's", "a segment's", "a form's", "JSON's"],
)
def test_each_spelling_is_masked(spelling: str) -> None:
    assert mask(f"x{spelling}y{spelling}", [SECRET]) == f"x{HIDDEN}y{HIDDEN}"
    assert presentable(f"x {spelling} y", secrets=[SECRET]) == f"x {HIDDEN} y"
    assert leaks_secret(ValueError(spelling), [SECRET])


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    for secrets in (["abc", "abcdef"], ["abcdef", "abc"]):
        assert mask("abcdef abc", secrets) == f"{HIDDEN} {HIDDEN}"


def test_no_secret_is_no_mask() -> None:
    assert mask("text", []) == mask("text", ["", "other"]) == "text"


def test_what_becomes_a_secret_on_one_line_is_masked_too() -> None:
    assert presentable("a\nb", secrets=["a b"]) == HIDDEN


@pytest.mark.parametrize(
    ("length", "longest", "shown"),
    [(10, 10, "x" * 10), (11, 10, "x" * 9 + "…"), (300, None, "x" * 300), (301, None, "")],
)
def test_so_many_characters_are_shown(length: int, longest: int | None, shown: str) -> None:
    told = presentable("x" * length) if longest is None else presentable("x" * length, longest=longest)
    assert told == (shown or "x" * (LONGEST - 1) + "…")


def test_an_error_betrays_what_led_to_it_even_in_a_circle() -> None:
    first, second = ValueError("k3y"), ValueError("b")
    first.__cause__, second.__context__ = second, first
    assert leaks_secret(second, ["k3y"])
    assert not leaks_secret(second, ["other"])
    third = ValueError("c")
    third.__cause__ = first
    assert leaks_secret(third, ["b"])


def test_what_only_a_repr_shows_is_shown() -> None:
    class Odd(Exception):
        def __repr__(self) -> str:
            return "Odd(k3y)"

    assert leaks_secret(Odd("x"), ["k3y"])
    assert not leaks_secret(Odd("x"), ["other"])
