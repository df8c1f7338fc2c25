"""Odd values: valid JSON, each of them, and nothing that the vendor's documents allow."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_DEPTH = 3000
VALUES: Mapping[str, bytes] = MappingProxyType(
    {
        "null": b"null",
        "number": b"17",
        "negative": b"-3600",
        "huge": b"87600000000",
        "fraction": b"1e308",
        "infinite": b"1e999",
        "digits": b'"99999999"',
        "text": b'"somewhat"',
        "empty": b'""',
        "long": b'"' + 100_000 * b"x" + b'"',
        "control": b'"\\u001b[2J\\u0000"',
        "surrogate": b'"\\ud800"',
        "flag": b"true",
        "list": b"[]",
        "nested": b'{"a": [{"b": [null, {"c": {}}]}]}',
        "deep": _DEPTH * b"[" + _DEPTH * b"]",
        "date": b'"9999-12-31T23:59:59.999Z"',
        "no_date": b'"275760-13-45T99:99:99Z"',
    }
)
"""By name, as they stand on the wire."""
