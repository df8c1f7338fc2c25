"""Text from outside, made fit for a terminal: a machine's name may hold anything."""

from __future__ import annotations

import sys
import unicodedata

LIMIT = 200
"""Characters of one value that are shown; what is cut is replaced by an ellipsis."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that are written as escapes: controls, bidi marks, zero-width joiners, line separators."""

_STACKING = 2
"""Combining marks that may stand on one character; a tower of them covers the lines around it."""


def whole_ends(text: str, limit: int = LIMIT) -> str:
    """As ``printable``, and what is too long loses its middle: words of others, with facts of ours behind them."""
    if len(text) <= limit:
        shown = printable(text, limit=sys.maxsize)
        if len(shown) <= limit:
            return shown
    tail = printable(text[-limit // 2 :], limit=sys.maxsize)[-limit // 2 :]
    return printable(text, limit=limit - len(tail)) + tail


def printable(text: str, limit: int = LIMIT) -> str:
    """``text`` on one line, without anything that moves a cursor, reorders the line or hides itself."""
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text  # as nearly all is
    shown: list[str] = []
    marks = 0
    for character in text[: limit + 1]:
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        shown.append(_escape(character) if category in _HIDDEN or marks > _STACKING else character)
    whole = "".join(shown)
    return whole if len(whole) <= limit else whole[: limit - 1] + "…"


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
