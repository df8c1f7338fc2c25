"""Each kind of value that a provider gives: what is understood of it, whatever field it stands in."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from fleetd.cloud.reading import LONGEST_TEXT, decimal, flag, moment, money, text, whole
from fleetd.model.bounds import MOST_MONEY

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "understood"),
    [
        (0.51, Decimal("0.51")),
        ("0.51", Decimal("0.51")),
        (0, Decimal(0)),
        ("0", Decimal(0)),
        (-0.01, None),
        (str(MOST_MONEY), MOST_MONEY),
        (str(MOST_MONEY + 1), None),
        (None, None),
        ("free", None),
        (True, None),
        (float("inf"), None),
        ("NaN", None),
        ([0.51], None),
    ],
)
def test_money(value: Any, understood: Decimal | None) -> None:
    assert money(value) == understood


@pytest.mark.parametrize(
    ("value", "understood"),
    [
        (6, 6),
        ("6", 6),
        (6.0, 6),
        ("6.0", 6),
        (-6, -6),
        (0, 0),
        (10**12, 10**12),
        (6.5, None),
        ("6.5", None),
        ("1e30", None),
        ("1e-30", None),
        (True, None),
        (None, None),
        ("six", None),
        ("", None),
        ({}, None),
    ],
)
def test_whole_numbers(value: Any, understood: int | None) -> None:
    assert whole(value) == understood


@pytest.mark.parametrize(
    ("value", "understood"),
    [
        ("1e29", Decimal("1e29")),
        ("1e30", None),
        ("1e-29", Decimal("1e-29")),
        ("1e-30", None),
        ("-0.5", Decimal("-0.5")),
        ("0x10", None),
        (False, None),
    ],
)
def test_numbers(value: Any, understood: Decimal | None) -> None:
    assert decimal(value) == understood


@pytest.mark.parametrize(
    ("value", "understood"),
    [
        ("2026-03-01T12:00:00Z", NOON),
        ("2026-03-01T12:00:00", NOON),
        ("2026-03-01T14:00:00+02:00", NOON),
        ("2026-03-01", NOON.replace(hour=0)),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("noon", None),
        ("", None),
        (1772366400, None),
        (None, None),
    ],
)
def test_instants(value: Any, understood: datetime | None) -> None:
    found = moment(value)
    assert found == understood
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "understood"),
    [("box", "box"), ("x" * (LONGEST_TEXT + 1), "x" * LONGEST_TEXT), ("", None), (17, None), (None, None)],
)
def test_text(value: Any, understood: str | None) -> None:
    assert text(value) == understood


@pytest.mark.parametrize(
    ("value", "understood"), [(True, True), (False, False), (1, None), ("true", None), (None, None)]
)
def test_flags(value: Any, understood: bool | None) -> None:
    assert flag(value) is understood
