"""A provider's JSON as Python's values: one odd value in it spoils nothing else.

Numbers that no float holds, text that is no Unicode and what is nested without end are each that value's problem; it
counts as null then, or as text with replacement characters. What has more values than any answer of use is refused
before it takes memory.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

MOST_VALUES = 500_000
"""Values in one answer, counted by their commas and brackets. A page of 1000 machines has some 50,000."""
DEEPEST = 100
"""Levels of nesting that are kept, where there are too many for the decoder."""
MOST_MENDED = 2 * 1024 * 1024
"""Bytes of an answer that is read although something in it is odd: that is slower by far."""

_LONGEST_NUMBER = 40
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


class NotJson(ValueError):
    """The bytes are no JSON, or more of it than is read; the message says which."""


def decode(body: bytes) -> Any:
    """The value that the bytes stand for.

    Raises:
        NotJson: they stand for none.
    """
    if values_in(body) > MOST_VALUES:
        raise NotJson(f"more than {MOST_VALUES} values")
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        problem = str(e)
    if len(body) > MOST_MENDED:
        raise NotJson(problem)
    text = body.decode("utf-8-sig", errors="replace")
    try:
        return _mended(text)
    except RecursionError:
        pass
    except ValueError:
        raise NotJson(problem) from None
    try:
        return _mended(_shallow(text))
    except (ValueError, RecursionError):
        raise NotJson(problem) from None


def values_in(body: bytes) -> int:
    """How many values it has at the most: its commas and opening brackets, counted in one go."""
    return len(body) - len(body.translate(None, b",[{"))


def _mended(text: str) -> Any:
    return _unicode(json.loads(text, strict=False, parse_int=_int, parse_float=_float, parse_constant=_nothing))


def _int(digits: str) -> int | None:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else None


def _float(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _nothing(_word: str) -> None:
    """NaN and the infinities, which are no JSON."""


def _unicode(value: Any) -> Any:
    """Without halves of surrogate pairs: nothing that is written down could hold them."""
    if isinstance(value, str):
        return value.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")
    if isinstance(value, list):
        return [_unicode(item) for item in value]
    if isinstance(value, dict):
        return {_unicode(name): _unicode(item) for name, item in value.items()}
    return value


def _shallow(text: str) -> str:
    """The text with null for everything below ``DEEPEST`` levels."""
    kept: list[str] = []
    depth, since = 0, 0
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark in "[{":
            depth += 1
            if depth == DEEPEST + 1:
                kept += [text[since : token.start()], "null"]
        elif mark in "]}":
            if depth == DEEPEST + 1:
                since = token.end()
            depth -= 1
    return "".join([*kept, text[since:]])
