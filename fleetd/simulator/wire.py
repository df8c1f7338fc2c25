"""What a dialect is to the server: requests in, answers out. No HTTP library in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fleetd.simulator.faultplan import Target
from fleetd.simulator.records import MachineRecord

BROKEN = object()
"""The body of a request that has one which is not JSON."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, decoded."""

    method: str
    path: str
    """Decoded, without a slash at its end."""
    query: tuple[tuple[str, str], ...] = ()
    raw: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's parts."""
        return tuple(self.path.strip("/").split("/"))

    @property
    def body(self) -> Any:
        """The parsed JSON body; None when it is empty, ``BROKEN`` when it is not JSON."""
        if not self.raw:
            return None
        try:
            return msgspec.json.decode(self.raw)
        except msgspec.DecodeError:
            return BROKEN


def target_of(
    request: Request,
    machines: Mapping[str, MachineRecord],
    operation: str,
    machine_id: str | None,
    *,
    write: bool,
    named: str,
) -> Target:
    """What a call is about: one of ``machines``, or the one that it describes, by name as ``named``."""
    given: Mapping[str, Any] = dict(request.query)
    if write:
        given = request.body if isinstance(request.body, dict) else {}
    texts = {name: value for name, value in given.items() if isinstance(value, str)}
    machine_id = machine_id or texts.get("machineId")
    record = machines.get(machine_id or "")
    if record is not None:
        return Target(operation, write, machine_id, record.name, record.machine_type, record.region)
    return Target(operation, write, machine_id, *(texts.get(name) for name in (named, "machineType", "region")))


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    status: int
    body: bytes = b""
    executed: bool = False
    """Whether the call was carried out."""
    machine_id: str | None = None
    """The machine that a create made."""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(status: int, value: Any, *, executed: bool = False, machine_id: str | None = None) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, msgspec.json.encode(value), executed, machine_id)
