"""Who of several replicas acts, in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import MappingProxyType

from fleetd.model.report import LeaseReport, StandbyReport
from fleetd.words.times import span

NOBODY = "no replica has it"
REJECTED = "its last reload was rejected"
"""Of a standby; what it would act on is the config from before."""

WHY = MappingProxyType(
    {
        "first": "the first to have it",
        "given_back": "took over because {before} was stopped and gave it back",
        "stepped_down": "took over because {before} stepped down",
        "expired": "took over because {before} did not renew it in time",
    }
)
"""How a holder came by the lease, by its code: the reasons that there are."""


def holder_words(lease: LeaseReport, now: datetime, shown: Callable[[str], str] = str) -> str:
    """``HOST, pid 12, for 3 min; took over because ...``; that nobody has it, where that is so.

    ``shown``: makes text from outside fit to be shown.
    """
    if lease.holder is None:
        return NOBODY
    why = why_words(lease, shown)
    lasts = "" if lease.since is None else f", for {span(now - lease.since)}"
    return f"{shown(lease.holder)}{lasts}{f'; {why}' if why else ''}"


def why_words(lease: LeaseReport, shown: Callable[[str], str] = str) -> str:
    """How its holder came by it; "" where that is not known."""
    known = WHY.get(lease.reason or "")
    return "" if known is None else known.format(before=shown(lease.before or "the one before"))


def standby_words(standby: StandbyReport, shown: Callable[[str], str] = str) -> str:
    """One standby replica, and whether its config differs from the one in force."""
    if not standby.config_differs:
        return shown(standby.about)
    return f"{shown(standby.about)}; its config ({shown(standby.config or '-')}) differs from the one in force"


def shown_by_words(lease: LeaseReport, now: datetime) -> str:
    """Of what a standby shows: that it is one, and how old what it shows is; "" of what the holder shows itself."""
    if lease.shown_by is None:
        return ""
    parts = [_word(lease, now)]
    itself = [standby for standby in lease.standbys if standby.about == lease.shown_by]
    if any(standby.config_differs for standby in itself):
        parts.append("its config differs from the one in force")
    if any(standby.config_fault for standby in itself):
        parts.append(REJECTED)
    return "; ".join(parts)


def _word(lease: LeaseReport, now: datetime) -> str:
    if lease.word_at is None:
        return "shown by a standby, which has heard nothing of the one that acts yet"
    return f"shown by a standby, as the one that acts said {span(now - lease.word_at)} ago"
