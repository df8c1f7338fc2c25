"""How much of odd JSON is read: each bound on both sides, and the oddities one by one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from fleetd.cloud import decoding
from fleetd.cloud.decoding import DEEPEST, MOST_VALUES, NotJson, decode


def nested(levels: int, inner: str = "1") -> bytes:
    return f"[{'[' * (levels - 1)}{inner}{']' * (levels - 1)}, 2]".encode()


def depth(value: Any) -> int:
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def test_ordinary_json_is_read_as_it_is() -> None:
    value = {"a": [1, 2.5, None, True, "ö", {"b": {}}], "c": ""}
    assert decode(json.dumps(value).encode()) == value


@pytest.mark.parametrize("opening", [b",", b"[", b"{"])
def test_the_values_are_counted_by_their_commas_and_brackets(opening: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MOST_VALUES", 5)
    with pytest.raises(NotJson, match=r"^more than 5 values$"):
        decode(opening * 6)
    with pytest.raises(NotJson) as caught:
        decode(opening * 5)
    assert "more than" not in str(caught.value)
    assert decode(b"[1,2,3,[]]") == [1, 2, 3, []]


def test_a_page_of_a_thousand_machines_is_well_within_the_bound() -> None:
    body = msgspec.json.encode([{f"field{n}": "some text" for n in range(45)}] * 1000)
    assert len(decode(body)) == 1000
    assert MOST_VALUES >= 10 * 45 * 1000


@pytest.mark.parametrize(("spare", "read"), [(0, True), (-1, False)])
def test_of_what_is_odd_so_many_bytes_are_mended(monkeypatch: pytest.MonkeyPatch, spare: int, read: bool) -> None:
    odd = b'{"a": 1e999}'
    monkeypatch.setattr(decoding, "MOST_MENDED", len(odd) + spare)
    if read:
        assert decode(odd) == {"a": None}
    else:
        with pytest.raises(NotJson):
            decode(odd)
    assert decode(b'{"abcdefgh": "ijklmnop"}') == {"abcdefgh": "ijklmnop"}, "what is not odd may be longer"


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (b"1e999", None),
        (b"[1e999, -1e999, 1.5e3]", [None, None, 1500.0]),
        (b"[NaN, Infinity, -Infinity, 1]", [None, None, None, 1]),
        (b"[1e999, " + b"9" * 40 + b"]", [None, int("9" * 40)]),
        (b"[1e999, " + b"9" * 41 + b"]", [None, None]),
        (b'["\\ud800"]', ["\ufffd"]),
        (b'["\\ud83d\\ude00", NaN]', ["\U0001f600", None]),
        (b'{"\\ud800": {"a": ["\\udfff"]}}', {"\ufffd": {"a": ["\ufffd"]}}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'["tab\there", 1]', ["tab\there", 1]),
    ],
)
def test_an_oddity_is_null_or_a_replacement_character(said: bytes, value: Any) -> None:
    assert decode(said) == value


@pytest.mark.parametrize("said", [b"", b"<html>", b"[1", b"nul", b'{"a" 1}', b"[1] [2]", b"]" * 9, b'"open'])
def test_what_is_no_json_is_said_with_what_the_decoder_said(said: bytes) -> None:
    with pytest.raises(NotJson) as caught:
        decode(said)
    with pytest.raises(msgspec.DecodeError) as theirs:
        msgspec.json.decode(said)
    assert str(caught.value) == str(theirs.value)
    assert caught.value.__cause__ is None


def test_what_is_nested_too_deep_is_cut_at_a_level_and_the_rest_is_read() -> None:
    first, second = decode(nested(5000))
    assert (depth(first), second) == (DEEPEST - 1, 2)
    found = decode(b'[{"id": "a]", "deep": ' + nested(5000, '"x[{"') + b'}, "after", ' + nested(3000) + b"]")
    assert found[0]["id"] == "a]"
    assert found[1] == "after"
    assert [depth(value) for value in (found[0]["deep"], found[2])] == [DEEPEST - 2, DEEPEST - 1]


def test_objects_are_levels_as_arrays_are() -> None:
    found = decode(b'{"a": ' * 3000 + b"[]" + b"}" * 3000)
    levels = 0
    while found is not None:
        (found,), levels = found.values(), levels + 1
    assert levels == DEEPEST


@pytest.mark.parametrize(
    "said", [b"[" * 3000, b"[" * 3000 + b"]" * 2950, b"[" * 3000 + b"]" * 2000, b'{"a": ' * 3000]
)
def test_what_is_deep_and_has_no_end_is_no_json(said: bytes) -> None:
    with pytest.raises(NotJson):
        decode(said)


@pytest.mark.parametrize("levels", [2, DEEPEST + 50])
def test_what_is_broken_is_no_json_however_deep_it_is_broken(levels: int) -> None:
    with pytest.raises(NotJson):
        decode(nested(levels, "nul"))


def test_just_as_deep_as_is_kept_is_kept_whole() -> None:
    deep = b"[1e999, " + nested(DEEPEST - 1) + b"]"
    assert depth(decode(deep)) == DEEPEST
    shallow = decoding._shallow(nested(DEEPEST).decode())
    assert shallow == nested(DEEPEST).decode()
    assert decoding._shallow(nested(DEEPEST + 1).decode()).count("null") == 1
