"""What every rule of a fault plan shares: its conditions, and what it is about."""

from __future__ import annotations

from typing import ClassVar

import msgspec


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """The conditions that every kind shares."""

    operation: str | tuple[str, ...] | None = None
    machine: str | None = None
    machine_type: str | None = None
    region: str | None = None
    nth: int | tuple[int, ...] | None = None
    every: int | None = None
    probability: float = 1.0
    after: float | None = None
    until: float | None = None
    limit: int | None = None

    usual: ClassVar[tuple[str, ...]] = ("any",)
    """The operations it is about when the rule does not say."""
    about_calls: ClassVar[bool] = True
    """Whether ``machine``, ``machine_type`` and ``region`` choose calls; otherwise they choose machines."""

    @property
    def kind(self) -> str:
        """Its name in the file."""
        return str(self.__struct_config__.tag)

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations it is about."""
        if self.operation is None:
            return self.usual
        return (self.operation,) if isinstance(self.operation, str) else self.operation


class AnswerRule(Rule, frozen=True, kw_only=True):
    """A fault in how a call is answered. At most one of these strikes a call: the first that matches."""

    executes: ClassVar[bool] = False


class FateRule(Rule, frozen=True, kw_only=True):
    """A fault in what becomes of a machine. The call itself is answered as ever."""


class ViewRule(Rule, frozen=True, kw_only=True):
    """A fault in what is shown; the world itself is unharmed."""

    usual: ClassVar[tuple[str, ...]] = ("list",)
    about_calls: ClassVar[bool] = False
