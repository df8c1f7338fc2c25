"""JSON in which a key stands twice says two things: readers differ in which of them they take, so it says nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def single_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """``object_pairs_hook`` of ``json.loads``.

    Raises:
        ValueError: a key stands twice in one object.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{doubled[:60]!r} stands there twice")
    return found


def refuse_doubled_keys(text: bytes) -> Any:
    """For what another parser has read, which takes the last one without a word. What it says, numbers as text.

    Raises:
        ValueError: a key stands twice in one object, or the text is not JSON.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, object_pairs_hook=single_keys, parse_int=str, parse_float=str)
