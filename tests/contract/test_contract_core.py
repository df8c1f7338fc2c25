"""The Core API holds the contract."""

from __future__ import annotations

from tests.contract.contract import Contract


class TestCore(Contract):
    kind = "paperspace-core"
