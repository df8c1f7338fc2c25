"""Facts of the v1 API: which calls there are, what each takes, and what its answer is made of.

Transcribed as facts, name by name, from the types that the vendor's CLI (Paperspace/cli, February 2026) generates
from the vendor's OpenAPI description. Nothing here was measured. ``DATE`` may be null wherever it stands: the
generated types lose that, as they have ``dtDeleted`` on every living machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fleetd.simulator.calls import Call


@dataclass(frozen=True)
class Kind:
    """What a value may be."""

    types: tuple[type, ...]
    null: bool = False
    among: frozenset[str] = frozenset()

    def misfit(self, value: Any) -> bool:
        if value is None:
            return not self.null
        if isinstance(value, bool) and bool not in self.types:
            return True
        return not isinstance(value, self.types) or bool(self.among and value not in self.among)

    def or_null(self) -> Kind:
        return Kind(self.types, True, self.among)


class Date(Kind):
    def misfit(self, value: Any) -> bool:
        if value is None:
            return False
        try:
            return datetime.fromisoformat(value).tzinfo is None
        except (TypeError, ValueError):
            return True


@dataclass(frozen=True)
class Many(Kind):
    """A list of objects."""

    of: Mapping[str, Kind] = field(default_factory=dict)

    def misfit(self, value: Any) -> bool:
        if value is None:
            return not self.null
        return not isinstance(value, list) or any(faults(item, self.of) for item in value)


@dataclass(frozen=True)
class One(Kind):
    """An object."""

    of: Mapping[str, Kind] = field(default_factory=dict)

    def misfit(self, value: Any) -> bool:
        return not self.null if value is None else bool(faults(value, self.of))


def one_of(*words: str) -> Kind:
    return Kind((str,), among=frozenset(words))


TEXT, YES, NUMBER = Kind((str,)), Kind((bool,)), Kind((int, float))
TEXTS = Kind((list,))
DATE = Date((str,))
STATE = one_of("off", "starting", "stopping", "restarting", "serviceready", "ready", "upgrading", "provisioning")
FREQUENCY = one_of("hourly", "daily", "weekly", "monthly")
ADDRESS = one_of("static", "dynamic", "none")
RESTORE = one_of("shutdown")
ORDER = one_of("asc", "desc")

MACHINE: Mapping[str, Kind] = {
    "id": TEXT, "name": TEXT, "state": STATE, "machineType": TEXT, "region": TEXT, "os": TEXT, "cpus": NUMBER,
    "ram": NUMBER, "agentType": TEXT, "storageTotal": NUMBER, "storageUsed": NUMBER, "storageRate": NUMBER,
    "usageRate": NUMBER, "publicIp": TEXT.or_null(), "publicIpType": ADDRESS, "privateIp": TEXT.or_null(),
    "networkId": TEXT.or_null(), "autoShutdownEnabled": YES, "autoShutdownTimeout": NUMBER.or_null(),
    "autoShutdownForce": YES.or_null(), "autoSnapshotEnabled": YES, "autoSnapshotFrequency": FREQUENCY.or_null(),
    "autoSnapshotSaveCount": NUMBER.or_null(), "restorePointEnabled": YES, "restorePointFrequency": RESTORE.or_null(),
    "restorePointSnapshotId": TEXT.or_null(), "updatesPending": YES, "dtCreated": DATE, "dtModified": DATE,
    "dtDeleted": DATE,
    "accelerators": Many((list,), True, of={"count": NUMBER, "memory": NUMBER.or_null(), "name": TEXT}),
    "reservation": One((dict,), True, of={
        "id": TEXT, "name": TEXT, "isActive": YES, "dtStarted": DATE, "dtFinished": DATE,
    }),
}  # fmt: skip
EVENT: Mapping[str, Kind] = {
    "id": TEXT,
    "name": one_of(
        "bill-sessions", "bill-upgrade", "create", "deactivate", "restart", "snapshot-create", "snapshot-delete",
        "snapshot-restore", "start", "stop", "template-create", "template-delete", "template-distribute",
        "template-import", "vm-migrate", "vm-shutdown-force", "vm-upgrade",
    ),
    "machineId": TEXT.or_null(),
    "state": one_of("new", "in progress", "done", "error", "cancelled"),
    "error": TEXT.or_null(),
    "dtCreated": DATE, "dtStarted": DATE, "dtFinished": DATE,
}  # fmt: skip
SNAPSHOT: Mapping[str, Kind] = {"id": TEXT, "name": TEXT, "machineId": TEXT, "isAutoSnapshot": YES}
OFFER = Many((list,), of={"machineTypeLabel": TEXT, "isAvailable": YES})
OS_TEMPLATE: Mapping[str, Kind] = {
    "id": TEXT, "name": TEXT, "agentType": TEXT, "defaultSizeGb": NUMBER.or_null(), "operatingSystemLabel": TEXT,
    "dtCreated": DATE, "availableMachineTypes": OFFER,
}  # fmt: skip
CUSTOM_TEMPLATE: Mapping[str, Kind] = {
    **OS_TEMPLATE, "defaultSizeGb": NUMBER, "parentMachineId": TEXT, "region": TEXT, "dtDeleted": DATE,
}  # fmt: skip
NETWORK: Mapping[str, Kind] = {
    "id": TEXT, "name": TEXT, "region": TEXT, "network": TEXT, "netmask": TEXT, "dtCreated": DATE, "dtDeleted": DATE,
}  # fmt: skip
SCRIPT: Mapping[str, Kind] = {
    "id": TEXT, "name": TEXT, "description": TEXT.or_null(), "isEnabled": YES, "isRunOnce": YES,
    "assignedMachineIds": TEXTS, "dtCreated": DATE, "dtDeleted": DATE,
}  # fmt: skip
ACCESSOR: Mapping[str, Kind] = {
    "user": One((dict,), of={
        "id": TEXT, "email": TEXT, "firstName": TEXT.or_null(), "lastName": TEXT.or_null(),
        "publicProfileImageUrl": TEXT.or_null(),
    }),
    "dtDeleted": DATE,
}  # fmt: skip
STANDING: Mapping[str, Kind] = {
    "isInGoodStanding": YES, "hasPaymentMethod": YES, "isAdminLocked": YES, "messages": TEXTS,
}  # fmt: skip

POLICY: Mapping[str, Kind] = {
    "autoShutdownEnabled": YES, "autoShutdownForce": YES, "autoShutdownTimeout": NUMBER, "autoSnapshotEnabled": YES,
    "autoSnapshotFrequency": FREQUENCY, "autoSnapshotSaveCount": NUMBER, "networkId": TEXT, "publicIpType": ADDRESS,
    "restorePointEnabled": YES, "restorePointFrequency": RESTORE,
}  # fmt: skip
CREATE: Mapping[str, Kind] = {
    **POLICY, "name": TEXT, "machineType": TEXT, "templateId": TEXT, "region": TEXT, "diskSize": NUMBER,
    "accessorIds": TEXTS, "emailPassword": YES, "enableNvlink": YES, "startOnCreate": YES, "startupScriptId": TEXT,
    "takeInitialSnapshot": YES,
}  # fmt: skip
UPDATE: Mapping[str, Kind] = {
    **POLICY, "name": TEXT, "machineType": TEXT, "diskSize": NUMBER, "restorePointSnapshotId": TEXT,
}  # fmt: skip


def paged(*orders: str, **filters: Kind) -> Mapping[str, Kind]:
    return {"after": TEXT, "limit": NUMBER, "orderBy": one_of(*orders), "order": ORDER, **filters}


def page_of(item: Mapping[str, Kind]) -> Mapping[str, Kind]:
    return {"hasMore": YES, "items": Many((list,), of=item), "nextPage": TEXT.or_null()}


def done(data: Mapping[str, Kind]) -> Mapping[str, Kind]:
    return {"data": One((dict,), of=data), "event": One((dict,), of=EVENT)}


@dataclass(frozen=True)
class Fact:
    """One call."""

    answer: Mapping[str, Kind]
    query: Mapping[str, Kind] = field(default_factory=dict)
    body: Mapping[str, Kind] | None = None
    """None: it has no body; start, stop and restart are sent ``{}`` by the vendor's own client."""
    needs: frozenset[str] = frozenset()


CALLS: Mapping[tuple[str, str], Fact] = {
    ("GET", "/machines"): Fact(
        page_of(MACHINE),
        paged("dtCreated", "name", "state", name=TEXT, region=TEXT, agentType=TEXT, machineType=TEXT),
    ),
    ("POST", "/machines"): Fact(
        done(MACHINE),
        body=CREATE,
        needs=frozenset({"name", "machineType", "templateId", "region", "diskSize"}),
    ),
    ("GET", "/machines/{id}"): Fact(MACHINE),
    ("PUT", "/machines/{id}"): Fact(done(MACHINE), body=UPDATE),
    ("DELETE", "/machines/{id}"): Fact(done(MACHINE)),
    ("PATCH", "/machines/{id}/start"): Fact(done(MACHINE)),
    ("PATCH", "/machines/{id}/stop"): Fact(done(MACHINE)),
    ("PATCH", "/machines/{id}/restart"): Fact(done(MACHINE)),
    ("GET", "/machines/{id}/accessors"): Fact(page_of(ACCESSOR), paged("id")),
    ("POST", "/machines/{id}/accessors"): Fact(ACCESSOR, body={"userId": TEXT}, needs=frozenset({"userId"})),
    ("DELETE", "/machines/{id}/accessors/{userId}"): Fact(ACCESSOR),
    ("GET", "/machine-events"): Fact(page_of(EVENT), paged("dtCreated", machineId=TEXT)),
    ("GET", "/snapshots"): Fact(page_of(SNAPSHOT), paged("dtCreated", "name", machineId=TEXT)),
    ("POST", "/snapshots"): Fact(
        done(SNAPSHOT), body={"machineId": TEXT, "name": TEXT}, needs=frozenset({"machineId", "name"})
    ),
    ("DELETE", "/snapshots/{id}"): Fact(done(SNAPSHOT)),
    ("GET", "/os-templates"): Fact(page_of(OS_TEMPLATE), paged("name", name=TEXT)),
    ("GET", "/custom-templates"): Fact(
        page_of(CUSTOM_TEMPLATE), paged("dtCreated", "name", name=TEXT, machineId=TEXT)
    ),
    ("GET", "/private-networks"): Fact(page_of(NETWORK), paged("dtCreated", "name", name=TEXT, region=TEXT)),
    ("GET", "/startup-scripts"): Fact(page_of(SCRIPT), paged("dtCreated", "name", name=TEXT)),
    ("GET", "/billing/account-standing"): Fact(STANDING),
}
"""The calls that fleetd makes."""


def fact_of(method: str, path: str) -> tuple[tuple[str, str], Fact] | None:
    """The call that a request is."""
    for (verb, template), fact in CALLS.items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template)
        if verb == method and re.fullmatch(pattern, path.removeprefix("/v1")):
            return (verb, template), fact
    return None


def request_faults(call: Call) -> list[str]:
    """What is wrong with a request by these facts."""
    known = fact_of(call.method, call.path)
    if known is None:
        return [f"there is no call {call.method} {call.path}"]
    (method, path), fact = known
    where = f"{method} {path}"
    query = {name: float(v) if fact.query.get(name) is NUMBER else v for name, v in call.query.items()}
    wrong = [f"{where} query: {fault}" for fault in faults(query, fact.query, whole=False)]
    if method == "PATCH":
        return wrong if call.body == {} else [*wrong, f"{where} body: {call.body!r}, and not {{}}"]
    if fact.body is None:
        return wrong if call.body is None else [*wrong, f"{where} body: {call.body!r}, and it has none"]
    wrong += [f"{where} body: {fault}" for fault in faults(call.body, fact.body, whole=False)]
    return [*wrong, *(f"{where} body: {name} is missing" for name in sorted(fact.needs - call.body.keys()))]


def faults(content: Any, fields: Mapping[str, Kind], *, whole: bool = True) -> list[str]:
    """What is wrong with an object: names that do not exist, or (``whole``) are missing; odd values."""
    if not isinstance(content, dict):
        return [f"{content!r} is no object"]
    wrong = [f"there is no {name}" for name in content if name not in fields]
    wrong += [
        f"{name} is {content[name]!r}" for name in content if name in fields and fields[name].misfit(content[name])
    ]
    return wrong + [f"{name} is missing" for name in fields if whole and name not in content]
