"""What commands order: of the running daemon, or, where that makes sense, of the next one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import anyio

from fleetd.engine.vetoes import hold_of, order_entry, refuse_nobody
from fleetd.engine.vetoes import lift as lift_from
from fleetd.model.answers import Adopted, Lifted, OrderTaken, Reloaded, SteppingDown, VetoTaken, veto_taken
from fleetd.model.errors import CloudError, ConfigError, StateAway, StateLocked
from fleetd.model.journal import MachineFacts, MachineOrder, VetoOrder
from fleetd.model.machine import Machine
from fleetd.model.plan import Observation
from fleetd.model.reasons import VetoKind
from fleetd.model.report import veto_report
from fleetd.model.settings import Settings
from fleetd.model.vetoes import veto_evidence
from fleetd.ops.control_errors import NoAnswer, NoDaemon, NotAllowed
from fleetd.planner.facts import learn
from fleetd.planner.lookup import Named, meant, one_of_ours, ours, strangers, the_one
from fleetd.planner.ownership import owners
from fleetd.store.lock import StateLock
from fleetd.store.paths import journal_path
from fleetd.store.port import Journal
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring.daemon_lookup import ask
from fleetd.wiring.extra import needs_postgres
from fleetd.wiring.places import myself, state_path
from fleetd.wiring.provider import ONE_SHOT_LIMIT, open_cloud, within

HANDED_OVER = 60.0
"""Seconds for a handover: the calls under way end within half of it, and a lease that is not given back ends too."""
RENAMED_LIMIT = 5.0
"""Seconds that the provider has to say what machines are called now, where the journal knows one of that name."""


async def reload(settings: Settings) -> Reloaded:
    """``fleetd reload``: the daemon that runs here, or the replica that stands by here, reads its config again.

    Raises:
        NoDaemon: none runs. OrderRefused: the config has faults; the old one stays in force.
    """
    return await ask(settings, Reloaded, "POST", "/reload")


async def step_down(settings: Settings) -> tuple[str, str | None]:
    """``fleetd step-down``: the replica that acted, and the one that acts now.

    None for the latter where the config has faults, so that the database cannot be asked.

    Raises:
        NoDaemon: none acts. OrderRefused: it declined, for nobody stands by, or nobody could.
        NoAnswer: it has not handed over in time; it may still do so.
    """
    asked = await ask(settings, SteppingDown, "POST", "/step-down")
    if settings.daemon.state is None:
        return asked.holder, None
    with needs_postgres(settings):
        from fleetd.wiring.replicas import lease_report  # noqa: PLC0415

    with anyio.move_on_after(HANDED_OVER):
        while True:
            with suppress(StateAway):
                lease = await lease_report(settings)
                if lease.epoch > asked.epoch and lease.holder is not None:
                    return asked.holder, lease.holder
            await anyio.sleep(0.2)
    raise NoAnswer(f"{asked.holder} has been told to, and nobody has taken over within {HANDED_OVER:.0f} s")


async def order_machine(settings: Settings, order_: MachineOrder) -> OrderTaken:
    """``fleetd start``, ``stop`` and ``restart``: what the daemon's next pass made of it.

    Raises:
        NoDaemon: none runs; only a daemon's pass carries an order out.
        OrderRefused: it declined; ``status`` 409 is "not now".
    """
    body: dict[str, object] = {"verb": str(order_.verb), "machine": order_.subject, "reason": order_.reason}
    if order_.even_if_busy:
        body["even_if_busy"] = True
    if order_.keep_off:
        body["seconds"] = order_.keep_off.total_seconds()
    return await ask(settings, OrderTaken, "POST", "/request", **body)


async def veto(settings: Settings, order_: VetoOrder) -> VetoTaken:
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
        about = {"subject": order_.subject} if order_.subject else {}
        return await ask(settings, VetoTaken, "POST", "/veto", **body, **about)
    except NotAllowed:
        raise
    except NoDaemon as error:
        now, actor = datetime.now(UTC), myself()
        async with _offline_journal(settings, error) as journal:
            found = await _to_hold(settings, journal, order_.subject or "") if order_.kind == VetoKind.HOLD else []
            hold = await journal.add_hold(hold_of(order_, actor, found, at=now, until=now + order_.lasts))
            entry = order_entry(order_.kind, order_.subject, found, actor, now, veto_evidence(hold))
            await journal.append_history(entry)
        return veto_taken(hold, (m.id for m, _ in found))


async def lift(settings: Settings, kind: VetoKind, subject: str | None) -> Lifted:
    """``fleetd release`` and ``unfreeze``: how many vetoes ended, and what freezes go on.

    Raises as ``veto`` does.
    """
    try:
        body = {"kind": kind, **({"subject": subject} if subject else {})}
        return await ask(settings, Lifted, "POST", "/lift", **body)
    except NotAllowed:
        raise
    except NoDaemon as error:
        async with _offline_journal(settings, error) as journal:
            found = await _called(settings, journal, subject) if kind == VetoKind.HOLD else []
            removed = await lift_from(journal, kind, subject, found, datetime.now(UTC))
            if removed:
                verb = "release" if kind == VetoKind.HOLD else "unfreeze"
                entry = order_entry(verb, subject, found, myself(), datetime.now(UTC), None)
                await journal.append_history(entry)
            left = [h for h in await journal.holds(now=datetime.now(UTC)) if h.kind == VetoKind.FREEZE]
            return Lifted(removed=removed, left=tuple(veto_report(h) for h in left))


async def adopt(settings: Settings, machine: str, reason: str) -> Adopted:
    """``fleetd adopt``: a person says that a machine is ours.

    Raises:
        NotAllowed, NoAnswer, OrderRefused, StoreError: as ``veto``.
        LookupError: without a daemon: no machine of ours is called so, or more than one.
        CloudError: without a daemon: the journal does not know it, and the provider could not be asked.
    """
    try:
        return await ask(settings, Adopted, "POST", "/adopt", machine=machine, reason=reason)
    except NotAllowed:
        raise
    except NoDaemon as error:
        async with _offline_journal(settings, error) as journal:
            now, actor = datetime.now(UTC), myself()
            view = await _view(settings, journal, machine)
            if view.error is not None and not meant(machine, view.ours):
                raise view.error from None
            named = the_one(machine, view.ours, view.beside)
            fact = view.facts.get(named.id)
            if fact is None:
                raise LookupError(f"{machine}: nobody has seen it yet") from None
            if fact.unconfirmed:
                await journal.put_facts([replace(fact, unconfirmed=False)])
                shown = Machine(fact.machine_id, fact.name, fact.last_state)
                await journal.append_history(
                    order_entry("adopt", shown.name, [(shown, fact.fleet)], actor, now, reason)
                )
            return Adopted(machine=fact.machine_id, name=fact.name, fleet=fact.fleet, confirmed=fact.unconfirmed)


@dataclass(frozen=True, slots=True)
class _View:
    """Machines of ours as the journal and, where it can be asked, the provider have them."""

    ours: Sequence[Named]
    facts: Mapping[str, MachineFacts]
    """By id; of machines that no pass has seen yet, as one would remember them."""
    listed: bool
    """Whether the provider was asked."""
    error: CloudError | ConfigError | None = None
    """Why not."""
    beside: Sequence[Named] = ()
    """Machines that are not ours, where the provider was asked."""


async def _view(settings: Settings, journal: Journal, word: str | None) -> _View:
    """Only the provider knows what a machine is called by now. Where the word is an id it is not asked."""
    facts = {f.machine_id: f for f in await journal.facts()}
    intents = await journal.open_intents()
    known = ours((), {}, facts, intents)
    if any(n.id == word for n in known) or not settings.provider.kind:  # a file with faults names no provider
        return _View(known, facts, listed=False)
    try:
        async with open_cloud(settings) as cloud:
            with within(RENAMED_LIMIT if meant(word, known) else ONE_SHOT_LIMIT):
                listing = await cloud.list_machines()
    except (CloudError, ConfigError) as error:
        return _View(known, facts, listed=False, error=error)
    owned = owners(listing.machines, settings.fleets, facts, intents)
    mine = [m for m in listing.machines if m.id in owned]
    found = ours(mine, owned, facts, intents)
    called = {n.id: n.name for n in meant(word, found)}
    seen = Observation(datetime.now(UTC), tuple(m for m in mine if m.id in called))
    new = learn(seen, owned, facts, intents, await journal.made(called)).new
    beside = strangers(listing.machines, owned)
    return _View(found, {f.machine_id: f for f in new} | facts, listed=True, beside=beside)


async def _called(settings: Settings, journal: Journal, word: str | None) -> list[tuple[Machine, str]]:
    """The machine that is meant, with its fleet; none where nothing is known to be called so.

    Raises:
        LookupError: more than one is.
    """
    view = await _view(settings, journal, word)
    found = one_of_ours(word, view.ours, view.beside)
    return [] if found is None else [(found.machine, found.fleet)]


async def _to_hold(settings: Settings, journal: Journal, subject: str) -> list[tuple[Machine, str]]:
    """The machine that a hold is to be on.

    Nothing is found where nobody could be asked: then the hold is on whatever has that id or name.

    Raises:
        LookupError: no machine of ours is called so, or more than one.
    """
    view = await _view(settings, journal, subject)
    found = one_of_ours(subject, view.ours, view.beside)
    if found is None:
        refuse_nobody(subject, (f.name for f in settings.fleets), sure=view.listed)
    return [] if found is None else [(found.machine, found.fleet)]


@asynccontextmanager
async def _offline_journal(settings: Settings, why: NoDaemon) -> AsyncIterator[Journal]:
    """The journal for writing while no daemon runs; the lock sees to that.

    Raises:
        NoAnswer: ``why`` is one, and the daemon has not ended since.
    """
    if settings.daemon.state is not None:
        if isinstance(why, NoAnswer):
            raise why
        with needs_postgres(settings):
            from fleetd.wiring.replicas import between_replicas  # noqa: PLC0415

        async with between_replicas(settings) as replicated:
            yield replicated
        return
    state = state_path(settings)
    with ExitStack() as held:
        try:
            held.enter_context(StateLock(state, pid=os.getpid(), since=datetime.now(UTC)))
        except StateLocked:
            if isinstance(why, NoAnswer):
                raise why from None
            raise
        async with aclosing(await SqliteJournal.open(journal_path(state))) as journal:
            yield journal
