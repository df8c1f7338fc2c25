"""The orders that come over the control socket, read from JSON that may hold anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta

import anyio
from aiohttp import web

from fleetd.model.bounds import LONGEST_VETO, LONGEST_WORDS
from fleetd.model.journal import MachineOrder, VetoOrder
from fleetd.model.reasons import Verb, VetoKind
from fleetd.model.singlekeys import single_keys
from fleetd.ops.http_answers import Fault

BODY_WITHIN = 10.0
"""Seconds for a request's body."""

_REQUESTS = (Verb.START, Verb.STOP, Verb.RESTART)

Body = Mapping[str, object]


async def read_body(request: web.Request) -> Body:
    """The JSON object in a request's body.

    Raises:
        Fault: there is none, or it does not come.
    """
    try:
        with anyio.fail_after(BODY_WITHIN):
            body = json.loads(await request.read(), object_pairs_hook=single_keys)
    except TimeoutError as error:
        raise Fault(408, f"the body did not come within {BODY_WITHIN:.0f} s") from error
    except (OSError, web.RequestPayloadError) as error:
        raise Fault(400, "the body did not come whole") from error
    except (ValueError, RecursionError) as error:
        raise Fault(400, "the body must be a JSON object") from error
    if not isinstance(body, dict):
        raise Fault(400, "the body must be a JSON object")
    return body


def veto(body: Body) -> VetoOrder:
    """``{"kind", "subject", "verbs", "reason", "seconds"}``."""
    kind = VetoKind(_one_of(body, "kind", tuple(VetoKind)))
    return VetoOrder(kind, _subject(body, kind), _verbs(body), _text(body, "reason"), _lasts(body))


def lift(body: Body) -> tuple[VetoKind, str | None]:
    """``{"kind", "subject"}``: the kind, and what it is on."""
    kind = VetoKind(_one_of(body, "kind", tuple(VetoKind)))
    return kind, _subject(body, kind)


def adoption(body: Body) -> tuple[str, str]:
    """``{"machine", "reason"}``."""
    return _called(body, "machine"), _text(body, "reason")


def machine_order(body: Body) -> MachineOrder:
    """``{"verb", "machine", "reason", "even_if_busy"}``, and for a stop ``"seconds"``: how long it stays off."""
    verb = Verb(_one_of(body, "verb", tuple(str(v) for v in _REQUESTS)))
    if verb is not Verb.STOP and "seconds" in body:
        raise Fault(400, "seconds are for a stop: how long the machine stays off")
    keep_off = _lasts(body) if verb is Verb.STOP else timedelta(0)
    return MachineOrder(verb, _called(body, "machine"), _text(body, "reason"), _flag(body, "even_if_busy"), keep_off)


def lease(body: Body) -> tuple[str, str, timedelta]:
    """``{"machine", "source", "seconds"}``; no seconds end the lease."""
    return _called(body, "machine"), _text(body, "source"), _lasts(body, allow_zero=True)


def _subject(body: Body, kind: VetoKind) -> str | None:
    return _called(body, "subject") if kind == VetoKind.HOLD or body.get("subject") is not None else None


def _text(body: Body, key: str) -> str:
    return " ".join(_called(body, key).split())


def _called(body: Body, key: str) -> str:
    """Text as it is: a machine may be called anything."""
    words = body.get(key)
    if not isinstance(words, str) or not words.strip():
        raise Fault(400, f"{key} must be text")
    if len(words) > LONGEST_WORDS:
        raise Fault(400, f"{key} must not be longer than {LONGEST_WORDS} characters")
    if any("\ud800" <= c <= "\udfff" for c in words):
        raise Fault(400, f"{key} must be text that UTF-8 can hold")
    return words


def _one_of(body: Body, key: str, words: tuple[str, ...]) -> str:
    value = body.get(key)
    if not isinstance(value, str) or value not in words:
        raise Fault(400, f"{key} must be {', '.join(words[:-1])} or {words[-1]}")
    return value


def _flag(body: Body, key: str) -> bool:
    value = body.get(key, False)
    if not isinstance(value, bool):
        raise Fault(400, f"{key} must be true or false")
    return value


def _lasts(body: Body, *, allow_zero: bool = False) -> timedelta:
    seconds = body.get("seconds")
    limit = LONGEST_VETO.total_seconds()
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= limit:
        days = f"{LONGEST_VETO.days} days"
        raise Fault(400, f"seconds must be a number up to {limit:.0f} ({days}): everything here expires")
    if seconds == 0 and not allow_zero:
        raise Fault(400, "seconds must be more than 0")
    return timedelta(seconds=seconds)


def _verbs(body: Body) -> frozenset[Verb]:
    given = body.get("verbs")
    if given is None:
        return frozenset(Verb)
    known = {str(v) for v in Verb}
    if not isinstance(given, list) or not given or not all(isinstance(v, str) and v in known for v in given):
        raise Fault(400, f"verbs must be a list out of {', '.join(sorted(known))}")
    return frozenset(Verb(v) for v in given)
