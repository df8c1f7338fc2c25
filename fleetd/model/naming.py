"""Names that prove ownership: ``<fleet>-<token>``.

A token is five random characters of Crockford's base32 and a check character over fleet and token, in lower
case. A human's ``training-backup`` is therefore not taken for ours: six letters pass by chance once in 32, and
"backup" does not (its ``u`` is not in the alphabet). Losing the state directory loses no ownership.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
TOKEN_LENGTH = 6


def make_token(fleet: str, draw: Sequence[int]) -> str:
    """A token from five drawn numbers in 0..31; randomness is the caller's."""
    if len(draw) != TOKEN_LENGTH - 1:
        msg = f"a token is made from {TOKEN_LENGTH - 1} numbers, got {len(draw)}"
        raise ValueError(msg)
    body = "".join(ALPHABET[n] for n in draw)
    return body + _check(fleet, body)


def machine_name(fleet: str, token: str) -> str:
    """The name under which a created machine is known at the provider."""
    return f"{fleet}-{token}"


def split_name(name: str, fleets: Iterable[str]) -> tuple[str, str] | None:
    """(fleet, token) when the name is one that fleetd gave to a machine of one of ``fleets``; else None."""
    fleet, dash, token = name.rpartition("-")
    if not dash or len(token) != TOKEN_LENGTH or any(c not in ALPHABET for c in token):
        return None
    if fleet not in fleets or token[-1] != _check(fleet, token[:-1]):
        return None
    return fleet, token


def _check(fleet: str, body: str) -> str:
    # Odd weights are invertible modulo 32, so any single wrong character of a token is caught.
    values = [*fleet.encode(), *(ALPHABET.index(c) for c in body)]
    return ALPHABET[sum((2 * i + 1) * value for i, value in enumerate(values)) % len(ALPHABET)]
