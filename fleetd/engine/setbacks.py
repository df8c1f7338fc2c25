"""Calls that were accepted and came to nothing: what is not repeated at once, kept in the journal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec
import structlog
from msgspec import Struct

from fleetd.engine.notes import read_note, rows_of
from fleetd.model.instant import Instant
from fleetd.model.journal import Intent, Setback, setback_key
from fleetd.model.machine import Machine, Phase
from fleetd.model.reasons import Verb
from fleetd.planner.transitions import next_backoff
from fleetd.planner.waits import is_waiting
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

NOTE = "futile"
"""The journal's note that holds them."""
FORGOTTEN_AFTER = timedelta(hours=1)
"""How long after it may be tried again one counts that nobody has tried again: it is not wanted any more."""
UNDONE_WITHIN = timedelta(minutes=10)
"""A machine that goes back by itself so soon after a call had its effect: that came to nothing as well."""
MENDED_FOR = timedelta(days=1)
"""A setting that has to be put right again so soon does not stay as it was set."""
OURS_WITHIN = timedelta(minutes=30)
"""How long after a call came to nothing its effect may still be a late one."""

REMEMBERED = 5000
"""Effects that a start reads from the journal: more than a day's of any fleet that this looks after."""

_RAISES: Mapping[Verb, bool] = MappingProxyType(
    {Verb.CREATE: True, Verb.START: True, Verb.RESTART: True, Verb.STOP: False}
)
"""Whether a verb that moves a machine brings it up."""


class Setbacks:
    """By ``setback_key``. A restart forgets none of them; an effect clears them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[str, Setback] = {}
        self._cleared: dict[str, tuple[datetime, Setback]] = {}
        """By key: what an effect ended, and when. It counts again where that effect is undone at once."""
        self._worked: dict[str, tuple[datetime, Intent]] = {}
        """By machine id: the call that had its effect last."""
        self._mended: dict[str, tuple[datetime, dict[str, object] | None]] = {}
        """By key, of updates: when one had its effect last, and what it asked for."""
        self.unsaved = False
        """The journal has entries still that a new config has ended."""

    async def load(self) -> None:
        """Read what an earlier process left. An entry that cannot be read is left out: its call is tried anew."""
        self._known, self._cleared = await read_note(self._journal, NOTE, _read, _read({}))
        for intent in await self._journal.reached(REMEMBERED):
            at = intent.closed_at or intent.created_at
            if intent.verb is Verb.UPDATE:
                self._mended[key_of(intent)] = (at, dict(intent.parameters))
            elif intent.machine_id is not None and intent.verb in _RAISES:
                self._worked[intent.machine_id] = (at, intent)

    def turned(self, machine_id: str, at: datetime) -> None:
        """An earlier process knew by then that it had turned: an effect before that was asked about already."""
        if machine_id in self._worked and self._worked[machine_id][0] <= at:
            del self._worked[machine_id]

    def known(self, now: datetime) -> dict[str, Setback]:
        """Those that still count at ``now``; one whose wait is over may be tried again."""
        found: dict[str, Setback] = {}
        for key, back in self._known.items():
            step = next_backoff(back.attempt) if back.attempt else timedelta(0)
            if is_waiting(back.until - step, step, now):
                found[key] = back
            elif is_waiting(back.until, FORGOTTEN_AFTER, now):
                found[key] = replace(back, until=min(back.until, now))
        return found

    async def add(self, intent: Intent, words: str, now: datetime, *, forgiven: bool = False) -> Setback:
        """One more time it came to nothing. Creates that fail while one has its wait belong to the same trouble.

        So do those that were begun before one was forgiven. ``forgiven``: the first in a row may be repeated at once.
        """
        key = key_of(intent)
        before = self.known(now).get(key)
        if before is not None and intent.verb is Verb.CREATE and (now < before.until or _beside(intent, before)):
            return before
        attempt = 0 if forgiven and before is None else 1 + (before.attempt if before is not None else 0)
        since = now if before is None or before.since is None else min(before.since, now)
        until = now + (next_backoff(attempt) if attempt else timedelta(0))
        back = Setback(until, words, since, attempt, intent.baseline_event)
        self._known = self.known(now) | {key: back}
        await self._save(now)
        return back

    async def worked(self, intent: Intent, now: datetime) -> Setback | None:
        """It had its effect. For an update that had it before, and was undone since: when it may be tried again."""
        if intent.verb is Verb.UPDATE and self._undid(intent, now):
            return await self.add(intent, "it was set before, and was undone since", now)
        key = key_of(intent)
        before, cleared = self._known.pop(key, None), self._cleared.pop(key, None)
        if intent.machine_id is not None and intent.verb in _RAISES:
            self._worked[intent.machine_id] = (now, intent)
        if before is not None:
            self._cleared[key] = (now, before)
        if before is not None or cleared is not None or self.unsaved:
            await self._save(now)
        return None

    async def undone(self, machine_id: str, *, up: bool, now: datetime) -> Setback | None:
        """A machine has turned, and nobody is known to have done it: a call that had just moved it was in vain."""
        at, intent = self._worked.pop(machine_id, (now, None))
        if intent is None or _RAISES[intent.verb] is up or not is_waiting(at, UNDONE_WITHIN, now):
            return None
        again = intent if not _RAISES[intent.verb] else replace(intent, verb=Verb.START)
        cleared = self._cleared.pop(key_of(intent), None)
        if cleared is not None:
            self._known[key_of(again)] = cleared[1]
        words = f"it was undone {round((now - at).total_seconds())} s after its effect"
        back = await self.add(again, words, now)
        say_backed_off(again, back)
        return back

    async def vanished(self, machine_id: str, now: datetime) -> Setback | None:
        """A machine is gone, and nobody can be asked why: one that a create had just made was made in vain.

        The first in a row is replaced at once: a person may have destroyed it.
        """
        at, intent = self._worked.pop(machine_id, (now, None))
        if intent is None or intent.verb is not Verb.CREATE or not is_waiting(at, UNDONE_WITHIN, now):
            return None
        cleared = self._cleared.pop(key_of(intent), None)
        if cleared is not None:
            self._known[key_of(intent)] = cleared[1]
        words = f"{intent.name} was gone {round((now - at).total_seconds())} s after it had come up"
        back = await self.add(intent, words, now, forgiven=True)
        say_backed_off(intent, back)
        return back

    def _undid(self, intent: Intent, now: datetime) -> bool:
        key, asked = key_of(intent), dict(intent.parameters)
        at, before = self._mended.get(key, (now, None))
        self._mended[key] = (now, asked)
        return before == asked and is_waiting(at, MENDED_FOR, now)

    async def late(self, machine: Machine, now: datetime) -> Verb | None:
        """The call that had come to nothing, and whose late effect a machine's turn is; it counts no more then."""
        verb = Verb.START if machine.phase in {Phase.UP, Phase.RISING} else Verb.STOP
        key = setback_key(verb, machine.id)
        back = self._known.get(key)
        if back is None or not is_waiting(_told(back), OURS_WITHIN, now):
            return None
        if machine.events is not None and back.baseline is not None:
            handles = [e.handle for e in machine.events]
            since = handles.index(back.baseline) if back.baseline in handles else len(handles)
            if sum(e.name == verb for e in machine.events[:since]) > 1:
                return None  # another one than ours is among them
        del self._known[key]
        await self._save(now)
        return verb

    def reconfigured(self) -> None:
        """A new config may ask for something else: creates and updates are tried anew."""
        anew = (f"{Verb.CREATE}:", f"{Verb.UPDATE}:")
        left = {key: back for key, back in self._known.items() if not key.startswith(anew)}
        self.unsaved |= len(left) < len(self._known)
        self._known = left

    async def _save(self, now: datetime) -> None:
        self.unsaved = False
        self._cleared = {k: one for k, one in self._cleared.items() if is_waiting(one[0], UNDONE_WITHIN, now)}
        rows = {key: _row(back, at) for key, (at, back) in sorted(self._cleared.items())}
        rows |= {key: _row(back) for key, back in sorted(self._known.items())}
        note = json.dumps(msgspec.to_builtins(rows), separators=(",", ":"))
        await self._journal.put_note(NOTE, note)


def key_of(intent: Intent) -> str:
    """What an intent's setback is remembered under."""
    return setback_key(intent.verb, intent.subject, intent.reason)


def say_backed_off(intent: Intent, back: Setback | None) -> None:
    """The line that a call is made ever more rarely; none where it may be repeated at once."""
    if back is None or not back.attempt:
        return
    log.warning(
        "action.backed_off",
        fleet=intent.fleet,
        machine=intent.machine_id,
        name=intent.name,
        action=str(intent.verb),
        attempt=back.attempt,
        until=back.until.isoformat(),
        error=back.words,
    )


def _beside(create: Intent, forgiven: Setback) -> bool:
    return not forgiven.attempt and create.created_at < forgiven.until


def _told(back: Setback) -> datetime:
    """When it came to nothing last."""
    return back.until - (next_backoff(back.attempt) if back.attempt else timedelta(0))


def _row(back: Setback, cleared: datetime | None = None) -> _Row:
    return _Row(back.until, back.since, back.words, back.attempt, back.baseline, cleared)


class _Row(Struct, frozen=True):
    until: Instant
    since: Instant | None
    words: str
    attempt: int
    baseline: str | None
    cleared: Instant | None = None


def _read(note: Mapping[str, object]) -> tuple[dict[str, Setback], dict[str, tuple[datetime, Setback]]]:
    """Those that count, and those that an effect has ended."""
    found: dict[str, Setback] = {}
    cleared: dict[str, tuple[datetime, Setback]] = {}
    for key, row in rows_of(note, _Row).items():
        back = Setback(row.until, row.words, row.since, row.attempt, row.baseline)
        if row.cleared is None:
            found[key] = back
        else:
            cleared[key] = (row.cleared, back)
    return found, cleared
