"""What commands order: of the running daemon, or, where that makes sense, of the next one."""

from __future__ import annotations

import getpass
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from fleetd.engine.status import hold_document
from fleetd.engine.vetoes import adopt_entry, entry_words, no_machine, veto_entry
from fleetd.engine.vetoes import lift as lift_from
from fleetd.model.errors import CloudError, ConfigError, StateLocked
from fleetd.model.journal import MachineFacts, MachineOrder, VetoOrder
from fleetd.model.machine import Machine
from fleetd.model.plan import Observation
from fleetd.model.reasons import Verb
from fleetd.model.settings import Settings
from fleetd.ops.control_client import NoAnswer, NoDaemon, NotAllowed
from fleetd.ops.escape import printable
from fleetd.planner.facts import learn, went
from fleetd.planner.ownership import owners
from fleetd.store.lock import StateLock
from fleetd.store.paths import journal_path
from fleetd.store.port import Journal
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring.places import state_path
from fleetd.wiring.provider import ONE_SHOT_LIMIT, open_cloud, within
from fleetd.wiring.reaching import ask


async def order_machine(settings: Settings, order_: MachineOrder) -> dict[str, Any]:
    """``fleetd start``, ``stop`` and ``restart``: what the daemon's next pass made of it.

    Raises:
        NoDaemon: none runs; only a daemon's pass carries an order out.
        OrderRefused: it declined; ``status`` 409 is "not now".
    """
    body: dict[str, Any] = {"verb": str(order_.verb), "machine": order_.subject, "reason": order_.reason}
    if order_.even_if_busy:
        body["even_if_busy"] = True
    if order_.keep_off:
        body["seconds"] = order_.keep_off.total_seconds()
    return await ask(settings, "POST", "/request", **body)


async def veto(settings: Settings, order_: VetoOrder) -> dict[str, Any]:
    """``fleetd hold`` and ``freeze``: through the running daemon; without one, into the journal for the next one.

    Raises:
        NotAllowed: a daemon runs, and this user may not ask it.
        NoAnswer: a daemon runs and hangs; it may carry the order out later.
        OrderRefused: it declined.
        OtherDaemon: one runs on this state directory, on another config file.
        StoreError: the journal cannot be written.
    """
    body = {
        "kind": order_.kind,
        "verbs": sorted(order_.verbs),
        "reason": order_.reason,
        "seconds": order_.lasts.total_seconds(),
    }
    try:
        return await ask(settings, "POST", "/veto", **body, **({"subject": order_.subject} if order_.subject else {}))
    except NotAllowed:
        raise
    except NoDaemon as error:
        now, actor = datetime.now(UTC), _myself()
        async with _offline_journal(settings, error) as journal:
            found = await _to_hold(settings, journal, order_.subject or "") if order_.kind == "hold" else []
            hold = await journal.add_hold(
                kind=order_.kind,
                subject=order_.subject,
                verbs=order_.verbs,
                reason=order_.reason,
                actor=actor,
                now=now,
                expires_at=now + order_.lasts,
                machine=found[0][0].id if found else None,
            )
            entry = veto_entry(order_.kind, order_.subject, found, actor, now, entry_words(hold))
            await journal.append_history(entry)
        return hold_document(hold) | {"machines": [m.id for m, _ in found]}


async def lift(settings: Settings, kind: str, subject: str | None) -> dict[str, Any]:
    """``fleetd release`` and ``unfreeze``: how many vetoes ended (``removed``), and what freezes go on (``left``).

    Raises as ``veto`` does.
    """
    try:
        body = {"kind": kind, **({"subject": subject} if subject else {})}
        return await ask(settings, "POST", "/lift", **body)
    except NotAllowed:
        raise
    except NoDaemon as error:
        async with _offline_journal(settings, error) as journal:
            found = await _known(journal, subject) if kind == "hold" else []
            removed = await lift_from(journal, kind, subject, found, datetime.now(UTC))
            if removed:
                verb = "release" if kind == "hold" else "unfreeze"
                entry = veto_entry(verb, subject, found, _myself(), datetime.now(UTC), None)
                await journal.append_history(entry)
            left = [h for h in await journal.holds(now=datetime.now(UTC)) if h.kind == "freeze"]
            return {"removed": removed, "left": [hold_document(h) for h in left]}


async def adopt(settings: Settings, machine: str, reason: str) -> dict[str, Any]:
    """``fleetd adopt``: a person says that a machine is ours.

    Raises:
        NotAllowed, NoAnswer, OrderRefused, StoreError: as ``veto``.
        LookupError: without a daemon: no machine of ours is called so, or more than one.
        CloudError: without a daemon: the journal does not know it, and the provider could not be asked.
    """
    try:
        return await ask(settings, "POST", "/adopt", machine=machine, reason=reason)
    except NotAllowed:
        raise
    except NoDaemon as error:
        async with _offline_journal(settings, error) as journal:
            now, actor = datetime.now(UTC), _myself()
            known = [f for f in await journal.facts() if machine in {f.machine_id, f.name} and not went(f)]
            facts = known or await _listed(settings, journal, machine)
            if len(facts) != 1:
                what = (
                    "more than one machine is called so; use its id" if facts else "no machine of ours is called so"
                )
                raise LookupError(f"{machine}: {what}") from None
            fact = facts[0]
            if fact.unconfirmed:
                await journal.put_facts([replace(fact, unconfirmed=False)])
                shown = Machine(fact.machine_id, fact.name, fact.last_state)
                await journal.append_history(adopt_entry(shown, fact.fleet, actor, now, reason))
            return {
                "machine": fact.machine_id,
                "name": fact.name,
                "fleet": fact.fleet,
                "confirmed": fact.unconfirmed,
            }


async def _listed(settings: Settings, journal: Journal, subject: str) -> list[MachineFacts]:
    """Machines of ours that are called so, as a pass would remember them, from the provider's listing."""
    async with open_cloud(settings) as cloud:
        with within(ONE_SHOT_LIMIT):
            listing = await cloud.list_machines()
    facts = {f.machine_id: f for f in await journal.facts()}
    intents = await journal.open_intents()
    owned = owners(listing.machines, settings.fleets, facts, intents)
    called = {m.id: m.name for m in listing.machines if subject in {m.id, m.name} and m.id in owned}
    seen = Observation(datetime.now(UTC), tuple(m for m in listing.machines if m.id in called))
    new = learn(seen, owned, facts, intents, await journal.made(called)).new
    return [*(facts[m] for m in called if m in facts), *new]


async def _to_hold(settings: Settings, journal: Journal, subject: str) -> list[tuple[Machine, str]]:
    """The machine that a hold is to be on: by the journal, else by the provider's listing.

    Nothing is found where nobody could be asked: then the hold is on whatever has that id or name.

    Raises:
        LookupError: no machine of ours is called so, or more than one.
    """
    fleets = [f.name for f in settings.fleets]
    found = await _known(journal, subject)
    if not found:
        if subject in fleets or any(c in subject for c in "*?["):
            raise LookupError(no_machine(subject, fleets))
        if not settings.provider.kind:  # the file has faults
            return []
        try:
            listed = await _listed(settings, journal, subject)
        except (CloudError, ConfigError):
            return []
        found = [(Machine(f.machine_id, f.name, f.last_state), f.fleet) for f in listed]
        if not found and any(i.verb is Verb.CREATE and i.name == subject for i in await journal.open_intents()):
            return []
    if len(found) > 1:
        raise LookupError(f"{subject}: more than one machine is called so; use its id")
    if not found:
        raise LookupError(no_machine(subject, fleets))
    return found


@asynccontextmanager
async def _offline_journal(settings: Settings, why: NoDaemon) -> AsyncIterator[SqliteJournal]:
    """The journal for writing while no daemon runs; the lock sees to that.

    Raises:
        NoAnswer: ``why`` is one, and the daemon has not ended since.
    """
    state = state_path(settings)
    with ExitStack() as held:
        try:
            held.enter_context(StateLock(state, pid=os.getpid(), since=datetime.now(UTC)))
        except StateLocked:
            if isinstance(why, NoAnswer):
                raise why from None
            raise
        journal = await SqliteJournal.open(journal_path(state))
        try:
            yield journal
        finally:
            await journal.aclose()


async def _known(journal: Journal, subject: str | None) -> list[tuple[Machine, str]]:
    """Machines that the journal remembers by that id or name, each with its fleet."""
    return [
        (Machine(f.machine_id, f.name, f.last_state), f.fleet)
        for f in await journal.facts()
        if subject in {f.machine_id, f.name} and f.gone_at is None and not f.destroyed
    ]


def _myself() -> str:
    """Who gives an order without a daemon, as one would record it."""
    login, uid = os.environ.get("SUDO_USER", ""), os.getuid()
    behind = f" for {printable(login, 32)}" if uid == 0 and login else ""
    return f"{getpass.getuser()} (uid {uid}){behind}"
