"""HTML by construction: what is not ``Markup`` is text, and text is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from fleetd.model.lists import more
from fleetd.ops.escape import printable

LONGEST = 600
"""Characters of one text that reach the page."""

_VOID = frozenset({"link", "meta", "br", "hr", "input"})


class Markup(str):
    """Text that is HTML already. Made by ``tag``, ``text`` and ``join``; by hand only of constants."""

    __slots__ = ()


Child = str | int | None
"""Plain text (escaped), ``Markup`` (taken as it is), a number, or nothing."""


def text(value: object, limit: int = LONGEST) -> Markup:
    """Anything from outside: on one line, without control or bidi characters, harmless in text and in attributes."""
    words = str(value)
    if not (len(words) <= limit and words.isascii() and words.isprintable()):
        words = printable(words, limit)
    return Markup(escape(words, quote=True))


def join(*children: Child | Iterable[Child]) -> Markup:
    """Children one after the other; None is left out."""
    return Markup("".join(_flat(children)))


def tag(name: str, /, *children: Child | Iterable[Child], **attributes: str | int | bool | None) -> Markup:
    """One element.

    Args:
        name: of the element.
        children: see ``Child``; iterables of them are flattened.
        attributes: ``class_`` is class, ``aria_label`` is aria-label; True is an attribute without a value, None and
            False are none. A dictionary can hand in names that are no Python names.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        parts.append(attribute if value is True else f'{attribute}="{_inside(value)}"')
    opening = f"<{' '.join(parts)}>"
    return Markup(opening if name in _VOID else f"{opening}{join(*children)}</{name}>")


def left_out(number: int, advice: str = "find one by its name", kind: str = "p") -> Markup | None:
    """Below a list: how many it has no room for, and where they are."""
    return tag(kind, f"{more(number)}: {advice}", class_="dim") if number > 0 else None


def _inside(value: str | int) -> Markup:
    # Markup may hold quotes; inside of an attribute everything is text.
    return text(str.__str__(value) if isinstance(value, str) else value)


def _flat(children: Iterable[Child | Iterable[Child]]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str | int):
            yield text(child)
        else:
            yield from _flat(child)
