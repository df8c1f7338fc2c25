"""Text from outside, made fit for a terminal: a machine's name may hold anything."""

from __future__ import annotations

import unicodedata

LIMIT = 200
"""Characters of one value that are shown; what is cut is replaced by an ellipsis."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that are written as escapes: controls, bidi marks, zero-width joiners, line separators."""


def printable(text: str, limit: int = LIMIT) -> str:
    """``text`` without anything that moves a cursor, reorders a line or hides itself."""
    shown = "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
