"""Names that prove ownership: ``<fleet>-<token>``.

A token is eight characters of Crockford's base32 in lower case: five drawn, and three that check fleet and draw. A
name that a person gave passes by chance once in 32,768. Losing the state directory loses no ownership.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LETTERS = frozenset(ALPHABET)
DRAWN = 5
"""Characters of a token that are drawn."""
CHECKS = 3
"""Characters of a token that follow from the fleet and those."""
TOKEN_LENGTH = DRAWN + CHECKS


def make_token(fleet: str, draw: Sequence[int]) -> str:
    """A token from ``DRAWN`` drawn numbers in 0..31; randomness is the caller's."""
    if len(draw) != DRAWN:
        msg = f"a token is made from {DRAWN} numbers, got {len(draw)}"
        raise ValueError(msg)
    body = "".join(ALPHABET[n] for n in draw)
    return body + _check(fleet, body)


def machine_name(fleet: str, token: str) -> str:
    """The name under which a created machine is known at the provider."""
    return f"{fleet}-{token}"


def split_name(name: str, fleets: Iterable[str]) -> tuple[str, str] | None:
    """(fleet, token) when the name is one that fleetd gave to a machine of one of ``fleets``; else None."""
    fleet, dash, token = name.rpartition("-")
    if not dash or len(token) != TOKEN_LENGTH or fleet not in fleets or not _LETTERS.issuperset(token):
        return None
    if token[DRAWN:] != _check(fleet, token[:DRAWN]):
        return None
    return fleet, token


def _check(fleet: str, body: str) -> str:
    # A hash, not a sum: names that people count up or date differ in few characters.
    number = int.from_bytes(sha256(f"{fleet}-{body}".encode("utf-8", "surrogatepass")).digest()[:4])
    return "".join(ALPHABET[number >> 5 * n & 31] for n in range(CHECKS))
