"""Dollars as they are shown."""

from __future__ import annotations

from decimal import Decimal


def digits(amount: Decimal) -> str:
    """At least cents; what is finer is shown as far as a hundredth of one."""
    cents = amount.quantize(Decimal("0.01"))
    return str(cents) if cents == amount else format(amount.quantize(Decimal("0.0001")).normalize(), "f")
