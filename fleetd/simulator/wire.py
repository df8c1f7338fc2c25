"""What a dialect is to the server: requests in, answers out. No HTTP library in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from fleetd.simulator.faultplan import Decision, FaultPlan
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


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about, as far as can be told without judging it."""

    operation: str
    """"" for a path that is no call of the dialect."""
    write: bool
    machine_id: str | None = None
    machine_name: str | None = None
    machine_type: str | None = None
    region: str | None = None


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


class Dialect(Protocol):
    """One of the vendor's APIs, spoken by the one world."""

    name: str

    def target(self, request: Request) -> Target:
        """What the request is about. Never fails."""
        ...

    def key_of(self, request: Request) -> str | None:
        """The key that the request carries."""
        ...

    def answer(self, request: Request, decision: Decision, plan: FaultPlan) -> Answer:
        """Carry the request out, or refuse it in the vendor's words."""
        ...

    def failure(self, status: int, message: str) -> Answer:
        """An error in the dialect's form."""
        ...

    def about(self, operation: str, record: MachineRecord) -> Answer:
        """The answer that an operation has when it is about this machine; of one without a body, the machine."""
        ...

    def wrong_key(self) -> Answer:
        """What a wrong key is answered with."""
        ...
