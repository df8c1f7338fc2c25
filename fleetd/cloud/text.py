"""Makes a provider's text fit to be shown: masks secrets, strips control characters, truncates."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from urllib.parse import quote, quote_plus

LONGEST = 300
"""Characters of a provider's message that are kept."""

HIDDEN = "***"
"""Stands where a secret would."""


def presentable(text: str, *, secrets: Collection[str] = (), longest: int = LONGEST) -> str:
    """``text`` on one line, with every spelling of the secrets masked, cut to ``longest`` characters."""
    # Masked before it is cut, so that no half of a key is left at the end, and again once characters were replaced.
    line = " ".join("".join(_printable(c) for c in mask(text, secrets)).split())
    line = mask(line, secrets)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def mask(text: str, secrets: Collection[str]) -> str:
    """``text`` without any spelling of the secrets."""
    for spelling in sorted({s for secret in secrets if secret for s in spellings(secret)}, key=len, reverse=True):
        text = text.replace(spelling, HIDDEN)
    return text


def leaks_secret(error: BaseException, secrets: Collection[str]) -> bool:
    """Whether a traceback or a repr of the error, or of one that led to it, would show a secret."""
    return any(mask(text, secrets) != text for text in _texts(error))


def _texts(error: BaseException) -> Iterator[str]:
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        link = queue.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            queue += [link.__cause__, link.__context__]
            yield from (str(link), repr(link))


def spellings(secret: str) -> set[str]:
    """A secret as it stands in plain text, in a URL, in JSON or in a ``repr``."""
    encoded = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    return {secret, *encoded, json.dumps(secret)[1:-1], repr(secret)[1:-1]}


def _printable(char: str) -> str:
    if char.isspace():
        return " "
    return char if char.isprintable() else "\N{REPLACEMENT CHARACTER}"
