"""The v1 API holds the contract."""

from __future__ import annotations

from tests.contract.contract import Contract


class TestV1(Contract):
    kind = "paperspace"
