"""Filling a machine into what a source asks: each place has its own way of escaping."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from urllib.parse import quote

from fleetd.model.machine import Machine
from fleetd.model.settings import PLACEHOLDERS, PROMQL_MATCHER

_NAMES = re.compile("|".join(r"\{" + name + r"\}" for name in PLACEHOLDERS))


_UP = re.compile(r"/\.{1,2}(?:/|$)")
_SELECTED = re.compile(r"([A-Za-z_]\w*)\s*" + PROMQL_MATCHER.pattern)
_RELABELS = re.compile(r"\b(label_replace|label_join|count_values|group_left|group_right)\b")


class Missing(ValueError):
    """The machine lacks something that is asked for; a young one has no address yet."""


def values_of(machine: Machine, window: timedelta, *needed_in: str) -> dict[str, str]:
    """What the placeholders stand for.

    Raises:
        Missing: one that occurs in ``needed_in`` has no value.
    """
    found = {
        "id": machine.id,
        "name": machine.name,
        "private_ip": machine.private_ip or "",
        "window": f"{max(1, round(window.total_seconds()))}s",
    }
    for name, value in found.items():
        if not value and any(f"{{{name}}}" in text for text in needed_in):
            raise Missing(f"the machine has no {name} yet")
    return found


def fill_promql(query: str, values: Mapping[str, str]) -> str:
    """A PromQL expression for one machine: a name with a quote, a dot or a star in it stays a name."""

    def outside(text: str) -> str:
        return _fill(text, {"window": values["window"]}, str)

    def matcher(found: re.Match[str]) -> str:
        operator, space, literal = found.groups()
        quote_mark, inside = literal[0], literal[1:-1]
        regex = operator in {"=~", "!~"}

        def escape(value: str) -> str:
            text = re.escape(value) if regex else value
            return text.replace("\\", "\\\\").replace(quote_mark, f"\\{quote_mark}").replace("\n", "\\n")

        return f"{operator}{space}{quote_mark}{_fill(inside, values, escape)}{quote_mark}"

    filled: list[str] = []
    end = 0
    for found in PROMQL_MATCHER.finditer(query):  # what stands outside of matchers is filled alone: a name is no text
        filled += [outside(query[end : found.start()]), matcher(found)]
        end = found.end()
    return "".join([*filled, outside(query[end:])])


def labels_of(query: str, values: Mapping[str, str]) -> dict[str, re.Pattern[str]]:
    """What the labels by which a query selects one machine say in its answer, where they are there at all.

    Only labels that are always matched by ``=`` or ``=~``; none where the query may give them other values itself.
    """
    if _RELABELS.search(query):
        return {}
    found: dict[str, list[str]] = {}
    loose: set[str] = set()
    for label, operator, _, literal in _SELECTED.findall(query):
        pattern = _selects(operator, literal[1:-1], values)
        if pattern is None:
            loose.add(label)
        else:
            found.setdefault(label, []).append(f"(?:{pattern})")
    patterns: dict[str, re.Pattern[str]] = {}
    for label in found.keys() - loose:
        with suppress(re.error):
            patterns[label] = re.compile("|".join(found[label]), re.DOTALL)
    return patterns


def _selects(operator: str, inside: str, values: Mapping[str, str]) -> str | None:
    """The pattern of what a matcher selects; None where it cannot be told, or where RE2 may read it otherwise."""
    if operator == "=" and "\\" not in inside:
        return re.escape(_fill(inside, values, str))
    if operator != "=~" or "[[" in inside or "(?" in inside or "\\" in inside.replace("\\\\", ""):
        return None
    return _fill(inside.replace("\\\\", "\\"), values, re.escape)


def fill_url(url: str, values: Mapping[str, str]) -> str:
    """A URL for one machine, its values percent-encoded.

    Raises:
        Missing: a value would lead up the path, to somebody else's answer.
    """
    filled = _fill(url, values, lambda value: quote(value, safe=""))
    if _UP.search(filled.partition("?")[0]) and not _UP.search(url.partition("?")[0]):
        raise Missing("a name of dots cannot stand in the path of a URL")
    return filled


def fill_argument(argument: str, values: Mapping[str, str]) -> str:
    """One argument of a command; there is no shell, so nothing needs escaping."""
    return _fill(argument, values, str)


def _fill(text: str, values: Mapping[str, str], escape: Callable[[str], str]) -> str:
    def one(found: re.Match[str]) -> str:
        name = found.group()[1:-1]
        return escape(values[name]) if name in values else found.group()

    return _NAMES.sub(one, text)
